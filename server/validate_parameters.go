package server

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"
)

// parameter is one parameter of an operation, as the contract describes it.
type parameter struct {
	name, in string
	required bool
	repeats  bool
	maxItems *uint64          // when it repeats
	schema   *openapi3.Schema // of one value
}

func newParameter(p *openapi3.Parameter) parameter {
	v := parameter{name: p.Name, in: p.In, required: p.Required, schema: p.Schema.Value}
	if v.schema.Type.Is(openapi3.TypeArray) {
		v.repeats, v.maxItems, v.schema = true, v.schema.MaxItems, v.schema.Items.Value
	}
	return v
}

// checkParameters checks path, query and headers, and sets defaults. It rewrites the values of the
// query in the form that the generated code parses.
func checkParameters(c echo.Context, op *operation) error {
	r := c.Request()
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalid("query", "is not correctly escaped; use percent-encoding")
	}
	var faults faults
	for _, name := range slices.Sorted(maps.Keys(query)) {
		known := func(p parameter) bool {
			return p.in == openapi3.ParameterInQuery && p.name == name
		}
		if !slices.ContainsFunc(op.parameters, known) && (name != "ticket" || !op.ticket) {
			faults.add(quoteField(name), "is not known here")
		}
	}
	changed := false
	for _, p := range op.parameters {
		if p.in != openapi3.ParameterInQuery {
			_, reason := p.check(p.values(c))
			faults.add(p.name, reason)
			continue
		}
		values, reason := p.check(query[p.name])
		faults.add(p.name, reason)
		if !slices.Equal(values, query[p.name]) {
			query[p.name], changed = values, true
		}
	}
	if changed {
		r.URL.RawQuery = query.Encode()
	}
	return faults.problem()
}

// values returns the values of a path parameter or header.
func (p parameter) values(c echo.Context) []string {
	r := c.Request()
	if p.in == openapi3.ParameterInHeader {
		return r.Header.Values(p.name)
	}
	v := c.Param(p.name)
	if r.URL.RawPath != "" { // Echo has routed by the raw path
		if unescaped, err := url.PathUnescape(v); err == nil {
			v = unescaped
		}
	}
	return []string{v}
}

// check returns the canonical form of values, or the reason why they are not valid.
func (p parameter) check(values []string) (canonical []string, reason string) {
	switch {
	case len(values) == 0 && p.required:
		return nil, "is missing"
	case len(values) == 0 && p.schema.Default != nil && !p.repeats:
		return []string{joinValues([]any{p.schema.Default})}, ""
	case len(values) > 1 && !p.repeats:
		return values, "is given twice; give it once"
	case p.maxItems != nil && uint64(len(values)) > *p.maxItems:
		return values, "has more than " + strconv.FormatUint(*p.maxItems, 10) + " values"
	}
	canonical = make([]string, len(values))
	for i, v := range values {
		if v == "" && p.in != openapi3.ParameterInHeader {
			return values, "is empty"
		}
		if canonical[i], reason = checkText(v, p.schema); reason != "" {
			return values, reason
		}
	}
	if len(values) == 0 {
		return values, "" // which may be nil or empty
	}
	return canonical, ""
}

// decimal is the only form of an integer in a parameter.
var decimal = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

// checkText checks the text of a parameter or of a field of a form.
func checkText(text string, schema *openapi3.Schema) (canonical, reason string) {
	switch {
	case strings.ContainsRune(text, 0) || !utf8.ValidString(text):
		return text, "is not text"
	case schema.Type.Is(openapi3.TypeInteger):
		if !decimal.MatchString(text) {
			return text, "is not a whole number in decimal digits, such as 42; " +
				"of several give each by itself, as in id=1&id=2"
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return text, outOfRange(text, schema)
		}
		return text, checkScalar(n, schema)
	case schema.Type.Is(openapi3.TypeBoolean):
		if text != "true" && text != "false" {
			return text, "is neither true nor false"
		}
		return text, ""
	}
	return checkString(text, schema)
}

// checkHeaders refuses headers that are repeated although they are not lists.
func checkHeaders(h http.Header) error {
	for _, name := range []string{"If-Match", keyHeader, "Content-Type"} {
		if len(h.Values(name)) > 1 {
			return invalid(name, "is given twice; give it once")
		}
	}
	return nil
}
