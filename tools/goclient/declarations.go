package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// declarations are the names that gen/client declares, under which the SDK shows them.
type declarations struct {
	types    []declaration
	consts   []declaration
	builders map[string]builder // of requests, by lower-case operation id
	own      map[string]bool    // package-level names written by hand in the SDK

	statusErrors map[string]string // names of the errors of problems, by status
}

// declaration is a type or constant of gen/client.
type declaration struct {
	name string
	typ  string // of a constant
	doc  string
}

// builder is a function New…Request of gen/client.
type builder struct {
	name     string // of the operation in Go, such as GetSensor
	params   []parameter
	withBody bool // New…RequestWithBody exists
}

type parameter struct{ name, typ string }

func parseDeclarations(models, sdk string) (*declarations, error) {
	file, err := parser.ParseFile(token.NewFileSet(), models, nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	d := &declarations{builders: map[string]builder{}, own: map[string]bool{}}
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.GenDecl:
			d.addGroup(decl)
		case *ast.FuncDecl:
			d.addBuilder(decl)
		}
	}
	return d, d.addOwn(sdk)
}

func (d *declarations) addGroup(group *ast.GenDecl) {
	for _, spec := range group.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			d.types = append(d.types, declaration{name: spec.Name.Name, doc: group.Doc.Text()})
		case *ast.ValueSpec:
			if typ, ok := spec.Type.(*ast.Ident); ok && group.Tok == token.CONST {
				d.consts = append(d.consts, declaration{name: spec.Names[0].Name, typ: typ.Name})
			}
		}
	}
}

var builderName = regexp.MustCompile(`^New(.+)Request(WithBody)?$`)

func (d *declarations) addBuilder(f *ast.FuncDecl) {
	match := builderName.FindStringSubmatch(f.Name.Name)
	if match == nil || f.Recv != nil {
		return
	}
	key := strings.ToLower(match[1])
	b := d.builders[key]
	b.name = match[1]
	if match[2] != "" {
		b.withBody = true
		d.builders[key] = b
		return
	}
	for _, field := range f.Type.Params.List[1:] { // after the address of the server
		typ := field.Type
		if star, ok := typ.(*ast.StarExpr); ok {
			typ = star.X
		}
		b.params = append(b.params, parameter{field.Names[0].Name, typ.(*ast.Ident).Name})
	}
	d.builders[key] = b
}

// addOwn collects the names that the hand-written files of the SDK declare.
func (d *declarations) addOwn(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	for _, name := range files {
		if strings.HasSuffix(name, ".gen.go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv == nil {
					d.own[decl.Name.Name] = true
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						d.own[spec.Name.Name] = true
					case *ast.ValueSpec:
						for _, n := range spec.Names {
							d.own[n.Name] = true
						}
					}
				}
			}
		}
	}
	return nil
}

// public returns the name under which the SDK shows a type of gen/client: parameters are named as
// their method, and Info is added where a function of the SDK has the name.
func (d *declarations) public(name string) string {
	if strings.HasSuffix(name, "Params") {
		name = withoutVerb(name)
		if rest, ok := strings.CutPrefix(name, "Update"); ok {
			name = "Put" + rest
		}
	}
	if d.own[name] {
		return name + "Info"
	}
	return name
}

// withoutVerb removes a leading Get or List.
func withoutVerb(name string) string {
	for _, verb := range []string{"Get", "List"} {
		if rest, ok := strings.CutPrefix(name, verb); ok && rest != "" && ast.IsExported(rest) {
			return rest
		}
	}
	return name
}

// goType returns the type of a parameter as the SDK writes it: names of gen/client by their
// aliases, and the alias of a body by the schema that it stands for.
func (d *declarations) goType(op *openapi3.Operation, p parameter) string {
	if p.typ == "IDParameter" {
		return "ID"
	}
	if p.name == "body" {
		ref := op.RequestBody.Value.Content.Get("application/json").Schema.Ref
		return d.schema(ref)
	}
	if ast.IsExported(p.typ) {
		return d.public(p.typ)
	}
	return p.typ
}

// schema returns the type of a reference to a schema.
func (d *declarations) schema(ref string) string {
	want := ref[strings.LastIndex(ref, "/")+1:]
	for _, t := range d.types {
		if strings.EqualFold(t.name, want) {
			return d.public(t.name)
		}
	}
	panic("gen/client has no type " + want)
}
