package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

const modelsHeader = `# Generated from openapi.yaml by ./task gen; do not edit.
"""The schemas of the contract as types.

Objects are dataclasses. A member that can be absent is None then; one that can be absent or null in
a request is UNSET when it is absent. Times are aware datetimes in UTC. Members and values that a
newer server adds are ignored and passed on.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Dict, List, Literal, Optional, Union

from ._json import (
    UNSET,
    Decoders,
    Model,
    Resource,
    Unset,
    dict_of,
    list_of,
    to_datetime,
    to_instants,
    to_numbers,
)

`

// modelsModule renders models.py.
func (g *generator) modelsModule() (string, error) {
	var b strings.Builder
	b.WriteString(modelsHeader)
	names := slices.Sorted(slices.Values(g.emitted))
	b.WriteString("__all__ = [\n")
	for _, name := range names {
		b.WriteString("    " + pyValue(name) + ",\n")
	}
	b.WriteString("]\n")
	resources := g.resources()
	for _, name := range g.emitted {
		schema := g.doc.Components.Schemas[name].Value
		text, err := g.definition(name, schema, resources[name])
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		b.WriteString(text)
	}
	table, err := g.messageTable("WsServerMessage")
	return b.String() + table, err
}

// definition renders a class or an alias.
func (g *generator) definition(name string, s *openapi3.Schema, resource bool) (string, error) {
	switch {
	case isClass(s):
		return g.class(name, s, resource)
	case isOpenEnum(s):
		return g.openEnum(name, s)
	}
	t, err := g.inline(s, g.requested[name])
	if err != nil {
		return "", err
	}
	return "\n\n" + alias(name, t.expr) + docstring(s.Description, 0), nil
}

// alias renders `Name = Literal[…]`, with a value on each line when it is long.
func alias(name, expr string) string {
	if line := name + " = " + expr; len(line) <= maxColumns {
		return line + "\n"
	}
	kind, rest, _ := strings.Cut(expr, "[")
	var b strings.Builder
	b.WriteString(name + " = " + kind + "[\n")
	for part := range strings.SplitSeq(strings.TrimSuffix(rest, "]"), ", ") {
		b.WriteString("    " + part + ",\n")
	}
	return b.String() + "]\n"
}

