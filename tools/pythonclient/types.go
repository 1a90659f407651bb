package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// pyType is a schema as a type of Python.
type pyType struct {
	expr     string // the annotation, without None
	decode   string // the function that makes it from parsed JSON; empty when JSON has it as it is
	nullable bool
}

// annotation renders the type of a member or an argument. One that may be absent is None then; one
// that may be null as well is UNSET when it is absent, if it can be in a request.
func (t pyType) annotation(required, request bool) string {
	switch {
	case required && t.nullable:
		return t.expr + " | None"
	case required:
		return t.expr
	case t.nullable && request:
		return t.expr + " | None | Unset = UNSET"
	default:
		return t.expr + " | None = None"
	}
}

type generator struct {
	*contract
	emitted   []string        // named schemas in order of their definition: none is used before
	visited   map[string]bool // by name
	requested map[string]bool // those that can be in a request
}

func newGenerator(c *contract) *generator {
	return &generator{contract: c, visited: map[string]bool{}, requested: map[string]bool{}}
}

// collect finds the schemas that the operations and the messages of the WebSocket use.
func (g *generator) collect() error {
	for _, op := range g.operations() {
		if err := g.collectOperation(op); err != nil {
			return fmt.Errorf("%s: %w", op.OperationID, err)
		}
	}
	for _, name := range []string{"WsClientMessage", "WsServerMessage", "Problem"} {
		if err := g.visit(name, name == "WsClientMessage"); err != nil {
			return err
		}
	}
	return nil
}

func (g *generator) collectOperation(op operation) error {
	for _, p := range op.parameters {
		if _, err := g.use(p.Value.Schema, true); err != nil {
			return fmt.Errorf("parameter %s: %w", p.Value.Name, err)
		}
	}
	body, err := g.body(op)
	if err != nil {
		return err
	}
	for _, m := range body {
		if _, err := g.use(m.schema, true); err != nil {
			return fmt.Errorf("body member %s: %w", m.name, err)
		}
	}
	a, err := g.answer(op)
	if err != nil {
		return err
	}
	if a.schema != nil {
		_, err = g.use(a.schema, false)
	}
	return err
}

// use returns the type of a schema, and has the named schemas in it defined.
func (g *generator) use(ref *openapi3.SchemaRef, request bool) (pyType, error) {
	name, schema := refName(ref), ref.Value
	if name == "" && len(schema.AllOf) == 1 { // a reference with a description of its own
		t, err := g.use(schema.AllOf[0], request)
		t.nullable = t.nullable || schema.Nullable
		return t, err
	}
	if name != "" && isDefined(schema) {
		if err := g.visit(name, request); err != nil {
			return pyType{}, err
		}
		return g.named(name, schema)
	}
	if isOpenEnum(schema) { // its constants are defined, its type is str
		if err := g.visit(name, request); err != nil {
			return pyType{}, err
		}
	}
	return g.inline(schema, request)
}

// isOpenEnum reports whether a text has known values, to which a newer server may add others.
func isOpenEnum(s *openapi3.Schema) bool { return s.Extensions["x-extensible-enum"] != nil }

// isDefined reports whether a named schema gets a name in Python: objects, lists, and enums do;
// texts and numbers are str and int.
func isDefined(s *openapi3.Schema) bool {
	return s.Type.Is("object") || s.Type.Is("array") || len(s.Enum) > 0 || len(s.OneOf) > 0
}

// isClass reports whether a schema becomes a dataclass.
func isClass(s *openapi3.Schema) bool { return s.Type.Is("object") && len(s.Properties) > 0 }

func (g *generator) named(name string, s *openapi3.Schema) (pyType, error) {
	if isClass(s) {
		return pyType{expr: name, decode: name + ".from_json", nullable: s.Nullable}, nil
	}
	t, err := g.inline(s, false)
	t.expr = name
	return t, err
}

func (g *generator) inline(s *openapi3.Schema, request bool) (pyType, error) {
	t := pyType{nullable: s.Nullable}
	switch {
	case len(s.OneOf) > 0:
		return g.union(s, request)
	case len(s.Enum) > 0:
		t.expr = literal(s.Enum)
	case s.Type.Is("string") && s.Format == "date-time":
		t.expr, t.decode = "datetime", "to_datetime"
	case s.Type.Is("string") && s.Format == "binary":
		t.expr = "bytes"
	case s.Type.Is("string"):
		t.expr = "str"
	case s.Type.Is("integer"):
		t.expr = "int"
	case s.Type.Is("number"):
		t.expr, t.decode = "float", "float" // JSON has 21 for 21.0
	case s.Type.Is("boolean"):
		t.expr = "bool"
	case s.Type.Is("array"):
		return g.collection(s, s.Items, "List", "list_of", request)
	case s.Type.Is("object") && s.AdditionalProperties.Schema != nil:
		return g.collection(s, s.AdditionalProperties.Schema, "Dict", "dict_of", request)
	case s.Type.Is("object") && len(s.Properties) == 0:
		t.expr = "Dict[str, Any]"
	default:
		return t, fmt.Errorf("cannot express a schema of type %v", s.Type)
	}
	return t, nil
}

