package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/rfc3339"
)

const (
	mostFaults  = 20  // named in one answer
	longestText = 200 // bytes of a field's name or a reason in it
	deepest     = 32  // levels of a JSON body
	form        = "application/x-www-form-urlencoded"
)

// validation is what kin-openapi has to know. KeepValidatedValue hands the strict handlers what was validated; without it they
// would decode the body again, by laxer rules.
var validation = &openapi3filter.Options{
	MultiError:         true,
	KeepValidatedValue: true,
	SchemaValidationOptions: []openapi3.SchemaValidationOption{
		openapi3.WithStringFormatValidator("date-time", openapi3.NewCallbackValidator(checkInstant)),
	},
}

// checkInstant accepts what both the contract and the generated code take for a timestamp.
func checkInstant(s string) error {
	_, err := rfc3339.Parse(s)
	if err == nil {
		_, err = time.Parse(time.RFC3339, s)
	}
	return err
}

// validate returns a *problem unless the request has the form op wants.
func (s *Server) validate(c echo.Context, op *operation) error {
	r := c.Request()
	if err := checkQuery(r.URL.RawQuery, op.query); err != nil {
		return err
	}
	for _, name := range []string{"If-Match", keyHeader} {
		if len(r.Header.Values(name)) > 1 {
			return invalid(name, "is given twice")
		}
	}
	if op.body != nil {
		if err := s.checkBody(c, op.body); err != nil {
			return err
		}
	}
	params := make(map[string]string, len(c.ParamNames()))
	for i, name := range c.ParamNames() {
		v := c.ParamValues()[i]
		if r.URL.RawPath != "" { // what Echo has routed by
			if unescaped, err := url.PathUnescape(v); err == nil {
				v = unescaped
			}
		}
		params[name] = v
	}
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: op.route, Options: validation}
	if err := openapi3filter.ValidateRequest(r.Context(), in); err != nil {
		return refusal(err)
	}
	return nil
}

// checkQuery refuses parameters that are not known, come twice, are empty (kin-openapi would take the default), or not text.
func checkQuery(raw string, known map[string]bool) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return invalid("query", "is not correctly escaped")
	}
	for name, vs := range query {
		if _, ok := known[name]; ok && slices.Contains(vs, "") {
			return invalid(name, "is empty")
		}
	}
	return checkValues(query, func(name string) (repeats, ok bool) {
		repeats, ok = known[name]
		return repeats, ok
	})
}

func checkValues(values url.Values, known func(name string) (repeats, ok bool)) error {
	var faults []api.FieldError
	for name, vs := range values {
		repeats, ok := known(name)
		fault := ""
		switch {
		case !ok:
			fault = "is not known here"
		case len(vs) > 1 && !repeats:
			fault = "is given twice"
		case slices.ContainsFunc(vs, func(v string) bool { return strings.ContainsRune(v, 0) || !utf8.ValidString(v) }):
			fault = "is not text"
		}
		if fault != "" {
			faults = append(faults, api.FieldError{Field: printable(name), Reason: fault})
		}
	}
	if len(faults) == 0 {
		return nil
	}
	slices.SortFunc(faults, func(a, b api.FieldError) int { return strings.Compare(a.Field, b.Field) })
	return invalidFields(faults[:min(len(faults), mostFaults)])
}

// checkBody reads the body, sees to what kin-openapi lets pass, and leaves it to be read again.
func (s *Server) checkBody(c echo.Context, content openapi3.Content) error {
	r := c.Request()
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, s.cfg.BodyLimit))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &problem{status: http.StatusRequestEntityTooLarge, detail: fmt.Sprintf("A body has at most %d bytes.", s.cfg.BodyLimit)}
	}
	if err != nil {
		return &problem{status: http.StatusBadRequest, detail: "The body could not be read."}
	}
	r.ContentLength = int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
	if len(body) == 0 {
		return invalid("body", "is missing")
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	media := content[kind]
	if err != nil || media == nil {
		return &problem{status: http.StatusUnsupportedMediaType, detail: "Send " + strings.Join(slices.Sorted(maps.Keys(content)), " or ") + "."}
	}
	r.Header.Set("Content-Type", kind) // as the generated code compares it
	if kind != form {
		return checkJSON(body)
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return invalid("body", "is not a form")
	}
	return checkValues(values, func(name string) (repeats, ok bool) { return false, media.Schema.Value.Properties[name] != nil })
}

// checkJSON refuses what decoders do not agree on: members given twice, text that is not Unicode, a second value; and what the
// database cannot keep: NUL, numbers beyond a float64, too many levels.
func checkJSON(body []byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(body))
	mayHaveNUL := bytes.Contains(body, []byte(`\u0000`))
	for values := 0; ; {
		t, err := d.ReadToken()
		if errors.Is(err, io.EOF) && d.StackDepth() == 0 {
			return nil
		}
		if err != nil {
			return invalidJSON(err)
		}
		if values > 0 {
			return invalid("body", "goes on after its end")
		}
		if d.StackDepth() == 0 {
			values++
		}
		fault := ""
		switch {
		case t.Kind() == '"' && mayHaveNUL && strings.ContainsRune(t.String(), 0):
			fault = "holds a NUL character"
		case t.Kind() == '0' && !isFinite(t.String()):
			fault = "is beyond the numbers that are kept"
		case d.StackDepth() > deepest:
			fault = fmt.Sprintf("is nested in more than %d levels", deepest)
		}
		if fault != "" {
			return invalid(fieldOf(string(d.StackPointer())), fault)
		}
	}
}

