package asyncapitest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// parse returns the files of the package in the current folder, without tests.
func parse(t testing.TB) (files []*ast.File) {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// Constants returns the names of the constants of the package in the current folder that match a
// pattern, with their string when they are one.
func Constants(t testing.TB, pattern string) map[string]string {
	t.Helper()
	matches := regexp.MustCompile(pattern)
	found := map[string]string{}
	for _, file := range parse(t) {
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.CONST {
				continue
			}
			for _, spec := range group.Specs {
				values := spec.(*ast.ValueSpec)
				for i, name := range values.Names {
					if !matches.MatchString(name.Name) {
						continue
					}
					found[name.Name] = ""
					if i < len(values.Values) {
						found[name.Name], _ = text(values.Values[i])
					}
				}
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("no constant matches %s", pattern)
	}
	return found
}

// Selectors returns the names that the package in the current folder uses of a package.
func Selectors(t testing.TB, of, pattern string) map[string]bool {
	t.Helper()
	matches := regexp.MustCompile(pattern)
	found := map[string]bool{}
	for _, file := range parse(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && matches.MatchString(s.Sel.Name) {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == of {
					found[s.Sel.Name] = true
				}
			}
			return true
		})
	}
	return found
}

var typeMember = regexp.MustCompile(`"type":"(\w+)"`)

// MessageTypes returns the types of messages in the package in the current folder: those that it
// reads, which are the cases of a switch on a member Type, and those that it writes, which are
// values of a member Type and parts of JSON in strings.
func MessageTypes(t testing.TB) (read, written map[string]bool) {
	t.Helper()
	read, written = map[string]bool{}, map[string]bool{}
	for _, file := range parse(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SwitchStmt:
				if s, ok := n.Tag.(*ast.SelectorExpr); ok && s.Sel.Name == "Type" {
					addCases(n, read)
				}
			case *ast.KeyValueExpr:
				key, ok := n.Key.(*ast.Ident)
				if s, isText := text(n.Value); ok && isText && key.Name == "Type" {
					written[s] = true
				}
			case *ast.BasicLit:
				if s, ok := text(n); ok {
					for _, m := range typeMember.FindAllStringSubmatch(s, -1) {
						written[m[1]] = true
					}
				}
			}
			return true
		})
	}
	return read, written
}

func addCases(n *ast.SwitchStmt, to map[string]bool) {
	for _, clause := range n.Body.List {
		for _, value := range clause.(*ast.CaseClause).List {
			if s, ok := text(value); ok {
				to[s] = true
			}
		}
	}
}

// text returns the string of a literal.
func text(e ast.Expr) (string, bool) {
	literal, ok := e.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(literal.Value)
	return s, err == nil
}

// CheckConstants compares the names of constants that match a pattern with those that a test knows:
// either documented or internal to the package.
func CheckConstants(t *testing.T, pattern string, documented, internal []string) {
	t.Helper()
	known := slices.Concat(documented, internal)
	found := Constants(t, pattern)
	for name := range found {
		if !slices.Contains(known, name) {
			t.Errorf("constant %s is new: document it in asyncapi.yaml, or list it as internal",
				name)
		}
	}
	for _, name := range known {
		if _, ok := found[name]; !ok {
			t.Errorf("constant %s does not exist", name)
		}
	}
}