func (g *generator) collection(
	s *openapi3.Schema, items *openapi3.SchemaRef, kind, decode string, request bool,
) (pyType, error) {
	of, err := g.use(items, request)
	t := pyType{nullable: s.Nullable}
	if of.decode != "" {
		t.decode = decode + "(" + of.decode + ")"
	}
	if of.nullable {
		of.expr = "Optional[" + of.expr + "]"
	}
	if kind == "Dict" {
		of.expr = "str, " + of.expr
	}
	t.expr = kind + "[" + of.expr + "]"
	return t, err
}

func (g *generator) union(s *openapi3.Schema, request bool) (pyType, error) {
	var exprs []string
	for _, one := range s.OneOf {
		t, err := g.use(one, request)
		if err != nil {
			return t, err
		}
		exprs = append(exprs, t.expr)
	}
	if s.Discriminator == nil && !request {
		return pyType{}, fmt.Errorf("an answer with oneOf needs a discriminator")
	}
	return pyType{expr: "Union[" + strings.Join(exprs, ", ") + "]", nullable: s.Nullable}, nil
}

// visit has a named schema defined after those that it uses.
func (g *generator) visit(name string, request bool) error {
	if g.visited[name] && (g.requested[name] || !request) {
		return nil
	}
	first := !g.visited[name]
	g.visited[name] = true
	g.requested[name] = g.requested[name] || request
	schema := g.doc.Components.Schemas[name].Value
	var parts []*openapi3.SchemaRef
	for _, property := range g.properties(name) {
		parts = append(parts, schema.Properties[property])
	}
	parts = append(parts, schema.OneOf...)
	if schema.Items != nil {
		parts = append(parts, schema.Items)
	}
	if schema.AdditionalProperties.Schema != nil {
		parts = append(parts, schema.AdditionalProperties.Schema)
	}
	for _, part := range parts {
		if _, err := g.use(part, request); err != nil {
			return fmt.Errorf("schema %s: %w", name, err)
		}
	}
	if first {
		g.emitted = append(g.emitted, name)
	}
	return nil
}

func refName(ref *openapi3.SchemaRef) string {
	return strings.TrimPrefix(ref.Ref, "#/components/schemas/")
}

func literal(values []any) string {
	var texts []string
	for _, value := range values {
		texts = append(texts, pyValue(value))
	}
	return "Literal[" + strings.Join(texts, ", ") + "]"
}

// pyValue renders a value of JSON in Python.
func pyValue(value any) string {
	switch v := value.(type) {
	case bool:
		if v {
			return "True"
		}
		return "False"
	case string:
		return fmt.Sprintf("%q", v)
	default:
		return fmt.Sprint(v)
	}
}

// member is a property of an object, or a property of a body as an argument.
type member struct {
	name, attribute string // on the wire, in Python
	schema          *openapi3.SchemaRef
	pyType
	required bool
	constant string // the only value of an enum
	doc      string
}

// members returns the properties of an object: the required ones first, each part in the order of
// the contract.
func (g *generator) members(name string) ([]member, error) {
	schema := g.doc.Components.Schemas[name].Value
	var found []member
	for _, property := range g.properties(name) {
		ref := schema.Properties[property]
		t, err := g.use(ref, g.requested[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", property, err)
		}
		m := member{
			name:      property,
			attribute: identifier(property),
			schema:    ref,
			pyType:    t,
			required:  slices.Contains(schema.Required, property),
			doc:       ref.Value.Description,
		}
		if strings.HasSuffix(name, "Columns") {
			if err := m.toColumn(); err != nil {
				return nil, fmt.Errorf("%s: %w", property, err)
			}
		}
		if len(ref.Value.Enum) == 1 && m.required {
			m.constant = pyValue(ref.Value.Enum[0])
		}
		found = append(found, m)
	}
	slices.SortStableFunc(found, func(a, b member) int { return rank(a) - rank(b) })
	return found, nil
}

// toColumn makes a list of numbers or times an array.
func (m *member) toColumn() error {
	switch items := m.schema.Value.Items.Value; {
	case items.Type.Is("number"):
		m.expr, m.decode = "array[float]", "to_numbers"
		m.doc += " NaN stands for null."
	case items.Format == "date-time":
		m.expr, m.decode = "array[int]", "to_instants"
		m.doc += " In microseconds since 1970, see `from_microseconds`."
	default:
		return fmt.Errorf("a column is a list of numbers or of times")
	}
	return nil
}

func rank(m member) int {
	if m.required && m.constant == "" {
		return 0
	}
	return 1
}