func invalidJSON(err error) error {
	field, reason := "body", "is not JSON"
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		field = fieldOf(string(e.JSONPointer))
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			reason = "is given twice"
		case strings.Contains(e.Error(), "UTF-8"):
			reason = "is not Unicode"
		}
	}
	return invalid(field, reason)
}

func isFinite(number string) bool {
	_, err := strconv.ParseFloat(number, 64)
	return err == nil
}

// refusal makes kin-openapi's errors a 400 that names the fields. It shows neither the schema nor the values.
func refusal(err error) *problem {
	var faults []api.FieldError
	var walk func(err error, in string)
	walk = func(err error, in string) {
		switch e := err.(type) { //nolint:errorlint // one layer at a time: each adds to the name
		case openapi3.MultiError:
			for _, err := range e {
				walk(err, in)
			}
		case *openapi3filter.RequestError:
			if e.Parameter != nil {
				in = e.Parameter.Name
			}
			if e.Err == nil || errors.Is(e.Err, openapi3filter.ErrInvalidRequired) {
				faults = append(faults, api.FieldError{Field: in, Reason: "is missing"})
				return
			}
			walk(e.Err, in)
		case *openapi3.SchemaError:
			faults = append(faults, schemaFault(e, in))
		case *openapi3filter.ParseError:
			faults = append(faults, api.FieldError{Field: in, Reason: parseFault(e)})
		default:
			faults = append(faults, api.FieldError{Field: in, Reason: "is not valid"})
		}
	}
	walk(err, "body")
	named := map[string]bool{}
	faults = slices.DeleteFunc(faults, func(f api.FieldError) bool { // one fault of a field is enough: an empty name is too short and has no pattern
		again := named[f.Field]
		named[f.Field] = true
		return again
	})
	return invalidFields(faults[:min(len(faults), mostFaults)])
}

func schemaFault(e *openapi3.SchemaError, in string) api.FieldError {
	path := e.JSONPointer()
	reason := e.Reason
	if quoted, ok := strings.CutPrefix(reason, "property "); ok { // a member that is not known is not in the path
		if quoted, ok = strings.CutSuffix(quoted, " is unsupported"); ok {
			if name, err := strconv.Unquote(quoted); err == nil {
				path, reason = append(path, name), "is not known here"
			}
		}
	}
	switch e.SchemaField {
	case "required":
		reason = "is missing"
	case "format":
		reason = fmt.Sprintf("is not in the format %s", e.Schema.Format)
		switch {
		case errors.Is(e.Origin, rfc3339.ErrYear):
			reason = rfc3339.ErrYear.Error()
		case e.Schema.Format == "date-time":
			reason = "is not in the format date-time; write it like 2026-01-02T03:04:05Z or 2026-01-02T04:04:05+01:00, with %2B for + in a URL"
		}
	case "pattern":
		reason = "is not of the form " + e.Schema.Pattern
		if words, ok := e.Schema.Extensions["x-form"].(string); ok {
			reason = "is not of the right form; use " + words
		}
	case "enum":
		reason = "is none of " + allowed(e.Schema.Enum)
	case "minimum":
		reason = "is below " + strconv.FormatFloat(*e.Schema.Min, 'f', -1, 64)
	case "maximum":
		reason = "is above " + strconv.FormatFloat(*e.Schema.Max, 'f', -1, 64)
	case "minProperties":
		reason = "has no member"
	}
	if field := strings.Join(path, "."); in == "body" && field != "" {
		in = field
	}
	return api.FieldError{Field: printable(in), Reason: strings.ToValidUTF8(reason, "�")}
}

// allowed lists the values of an enumeration.
func allowed(values []any) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}

func parseFault(e *openapi3filter.ParseError) string {
	for e.Reason == "" {
		inner, ok := errors.AsType[*openapi3filter.ParseError](e.Cause)
		if !ok {
			return "is not valid"
		}
		e = inner
	}
	if e.Reason == "an invalid integer" {
		return "is not a whole number; of several give each by itself, as in id=1&id=2"
	}
	return "is " + e.Reason
}

// fieldOf writes a JSON pointer as the contract's field names are written.
func fieldOf(pointer string) string {
	if pointer == "" {
		return "body"
	}
	r := strings.NewReplacer("/", ".", "~1", "/", "~0", "~")
	return printable(r.Replace(pointer[1:]))
}

// printable is s cut to what an answer can hold.
func printable(s string) string {
	if len(s) > longestText {
		s = s[:longestText] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
