package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// answer says what a method returns, and how.
type answer struct {
	annotation string
	function   string // the method of Session that makes the call
	decode     string // what turns the answer into what is returned
	schema     *openapi3.SchemaRef
	isPaged    bool
	statuses   []string // errors that are answered with an object of their own, and returned
	doc        string
}

func (g *generator) answer(op operation) (answer, error) {
	a := answer{function: "_call"}
	var success *openapi3.Response
	responses := op.Responses.Map()
	for _, status := range slices.Sorted(maps.Keys(responses)) {
		response := responses[status].Value
		switch {
		case status == "304" || status == "default":
		case status < "400":
			if success != nil {
				return a, fmt.Errorf("more than one success")
			}
			success = response
		case response.Content.Get("application/json") != nil:
			a.statuses = append(a.statuses, status)
		}
	}
	if success == nil {
		return a, fmt.Errorf("no success is documented")
	}
	if success.Description != nil {
		a.doc = *success.Description
	}
	switch {
	case responses["101"] != nil:
		a.annotation, a.function = "WebSocket", "_open"
		return a, nil
	case responses["302"] != nil:
		a.annotation, a.decode = "str", "location"
		return a, nil
	}
	return a, g.content(&a, success)
}

func (g *generator) content(a *answer, success *openapi3.Response) error {
	media := success.Content["application/json"]
	kinds := slices.Sorted(maps.Keys(success.Content))
	switch {
	case media != nil:
		return g.json(a, success, media.Schema)
	case len(kinds) == 0:
		a.annotation, a.decode, a.doc = "None", "nothing", ""
	case len(kinds) > 1:
		a.annotation, a.function = "Download", "_download"
	case strings.HasPrefix(kinds[0], "text/"), strings.HasSuffix(kinds[0], "yaml"):
		a.annotation, a.decode = "str", "text"
	default:
		a.annotation, a.decode = "bytes", "content"
	}
	return nil
}

func (g *generator) json(a *answer, success *openapi3.Response, schema *openapi3.SchemaRef) error {
	a.schema = schema
	switch {
	case schema.Ref != "" && isClass(schema.Value):
		a.annotation, a.decode = refName(schema), "model("+refName(schema)+")"
	case schema.Value.Type.Is("object"):
		a.annotation, a.decode = "Dict[str, Any]", "document"
	case schema.Value.Type.Is("array") && isClass(schema.Value.Items.Value):
		item := refName(schema.Value.Items)
		a.annotation, a.decode = "List["+item+"]", "models("+item+")"
		if success.Headers["Link"] != nil {
			a.annotation, a.function, a.decode, a.isPaged = "Pages["+item+"]", "_pages", item, true
			a.doc = "The items of all pages, read as they are needed."
		}
	default:
		return fmt.Errorf("cannot express this answer")
	}
	return nil
}
