package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

const operationsHeader = `# Generated from openapi.yaml by ./task gen; do not edit.
"""The operations of the contract as methods."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, List, Literal, Sequence, Union

from ._json import UNSET, Unset
from ._session import (
    Download,
    Pages,
    Session,
    content,
    document,
    location,
    model,
    models,
    new_key,
    nothing,
    segment,
    text,
)
from ._websocket import WebSocket
from .models import (
%s)

VERSION = %q
"""Version of the contract."""


class Operations(Session):
    """All operations of the contract; Client adds the session to them."""
`

// operationsModule renders operations.py.
func (g *generator) operationsModule() (string, error) {
	var b strings.Builder
	for _, op := range g.operations() {
		text, err := g.method(op)
		if err != nil {
			return "", fmt.Errorf("%s: %w", op.OperationID, err)
		}
		b.WriteString("\n" + text)
	}
	used := map[string]bool{}
	for _, word := range word.FindAllString(codeOnly(b.String()), -1) {
		used[word] = g.visited[word]
	}
	var imports strings.Builder
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if used[name] {
			imports.WriteString("    " + name + ",\n")
		}
	}
	return fmt.Sprintf(operationsHeader, imports.String(), g.doc.Info.Version) + b.String(), nil
}

var (
	word       = regexp.MustCompile(`\b[A-Z]\w*`)
	docstrings = regexp.MustCompile(`(?s)""".*?"""`)
)

func codeOnly(source string) string { return docstrings.ReplaceAllString(source, "") }

// argument is a parameter of a method: one of the operation or a member of its body.
type argument struct {
	member
	in    string // path, query, header or body
	value string // the expression that is sent
}

func (g *generator) method(op operation) (string, error) {
	answer, err := g.answer(op)
	if err != nil {
		return "", err
	}
	arguments, err := g.arguments(op, answer)
	if err != nil {
		return "", err
	}
	signature := []string{"self"}
	for _, a := range arguments {
		if a.required {
			signature = append(signature, a.attribute+": "+a.annotation(true, true))
		}
	}
	keyword := false
	for _, a := range arguments {
		if a.required {
			continue
		}
		if !keyword {
			signature, keyword = append(signature, "*"), true
		}
		if answer.isPaged && a.name == "limit" {
			size := int(*a.schema.Value.Max)
			signature = append(signature, "limit: int = "+strconv.Itoa(size))
			continue
		}
		signature = append(signature, a.attribute+": "+a.annotation(false, a.in == "body"))
	}
	name := snakeCase(op.OperationID)
	return call(4, "def "+name, signature, " -> "+answer.annotation+":") +
		docstring(g.methodDoc(op, answer, arguments), 8) +
		g.methodCall(op, answer, arguments), nil
}

// arguments returns the parameters of an operation and the members of its body, the required ones
// first.
func (g *generator) arguments(op operation, answer answer) ([]argument, error) {
	var found []argument
	for _, p := range op.parameters {
		if p.Value.Name == "cursor" && answer.isPaged { // Pages follows the links
			continue
		}
		t, err := g.use(p.Value.Schema, true)
		if err != nil {
			return nil, err
		}
		m := member{
			name:      p.Value.Name,
			attribute: snakeCase(p.Value.Name),
			schema:    p.Value.Schema,
			pyType:    t,
			required:  p.Value.Required,
			doc:       p.Value.Description,
		}
		m.nullable = false
		if of, ok := strings.CutPrefix(m.expr, "List["); ok {
			m.expr = strings.TrimSuffix(of, "]") + " | Sequence[" + of
		}
		a := argument{member: m, in: p.Value.In, value: m.attribute}
		if m.name == "Idempotency-Key" {
			a.value += " or new_key()"
			a.doc += " A random one if absent, so that the call can be repeated safely."
		}
		found = append(found, a)
	}
	if acceptsTicket(op) {
		m := member{
			name:      "ticket",
			attribute: "ticket",
			schema:    &openapi3.SchemaRef{Value: openapi3.NewStringSchema()},
			pyType:    pyType{expr: "str"},
			doc:       "Log in with this ticket, not with the session.",
		}
		found = append(found, argument{member: m, in: "query", value: m.attribute})
	}
	body, err := g.body(op)
	if err != nil {
		return nil, err
	}
	for _, m := range body {
		found = append(found, argument{member: m, in: "body", value: m.attribute})
	}
	names := map[string]bool{}
	for _, a := range found {
		if names[a.attribute] {
			return nil, fmt.Errorf("two arguments have the name %s", a.attribute)
		}
		names[a.attribute] = true
	}
	slices.SortStableFunc(found, func(a, b argument) int { return rank(a.member) - rank(b.member) })
	return found, nil
}

