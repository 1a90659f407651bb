package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var walkBlock = regexp.MustCompile("(?s)```walk\n(.*?)```")

// TestArchitecture_FunctionsExist checks that the walks of ARCHITECTURE.md name functions that
// exist, in their files.
func TestArchitecture_FunctionsExist(t *testing.T) {
	page, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := walkBlock.FindAllStringSubmatch(string(page), -1)
	if len(blocks) == 0 {
		t.Fatal("ARCHITECTURE.md has no walks")
	}
	for _, block := range blocks {
		for line := range strings.Lines(block[1]) {
			words := strings.Fields(line)
			if len(words) < 2 {
				t.Fatalf("%q names no function", line)
			}
			if file, function := words[0], words[1]; !functions(t, file)[function] {
				t.Errorf("%s has no function %s", file, function)
			}
		}
	}
}

// functions returns the names of a file's functions; that of a method begins with its type.
func functions(t *testing.T, file string) map[string]bool {
	source, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", file), nil, 0)
	if err != nil {
		t.Error(err)
		return nil
	}
	names := map[string]bool{}
	for _, declaration := range source.Decls {
		f, ok := declaration.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := f.Name.Name
		if f.Recv != nil {
			receiver := f.Recv.List[0].Type
			if pointer, ok := receiver.(*ast.StarExpr); ok {
				receiver = pointer.X
			}
			if receiver, ok := receiver.(*ast.Ident); ok {
				name = receiver.Name + "." + name
			}
		}
		names[name] = true
	}
	return names
}
