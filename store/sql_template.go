package store

import (
	"strings"
	"text/template"
)

// A statement is a constant in the method that runs it. Where its clauses depend on what is asked
// for, it is a template; testdata holds the rendered SQL of every shape.

func parseSQL(text string) *template.Template { return template.Must(template.New("").Parse(text)) }

// render returns the SQL of t for data.
func render(t *template.Template, data any) string {
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		panic(err) // the templates and the types of their data are constant
	}
	return b.String()
}
