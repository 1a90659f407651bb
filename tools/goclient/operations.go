package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// operation is an operation of the contract that gets a method.
type operation struct {
	*openapi3.Operation
	method, path string
	builder      builder
	success      *openapi3.Response
	d            *declarations
}

// writeOperations writes a method for each operation that a program calls. Pages for browsers,
// redirects and WebSockets have none; Client.Do and Client.Live reach these.
func writeOperations(out *bytes.Buffer, contract *openapi3.T, d *declarations) error {
	out.WriteString("import (\n\"context\"\n\"io\"\n\"iter\"\n\"net/http\"\n\n" +
		"\"github.com/oei-ms/oei-ms/gen/client\"\n)\n\n")
	byID := map[string]*operation{}
	for path, item := range contract.Paths.Map() {
		for method, op := range item.Operations() {
			o := &operation{Operation: op, method: method, path: path, d: d}
			o.success = successOf(op)
			if o.success == nil || isPage(o.success) {
				continue
			}
			b, ok := d.builders[strings.ToLower(op.OperationID)]
			if !ok {
				return fmt.Errorf("gen/client has no request of %s", op.OperationID)
			}
			o.builder = b
			byID[op.OperationID] = o
		}
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		o := byID[id]
		o.write(out)
		if get := byID["get"+strings.TrimPrefix(id, "update")]; strings.HasPrefix(id, "update") &&
			get != nil && o.has("If-Match") {
			o.writeUpdate(out, get)
		}
	}
	return nil
}

// successOf returns the response with a status of 2xx.
func successOf(op *openapi3.Operation) *openapi3.Response {
	for code, r := range op.Responses.Map() {
		if code[0] == '2' {
			return r.Value
		}
	}
	return nil
}

func isPage(r *openapi3.Response) bool {
	return r.Content["text/html"] != nil || r.Content["*/*"] != nil
}

// has tells whether the operation takes a parameter of that name.
func (o *operation) has(name string) bool {
	return slices.ContainsFunc(o.Parameters, func(p *openapi3.ParameterRef) bool {
		return p.Value.Name == name
	})
}

// requiresQuery tells whether the parameters cannot be left out.
func (o *operation) requiresQuery() bool {
	return slices.ContainsFunc(o.Parameters, func(p *openapi3.ParameterRef) bool {
		return p.Value.In != "path" && p.Value.Required
	})
}

// name returns the name of the method.
func (o *operation) name() string {
	name := withoutVerb(o.builder.name)
	if rest, ok := strings.CutPrefix(name, "Update"); ok && o.has("If-Match") {
		return "Put" + rest
	}
	return name
}

// signature returns the parameters of the method and the arguments of the builder.
func (o *operation) signature() (params, args string) {
	params, args = "ctx context.Context", "c.base"
	for _, p := range o.builder.params {
		typ := o.d.goType(o.Operation, p)
		arg := p.name
		if p.name == "params" {
			if o.requiresQuery() {
				arg = "&params"
			} else {
				typ = "*" + typ
			}
		}
		params += fmt.Sprintf(", %s %s", p.name, typ)
		args += ", " + arg
	}
	return params, args
}

// options returns the literal of callOptions.
func (o *operation) options() string {
	options := fmt.Sprintf("operation: %q", o.OperationID)
	if o.Security != nil && len(*o.Security) == 0 {
		options += ", public: true"
	}
	if o.has("Idempotency-Key") {
		options += ", keyed: true"
	}
	return "callOptions{" + options + "}"
}

func (o *operation) write(out *bytes.Buffer) {
	params, args := o.signature()
	build := fmt.Sprintf("client.New%sRequest(%s)", o.builder.name, args)
	result, call := o.result()
	schema := o.jsonSchema()
	if schema != nil && schema.Value.Type.Is("array") && o.success.Headers["Link"] != nil {
		o.writeList(out, params, build, o.d.schema(schema.Value.Items.Ref))
		return
	}
	writeDoc(out, "", o.doc(o.name()))
	fmt.Fprintf(out, "func (c *Client) %s(%s) %s {\n", o.name(), params, result)
	fmt.Fprintf(out, "req, err := %s\nreturn %s(ctx, c, %s, req, err)\n}\n\n",
		build, call, o.options())
}

// writeList writes the iterator over a list, and the method for one page of it.
func (o *operation) writeList(out *bytes.Buffer, params, build, item string) {
	name := o.name()
	doc := o.doc(name)
	summary, rest, _ := strings.Cut(doc, "\n\n")
	writeDoc(out, "", summary+"\n\nIt ranges over all pages, each requested when it is needed; an "+
		"error is the last\nelement.\n\n"+rest)
	fmt.Fprintf(out, "func (c *Client) %s(%s) iter.Seq2[%s, error] {\n", name, params, item)
	fmt.Fprintf(out, "return each[%s](ctx, c, %s, func() (*http.Request, error) {\n"+
		"return %s\n})\n}\n\n", item, o.options(), build)
	writeDoc(out, "", fmt.Sprintf("%sPage calls %s for one page of [Client.%s].",
		name, o.OperationID, name))
	fmt.Fprintf(out, "func (c *Client) %sPage(%s) (Page[%s], error) {\n", name, params, item)
	fmt.Fprintf(out, "req, err := %s\nreturn onePage[%s](ctx, c, %s, req, err)\n}\n\n",
		build, item, o.options())
}

const updateDoc = `%s reads the resource, calls change, and writes the members that
change has changed, by %s. When the resource was changed by others meanwhile,
it reads it again and calls change again: change must depend on its argument alone. Nothing is
written when change changes nothing. It returns the resource as it is then.

%s`

// writeUpdate writes the method that reads a resource, changes it and writes it back.
func (o *operation) writeUpdate(out *bytes.Buffer, get *operation) {
	resource := strings.TrimPrefix(o.name(), "Put")
	typ := o.d.schema(o.jsonSchema().Ref)
	body := o.d.goType(o.Operation, parameter{name: "body"})
	name := "Update" + resource
	writeDoc(out, "", fmt.Sprintf(updateDoc, name, o.OperationID, wrap(o.roles()+" "+o.errors())))
	fmt.Fprintf(out, "func (c *Client) %s(\nctx context.Context, id ID, change func(*%s),\n"+
		") (%s, error) {\n",
		name, typ, typ)
	fmt.Fprintf(out, `return update[%s, %s](ctx, c, %s, change, func() (*http.Request, error) {
	return client.New%sRequest(c.base, id)
}, func(etag string, body io.Reader) (*http.Request, error) {
	params := &client.%sParams{IfMatch: &etag}
	return client.New%sRequestWithBody(c.base, id, params, "application/json", body)
})
}

`, typ, body, o.options(), get.builder.name, o.builder.name, o.builder.name)
}

// jsonSchema returns the schema of a JSON answer, or nil.
func (o *operation) jsonSchema() *openapi3.SchemaRef {
	if media := o.success.Content["application/json"]; media != nil {
		return media.Schema
	}
	return nil
}

// result returns what the method returns, and the function that reads it.
func (o *operation) result() (result, call string) {
	if schema := o.jsonSchema(); schema != nil {
		typ := ""
		if schema.Value.Type.Is("array") && schema.Ref == "" {
			typ = "[]" + o.d.schema(schema.Value.Items.Ref)
		} else {
			typ = o.d.schema(schema.Ref)
		}
		return "(" + typ + ", error)", "answer[" + typ + "]"
	}
	switch len(o.success.Content) {
	case 0:
		return "error", "noAnswer"
	case 1:
		return "(string, error)", "textAnswer"
	}
	return "(io.ReadCloser, error)", "stream"
}
