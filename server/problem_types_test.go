package server

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/gen/api"
)

// The types of problems that the contract lists, those that the table has, and those that the code
// sends are the same.
func TestProblem_TypesOfContractAreThoseSent(t *testing.T) {
	doc, err := api.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	schema := doc.Components.Schemas["ProblemType"].Value
	described := schema.Extensions["x-enum-descriptions"].(map[string]any)
	for _, v := range schema.Extensions["x-extensible-enum"].([]any) {
		listed = append(listed, v.(string))
	}
	if len(described) != len(listed) {
		t.Errorf("%d types are described, %d listed", len(described), len(listed))
	}
	sent := statusesInCode(t)
	for status, kind := range kinds {
		name := "/problems/" + kind.name
		if !slices.Contains(listed, name) {
			t.Errorf("the contract does not list %s", name)
		}
		if text, _ := described[name].(string); !strings.HasPrefix(text, fmt.Sprint(status, ". ")) {
			t.Errorf("the description of %s, %q, does not begin with %d", name, text, status)
		}
		if !slices.Contains(sent, status) {
			t.Errorf("no code answers with %d, %s", status, name)
		}
	}
	for _, status := range sent {
		if _, ok := kinds[status]; !ok {
			t.Errorf("%d %s has no type", status, http.StatusText(status))
		}
	}
	if len(listed) != len(kinds) {
		t.Errorf("the contract lists %d types, the code has %d", len(listed), len(kinds))
	}
}

// statusesInCode returns the statuses of errors that the code of this package and the handshake of
// WebSockets mention, apart from the table of kinds.
func statusesInCode(t *testing.T) (statuses []int) {
	t.Helper()
	byName := map[string]int{}
	for status := 400; status < 600; status++ {
		if text := http.StatusText(status); text != "" {
			name := "Status" + strings.NewReplacer(" ", "", "-", "", "'", "").Replace(text)
			byName[name] = status
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	for _, name := range append(files, "../push/handshake.go") {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				return n.Names[0].Name != "kinds"
			case *ast.SelectorExpr:
				if status, ok := byName[n.Sel.Name]; ok {
					statuses = append(statuses, status)
				}
			}
			return true
		})
	}
	return statuses
}
