package oei_test

import (
	"archive/zip"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	modulePath    = "github.com/oei-ms/oei-ms"
	moduleVersion = "v0.0.1"
)

// moduleNeeds are the modules that a program with the SDK downloads, besides this one.
var moduleNeeds = []string{
	"github.com/apapsch/go-jsonmerge/v2", // of oapi-codegen/runtime
	"github.com/google/uuid",             // of oapi-codegen/runtime
	"github.com/gorilla/websocket",
	"github.com/oapi-codegen/nullable",
	"github.com/oapi-codegen/runtime",
}

const userProgram = `package main

import (
	"context"
	"fmt"
	"os"

	oei "github.com/oei-ms/oei-ms/client"
)

func main() {
	ctx := context.Background()
	c, err := oei.Dial(ctx, os.Args[1], oei.APIKey(os.Args[2]))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer c.Close()
	for message, err := range c.Live(ctx, oei.FromGateway(1), oei.Alarms()) {
		fmt.Println(message, err)
	}
}
`

// TestModule_BringsNoneOfTheServersDependencies builds a program outside of this repository, with a
// module cache that is empty, and lists what was downloaded and compiled. This module comes from
// a proxy of files made of the checkout; the other modules come from the module cache of this
// machine, and from its proxy when they are not there.
func TestModule_BringsNoneOfTheServersDependencies(t *testing.T) {
	dir, cache := t.TempDir(), t.TempDir()
	proxy := filepath.Join(dir, "proxy")
	publish(t, proxy)
	environment := append(os.Environ(), "GOFLAGS=-modcacherw -mod=mod", "GOWORK=off",
		"GOMODCACHE="+cache, "GOSUMDB=off",
		"GOPROXY="+strings.Join([]string{
			"file://" + filepath.ToSlash(proxy),
			"file://" + filepath.ToSlash(run(t, "", nil, "go", "env", "GOMODCACHE")) +
				"/cache/download",
			run(t, "", nil, "go", "env", "GOPROXY"),
		}, ","))
	user := filepath.Join(dir, "user")
	if err := os.Mkdir(user, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(user, "main.go"), userProgram)
	write(t, filepath.Join(user, "go.mod"), "module example.com/user\n\ngo 1.26.0\n\nrequire "+
		modulePath+" "+moduleVersion+"\n")
	run(t, user, environment, "go", "build", "-o", filepath.Join(dir, "user.bin"), ".")

	var zips []string
	downloads := filepath.Join(cache, "cache", "download")
	err := filepath.WalkDir(downloads, func(path string, _ os.DirEntry, err error) error {
		if module, ok := strings.CutSuffix(path, ".zip"); ok {
			name, _ := filepath.Rel(downloads, module)
			name, _, _ = strings.Cut(filepath.ToSlash(name), "/@v/")
			zips = append(zips, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(zips)
	want := append(slices.Clone(moduleNeeds), modulePath)
	slices.Sort(want)
	if !slices.Equal(zips, want) {
		t.Errorf("downloaded %v, want %v", zips, want)
	}
	list := run(t, user, environment, "go", "list", "-deps", "-f",
		"{{if .Module}}{{.ImportPath}}{{end}}", ".")
	var compiled []string
	for path := range strings.FieldsSeq(list) {
		own := strings.HasPrefix(path, modulePath+"/")
		needed := slices.ContainsFunc(moduleNeeds, func(m string) bool {
			return path == m || strings.HasPrefix(path, m+"/")
		})
		if own && path != modulePath+"/client" && path != modulePath+"/gen/client" ||
			!own && !needed && path != "example.com/user" {
			t.Errorf("compiled %s", path)
		}
		compiled = append(compiled, path)
	}
	t.Logf("downloaded %v", zips)
	t.Logf("compiled %v", compiled)
}

// publish writes a proxy that has this module, out of the files of the checkout.
func publish(t *testing.T, proxy string) {
	t.Helper()
	root := run(t, "", nil, "go", "list", "-m", "-f", "{{.Dir}}")
	versions := filepath.Join(proxy, filepath.FromSlash(modulePath), "@v")
	if err := os.MkdirAll(versions, 0o755); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	info, _ := json.Marshal(map[string]string{"Version": moduleVersion})
	write(t, filepath.Join(versions, "list"), moduleVersion+"\n")
	write(t, filepath.Join(versions, moduleVersion+".info"), string(info))
	write(t, filepath.Join(versions, moduleVersion+".mod"), string(mod))
	file, err := os.Create(filepath.Join(versions, moduleVersion+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	for _, name := range checkout(t, root) {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		entry, err := archive.Create(
			modulePath + "@" + moduleVersion + "/" + filepath.ToSlash(name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entry.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
}

// checkout returns the Go files and module files of the checkout that belong to the module.
func checkout(t *testing.T, root string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git"):
			return filepath.SkipDir
		case !entry.IsDir() && (filepath.Ext(path) == ".go" ||
			path == filepath.Join(root, "go.mod") || path == filepath.Join(root, "go.sum")):
			name, _ := filepath.Rel(root, path)
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, env
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, &errors)
	}
	return strings.TrimSpace(string(out))
}
