// Command pythonclient generates the typed modules of the Python client, gen/python/oei_ms, from
// the contract: models.py (a dataclass for each schema), problems.py (an exception for each type of
// problem) and operations.py (a method for each operation). It is run by ./task gen from the root
// of the repository, and stops at anything in the contract that it cannot express.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

const (
	contractFile = "openapi.yaml"
	packageDir   = "gen/python/oei_ms"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "pythonclient:", err)
		os.Exit(1)
	}
}

func run() error {
	c, err := loadContract(contractFile)
	if err != nil {
		return err
	}
	g := newGenerator(c)
	if err := g.collect(); err != nil {
		return err
	}
	for name, write := range map[string]func() (string, error){
		"models.py":     g.modelsModule,
		"problems.py":   g.problemsModule,
		"operations.py": g.operationsModule,
	} {
		source, err := write()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(packageDir, name), []byte(source), 0o644); err != nil {
			return err
		}
	}
	return nil
}
