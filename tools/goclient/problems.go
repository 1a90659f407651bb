package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// problemTypes returns the types of problems in the contract's order.
func problemTypes(contract *openapi3.T) ([]string, map[string]any, error) {
	schema := contract.Components.Schemas["ProblemType"]
	if schema == nil {
		return nil, nil, errors.New("the contract has no ProblemType")
	}
	list, ok := schema.Value.Extensions["x-extensible-enum"].([]any)
	docs, ok2 := schema.Value.Extensions["x-enum-descriptions"].(map[string]any)
	if !ok || !ok2 {
		return nil, nil, errors.New("ProblemType lacks x-extensible-enum or x-enum-descriptions")
	}
	var types []string
	for _, v := range list {
		types = append(types, v.(string))
	}
	return types, docs, nil
}

// errorName returns ErrNotFound for /problems/not-found.
func errorName(problem string) string {
	name := "Err"
	for word := range strings.SplitSeq(problem[strings.LastIndex(problem, "/")+1:], "-") {
		name += strings.ToUpper(word[:1]) + word[1:]
	}
	return name
}

// errorsByStatus returns the names of the errors by the status that their description begins with.
func errorsByStatus(contract *openapi3.T) (map[string]string, error) {
	types, docs, err := problemTypes(contract)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, t := range types {
		doc, _ := docs[t].(string)
		status, _, ok := strings.Cut(doc, ". ")
		if !ok {
			return nil, fmt.Errorf("%s: the description has no status: %q", t, doc)
		}
		if names[status] == "" {
			names[status] = errorName(t)
		}
	}
	return names, nil
}

// writeProblems writes a constant for each type of problem, and which type a status stands for.
func writeProblems(out *bytes.Buffer, contract *openapi3.T, d *declarations) error {
	types, docs, err := problemTypes(contract)
	if err != nil {
		return err
	}
	out.WriteString("// Errors of the server, for errors.Is. A new server may answer with a type " +
		"that is not\n// listed here; errors.As gives its [Problem] with the status.\nconst (\n")
	for _, t := range types {
		doc, _ := docs[t].(string)
		status, text, _ := strings.Cut(doc, ". ")
		writeDoc(out, "\t", fmt.Sprintf("%s (%s): %s", errorName(t), status, text))
		fmt.Fprintf(out, "\t%s ProblemType = %q\n", errorName(t), t)
	}
	out.WriteString(")\n\n// problemTypes are the types of answers that are no problem " +
		"documents, by status.\nvar problemTypes = map[int]ProblemType{\n")
	for _, status := range slices.Sorted(maps.Keys(d.statusErrors)) {
		fmt.Fprintf(out, "\t%s: %s,\n", status, d.statusErrors[status])
	}
	out.WriteString("}\n")
	return nil
}