// body returns the members of the JSON body of an operation.
func (g *generator) body(op operation) ([]member, error) {
	if op.RequestBody == nil {
		return nil, nil
	}
	media := op.RequestBody.Value.Content.Get("application/json")
	if media == nil || !isClass(media.Schema.Value) || media.Schema.Ref == "" {
		return nil, fmt.Errorf("the body is not a named object in JSON")
	}
	name := refName(media.Schema)
	g.requested[name] = true
	return g.members(name)
}

// methodCall renders the body of a method.
func (g *generator) methodCall(op operation, answer answer, arguments []argument) string {
	path := op.path
	entries := map[string][]string{}
	var nullable []string
	for _, a := range arguments {
		if a.in == "path" {
			value := a.attribute + ":d"
			if a.expr != "int" {
				value = "segment(" + a.attribute + ")"
			}
			path = strings.Replace(path, "{"+a.name+"}", "{"+value+"}", 1)
			continue
		}
		entries[a.in] = append(entries[a.in], pyValue(a.name)+": "+a.value)
		if a.in == "body" && a.nullable {
			nullable = append(nullable, pyValue(a.name))
		}
	}
	address := pyValue(path)
	if strings.Contains(path, "{") {
		address = "f" + address
	}
	parts := []string{address}
	if answer.function == "_call" {
		parts = []string{pyValue(op.method), address}
	}
	if answer.decode != "" {
		parts = append(parts, answer.decode)
	}
	for _, in := range []struct{ name, from string }{
		{"query", "query"}, {"headers", "header"}, {"body", "body"},
	} {
		if list := entries[in.from]; len(list) > 0 {
			parts = append(parts, strings.TrimSpace(display(in.name+"={", list, "}", 12)))
		}
	}
	if len(nullable) > 0 {
		parts = append(parts, strings.TrimSpace(display("nullable=[", nullable, "]", 12)))
	}
	if op.Security != nil && len(*op.Security) == 0 {
		parts = append(parts, "public=True")
	}
	if len(answer.statuses) > 0 {
		parts = append(parts, "expected=["+strings.Join(answer.statuses, ", ")+"]")
	}
	return call(8, "return self."+answer.function, parts, "")
}

func (g *generator) methodDoc(op operation, answer answer, arguments []argument) string {
	var b strings.Builder
	b.WriteString(strings.TrimSuffix(op.Summary, ".") + ".\n\n")
	b.WriteString(strings.TrimSpace(op.Description) + "\n")
	if op.Deprecated {
		b.WriteString("\nDeprecated: a later version of the server will not have it.\n")
	}
	if role := role(op); role != "" {
		b.WriteString("\nNeeds the role `" + role + "`.\n")
	} else {
		b.WriteString("\nNeeds no login.\n")
	}
	if len(arguments) > 0 {
		b.WriteString("\nArgs:\n")
		for _, a := range arguments {
			doc := oneLine(a.doc)
			switch preset := a.schema.Value.Default; {
			case answer.isPaged && a.name == "limit":
				doc = "Size of a page; all pages are read."
			case preset != nil:
				doc += " Default: " + pyValue(preset) + "."
			}
			b.WriteString("    " + a.attribute + ": " + doc + "\n")
		}
	}
	if answer.doc != "" {
		b.WriteString("\nReturns:\n    " + oneLine(answer.doc) + "\n")
	}
	return b.String()
}

// role returns the least role that may call an operation.
func role(op operation) string {
	for _, requirement := range *op.Security {
		for _, scopes := range requirement {
			if len(scopes) > 0 {
				return scopes[0]
			}
		}
	}
	return ""
}

func acceptsTicket(op operation) bool {
	return slices.ContainsFunc(*op.Security, func(r openapi3.SecurityRequirement) bool {
		_, ok := r["ticket"]
		return ok
	})
}
