package server

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/jsonenc"
	"github.com/oei-ms/oei-ms/internal/rfc3339"
)

const (
	maxFaults = 20  // in one answer; the check of a request ends with the last of them
	maxText   = 200 // bytes of the name of a field, or of a reason
)

// faults are the faults of one request, at most maxFaults.
type faults []api.FieldError

// add adds a fault unless reason is empty.
func (fs *faults) add(field, reason string) {
	if reason != "" && !fs.full() {
		*fs = append(*fs, api.FieldError{Field: truncate(field), Reason: truncate(reason)})
	}
}

func (fs *faults) full() bool { return len(*fs) >= maxFaults }

// problem returns the 400 that names the faults; nil when there are none.
func (fs *faults) problem() error {
	if len(*fs) == 0 {
		return nil
	}
	return invalidFields(*fs)
}

// checkString checks a text. canonical is the form that the generated code parses: timestamps in
// UTC.
func checkString(text string, schema *openapi3.Schema) (canonical, reason string) {
	if schema.Format != "date-time" {
		return text, checkScalar(text, schema)
	}
	t, err := rfc3339.Parse(text)
	switch {
	case errors.Is(err, rfc3339.ErrSyntax):
		return text, err.Error() + ", with %2B for + in a URL"
	case err != nil:
		return text, err.Error()
	}
	return string(jsonenc.AppendTime(nil, t)), ""
}

// checkScalar checks a value of the right type against the other rules of its schema.
func checkScalar(v any, schema *openapi3.Schema) (reason string) {
	e, ok := errors.AsType[*openapi3.SchemaError](schema.VisitJSON(v, openapi3.VisitAsRequest()))
	if !ok {
		return ""
	}
	switch e.SchemaField {
	case "minLength":
		if schema.MinLength == 1 {
			return "is empty"
		}
		return fmt.Sprintf("is shorter than %d characters", schema.MinLength)
	case "maxLength":
		return fmt.Sprintf("is longer than %d characters", *schema.MaxLength)
	case "pattern":
		if words, ok := schema.Extensions["x-form"].(string); ok {
			return "is not of the right form; use " + words
		}
		return "is not of the form " + schema.Pattern
	case "enum":
		return "is not allowed; use one of " + joinValues(schema.Enum)
	case "minimum":
		return "is below " + strconv.FormatFloat(*schema.Min, 'f', -1, 64)
	case "exclusiveMinimum":
		return "is not above " + strconv.FormatFloat(*schema.Min, 'f', -1, 64)
	case "maximum":
		return "is above " + strconv.FormatFloat(*schema.Max, 'f', -1, 64)
	case "exclusiveMaximum":
		return "is not below " + strconv.FormatFloat(*schema.Max, 'f', -1, 64)
	}
	return "is not valid"
}

// checkNumber accepts numbers that a float64 can hold.
func checkNumber(text string, schema *openapi3.Schema) (reason string) {
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		return "is beyond a 64-bit float"
	case schema == nil:
		return ""
	}
	return checkScalar(f, schema)
}

// checkInteger accepts every number without a fraction, in any notation, as JSON Schema does.
func checkInteger(text string, schema *openapi3.Schema) (canonical, reason string) {
	digits, ok := wholeNumber(text)
	if !ok {
		return "", "is not a whole number"
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return "", outOfRange(text, schema)
	}
	return digits, checkScalar(n, schema)
}

// wholeNumber returns a JSON number without fraction and exponent: 15 for 1.50e1. A number far
// beyond 64 bits becomes another one beyond 64 bits. ok is false when the number is not whole.
func wholeNumber(text string) (digits string, ok bool) {
	const farBeyond = 32 // digits
	mantissa, power, _ := strings.Cut(strings.ToLower(text), "e")
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0", true
	}
	exponent := 0
	if power != "" {
		exponent, _ = strconv.Atoi(power) // the nearest int when it is out of range
	}
	zeros := exponent - len(fraction) // the power of ten by which digits are multiplied
	for zeros < 0 && strings.HasSuffix(digits, "0") {
		digits, zeros = digits[:len(digits)-1], zeros+1
	}
	if zeros < 0 {
		return "", false
	}
	digits += strings.Repeat("0", min(zeros, farBeyond))
	if negative {
		digits = "-" + digits
	}
	return digits, true
}

// outOfRange names the limit that an integer beyond 64 bits exceeds.
func outOfRange(number string, schema *openapi3.Schema) string {
	negative := strings.HasPrefix(number, "-")
	switch {
	case negative && schema.Min != nil:
		return "is below " + strconv.FormatFloat(*schema.Min, 'f', -1, 64)
	case !negative && schema.Max != nil:
		return "is above " + strconv.FormatFloat(*schema.Max, 'f', -1, 64)
	}
	return "is beyond 64 bits"
}

// joinValues joins the values of an enumeration.
func joinValues(values []any) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}

// quoteField returns the name of a member for the name of a field: quoted where it could be
// misread.
func quoteField(name string) string {
	odd := func(r rune) bool {
		return r == utf8.RuneError || unicode.IsSpace(r) || !unicode.IsPrint(r) ||
			strings.ContainsRune(`."[]`, r)
	}
	name = truncate(name)
	if name == "" || strings.ContainsFunc(name, odd) {
		return strconv.Quote(name)
	}
	return name
}

// truncate returns s as valid UTF-8 of at most about maxText bytes.
func truncate(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