func (g *generator) class(name string, s *openapi3.Schema, resource bool) (string, error) {
	members, err := g.members(name)
	if err != nil {
		return "", err
	}
	base := "Model"
	if resource {
		base = "Resource"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n\n@dataclass\nclass %s(%s):\n%s\n", name, base, docstring(s.Description, 4))
	var decoders, renamed, nullable []string
	for _, m := range members {
		annotation := m.annotation(m.required, g.requested[name])
		if m.constant != "" {
			annotation += " = " + m.constant
		}
		b.WriteString(typed(m.attribute, annotation) + docstring(m.doc, 4))
		if m.decode != "" {
			decoders = append(decoders, pyValue(m.name)+": "+m.decode)
		}
		if m.attribute != m.name {
			renamed = append(renamed, pyValue(m.name)+": "+pyValue(m.attribute))
		}
		if m.nullable && g.requested[name] {
			nullable = append(nullable, pyValue(m.name))
		}
	}
	if len(decoders)+len(renamed)+len(nullable) > 0 {
		b.WriteString("\n")
	}
	b.WriteString(display("_decoders: ClassVar[Decoders] = {", decoders, "}", 4))
	b.WriteString(display("_renamed: ClassVar[Dict[str, str]] = {", renamed, "}", 4))
	b.WriteString(display("_nullable: ClassVar = frozenset({", nullable, "})", 4))
	return b.String(), nil
}

// typed renders the line of a member, with the values of a long Literal on lines of their own.
func typed(name, annotation string) string {
	line := "    " + name + ": " + annotation + "\n"
	start := strings.Index(line, "Literal[")
	if len(line) <= maxColumns+1 || start < 0 {
		return line
	}
	start += len("Literal[")
	end := start + strings.Index(line[start:], "]")
	values := strings.ReplaceAll(line[start:end], ", ", ",\n        ")
	return line[:start] + "\n        " + values + ",\n    " + line[end:]
}

// display renders the entries of a dict, list or set, on one line if they fit; nothing without any.
func display(open string, entries []string, end string, indent int) string {
	if len(entries) == 0 {
		return ""
	}
	pad := strings.Repeat(" ", indent)
	line := pad + open + strings.Join(entries, ", ") + end
	if len(line) <= maxColumns {
		return line + "\n"
	}
	return pad + open + "\n" + pad + "    " +
		strings.Join(entries, ",\n"+pad+"    ") + ",\n" + pad + end + "\n"
}

// resources returns the schemas that are answered with an ETag.
func (g *generator) resources() map[string]bool {
	found := map[string]bool{}
	for _, op := range g.operations() {
		for _, response := range op.Responses.Map() {
			media := response.Value.Content.Get("application/json")
			if response.Value.Headers["ETag"] != nil && media != nil {
				found[refName(media.Schema)] = true
			}
		}
	}
	return found
}

// openEnum renders a text with known values as a class of constants.
func (g *generator) openEnum(name string, s *openapi3.Schema) (string, error) {
	values, docs, err := openValues(s)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n\nclass %s:\n%s\n", name, docstring(s.Description, 4))
	for i, value := range values {
		constant := strings.ToUpper(snakeCase(lastSegment(value)))
		fmt.Fprintf(&b, "    %s = %s\n%s", constant, pyValue(value), docstring(docs[i], 4))
	}
	return b.String(), nil
}

// openValues returns the known values of an open enum with their descriptions.
func openValues(s *openapi3.Schema) (values, docs []string, err error) {
	listed, _ := s.Extensions["x-extensible-enum"].([]any)
	described, _ := s.Extensions["x-enum-descriptions"].(map[string]any)
	for _, item := range listed {
		value, _ := item.(string)
		doc, ok := described[value].(string)
		if !ok {
			return nil, nil, fmt.Errorf("value %q has no description", value)
		}
		values, docs = append(values, value), append(docs, doc)
	}
	return values, docs, nil
}

func lastSegment(path string) string { return path[strings.LastIndex(path, "/")+1:] }

// messageTable renders the classes of a union by their discriminator.
func (g *generator) messageTable(name string) (string, error) {
	var entries []string
	for _, kind := range g.keys("components", "schemas", name, "discriminator", "mapping") {
		ref := g.doc.Components.Schemas[name].Value.Discriminator.Mapping[kind].Ref
		class := strings.TrimPrefix(ref, "#/components/schemas/")
		entries = append(entries, pyValue(kind)+": "+class)
	}
	if len(entries) == 0 {
		return "", fmt.Errorf("%s has no mapping of its discriminator", name)
	}
	return "\n\n" + display("SERVER_MESSAGES: Dict[str, Any] = {", entries, "}", 0), nil
}

// problemsModule renders problems.py.
func (g *generator) problemsModule() (string, error) {
	values, docs, err := openValues(g.doc.Components.Schemas["ProblemType"].Value)
	if err != nil {
		return "", err
	}
	var classes, body strings.Builder
	for i, value := range values {
		name := pascalCase(lastSegment(value))
		status, doc, ok := strings.Cut(docs[i], ". ")
		if !ok {
			return "", fmt.Errorf("the description of %s does not begin with its status", value)
		}
		fmt.Fprintf(&body, "\n\nclass %s(ProblemError):\n%s\n    status = %s\n    type = %s\n",
			name, docstring(doc, 4), status, pyValue(value))
		fmt.Fprintf(&classes, "    %q,\n", name)
	}
	return `# Generated from openapi.yaml by ./task gen; do not edit.
"""An exception for each type of problem."""

from ._problem import ProblemError

__all__ = [
` + classes.String() + "]\n" + body.String(), nil
}
