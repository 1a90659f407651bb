package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/oei-ms/oei-ms/internal/readingjson"
	"github.com/oei-ms/oei-ms/internal/rfc3339"
)

// maxLevels bounds the nesting of a JSON body.
const maxLevels = 32

// errStop ends the check of a body that has enough faults or exceeds a limit.
var errStop = errors.New("checked enough")

// jsonBody checks a JSON body against its schema while it is read, so that a body that violates the
// contract costs no more than the bytes up to the violation. It refuses bodies that decoders read
// differently (duplicate members, invalid Unicode, a second value) and values that the database
// cannot store (NUL, numbers beyond a float64).
//
// It also writes the body again as the generated code can decode it: integers without fraction
// or exponent, timestamps as texts in UTC.
type jsonBody struct {
	ctx    context.Context
	in     *jsontext.Decoder
	out    []byte
	faults faults
	tokens int
	room   room
}

// room bounds an object with x-max-bytes while it is read into out. Such objects are not nested.
type room struct {
	field string
	bytes int
	end   int // in out; 0 outside of such an object
}

// checkJSON returns the body in the form that the generated code decodes. Errors are a *problem, or
// that of r or ctx.
func checkJSON(ctx context.Context, r io.Reader, schema *openapi3.Schema) ([]byte, error) {
	b := &jsonBody{ctx: ctx, in: jsontext.NewDecoder(r)}
	err := b.whole(schema)
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return nil, b.invalidJSON(syntax)
	}
	if err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	return b.out, b.faults.problem()
}

// whole reads one value and the end of the body.
func (b *jsonBody) whole(schema *openapi3.Schema) error {
	if err := b.value(schema); err != nil {
		if errors.Is(err, io.EOF) && b.in.StackDepth() == 0 {
			return b.fault("body", "is missing")
		}
		return err
	}
	switch _, err := b.token(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	b.faults = nil // the body is not JSON at all
	b.faults.add("body", "goes on after its end")
	return errStop
}

// token reads the next token, or ends with ctx.
func (b *jsonBody) token() (jsontext.Token, error) {
	if b.tokens++; b.tokens%256 == 0 && b.ctx.Err() != nil {
		return jsontext.Token{}, b.ctx.Err()
	}
	t, err := b.in.ReadToken()
	switch {
	case err != nil:
		return t, err
	case b.in.StackDepth() > maxLevels:
		b.faults.add(b.here(), fmt.Sprintf("is nested in more than %d levels", maxLevels))
		return t, errStop
	case b.room.end > 0 && len(b.out) >= b.room.end: // the closing brace is missing yet
		b.faults.add(b.room.field, fmt.Sprintf("has more than %d bytes of JSON", b.room.bytes))
		return t, errStop
	case t.Kind() == '"' && strings.ContainsRune(t.String(), 0):
		b.faults.add(b.here(), "holds a NUL character")
		return t, errStop
	}
	return t, nil
}

// value reads one value. A nil schema allows any.
func (b *jsonBody) value(schema *openapi3.Schema) error {
	t, err := b.token()
	if err != nil {
		return err
	}
	kind := t.Kind()
	if schema == nil {
		return b.anything(t)
	}
	if len(schema.AllOf) == 1 { // another schema, made nullable here
		if kind == 'n' && schema.Nullable {
			b.out = append(b.out, "null"...)
			return nil
		}
		schema = schema.AllOf[0].Value
	}
	if isInstant(schema) {
		if kind == '0' {
			at, err := readingjson.Time(t.String())
			if err != nil {
				return b.fault(b.here(), strings.TrimPrefix(err.Error(), t.String()+" "))
			}
			b.out, _ = jsontext.AppendQuote(b.out, rfc3339.Format(at))
			return nil
		}
		schema = schema.OneOf[0].Value
	}
	switch {
	case kind == 'n' && schema.Nullable:
		b.out = append(b.out, "null"...)
	case kind == '{' && schema.Type.Is(openapi3.TypeObject):
		return b.object(schema)
	case kind == '[' && schema.Type.Is(openapi3.TypeArray):
		return b.array(schema)
	case kind == '"' && schema.Type.Is(openapi3.TypeString):
		text, reason := checkString(t.String(), schema)
		return b.scalar(reason, func() { b.out, _ = jsontext.AppendQuote(b.out, text) })
	case kind == '0' && schema.Type.Is(openapi3.TypeInteger):
		text, reason := checkInteger(t.String(), schema)
		return b.scalar(reason, func() { b.out = append(b.out, text...) })
	case kind == '0' && schema.Type.Is(openapi3.TypeNumber):
		return b.scalar(checkNumber(t.String(), schema),
			func() { b.out = append(b.out, t.String()...) })
	case (kind == 't' || kind == 'f') && schema.Type.Is(openapi3.TypeBoolean):
		b.out = append(b.out, t.String()...)
	default:
		return b.wrongType(t, schema)
	}
	return nil
}

// scalar writes a value unless it has a fault.
func (b *jsonBody) scalar(reason string, write func()) error {
	if reason != "" {
		return b.fault(b.here(), reason)
	}
	write()
	return nil
}

func (b *jsonBody) wrongType(t jsontext.Token, schema *openapi3.Schema) error {
	reason := "is not " + map[string]string{
		openapi3.TypeArray: "a list", openapi3.TypeBoolean: "true or false",
		openapi3.TypeInteger: "a whole number",
		openapi3.TypeNumber:  "a number", openapi3.TypeObject: "an object",
		openapi3.TypeString: "a text",
	}[schema.Type.Slice()[0]]
	if t.Kind() == 'n' {
		reason = "must not be null"
	}
	if err := b.fault(b.here(), reason); err != nil {
		return err
	}
	return b.anything(t)
}

// object reads the members of an object that has begun.
func (b *jsonBody) object(schema *openapi3.Schema) error {
	if most, ok := schema.Extensions["x-max-bytes"].(float64); ok {
		b.room = room{field: b.here(), bytes: int(most), end: len(b.out) + int(most)}
		defer func() { b.room = room{} }()
	}
	b.out = append(b.out, '{')
	var count, given uint64 // given has a bit for each required member
	for b.in.PeekKind() != '}' {
		t, err := b.token()
		if err != nil {
			return err
		}
		name := t.String()
		if count++; schema.MaxProps != nil && count > *schema.MaxProps {
			b.faults.add(b.around(), fmt.Sprintf("has more than %d members", *schema.MaxProps))
			return errStop
		}
		if i := slices.Index(schema.Required, name); i >= 0 {
			given |= 1 << i
		}
		if count > 1 {
			b.out = append(b.out, ',')
		}
		b.out, _ = jsontext.AppendQuote(b.out, name)
		b.out = append(b.out, ':')
		if err := b.member(name, schema); err != nil {
			return err
		}
	}
	if _, err := b.token(); err != nil {
		return err
	}
	b.out = append(b.out, '}')
	for i, name := range schema.Required {
		if given&(1<<i) == 0 {
			if err := b.fault(below(b.here(), name), "is missing"); err != nil {
				return err
			}
		}
	}
	if count < schema.MinProps {
		return b.fault(b.here(), "has no member")
	}
	return nil
}

// member reads the value of a member.
func (b *jsonBody) member(name string, schema *openapi3.Schema) error {
	if property := schema.Properties[name]; property != nil {
		return b.value(property.Value)
	}
	others := schema.AdditionalProperties
	switch {
	case others.Schema != nil:
		return b.value(others.Schema.Value)
	case others.Has != nil && !*others.Has:
		reason := "is not known here"
		if meant := readingjson.MemberFor(name); schema.Properties[meant] != nil {
			reason += "; write " + meant
		}
		if err := b.fault(b.here(), reason); err != nil {
			return err
		}
	}
	return b.value(nil)
}

// array reads the items of an array that has begun.
func (b *jsonBody) array(schema *openapi3.Schema) error {
	b.out = append(b.out, '[')
	var n uint64
	items := map[string]bool{} // in their JSON form, for uniqueItems
	for ; b.in.PeekKind() != ']'; n++ {
		if schema.MaxItems != nil && n == *schema.MaxItems {
			b.faults.add(b.around(), fmt.Sprintf("has more than %d items", n))
			return errStop
		}
		if n > 0 {
			b.out = append(b.out, ',')
		}
		start := len(b.out)
		if err := b.item(schema); err != nil {
			return err
		}
		if !schema.UniqueItems {
			continue
		}
		item := string(b.out[start:])
		if items[item] {
			if err := b.fault(b.here(), "is given twice; give it once"); err != nil {
				return err
			}
		}
		items[item] = true
	}
	if _, err := b.token(); err != nil {
		return err
	}
	b.out = append(b.out, ']')
	switch {
	case n >= schema.MinItems:
		return nil
	case n == 0:
		return b.fault(b.here(), "is empty")
	}
	return b.fault(b.here(), fmt.Sprintf("has fewer than %d items", schema.MinItems))
}

func (b *jsonBody) item(schema *openapi3.Schema) error {
	if schema.Items == nil {
		return b.value(nil)
	}
	return b.value(schema.Items.Value)
}

// anything reads the rest of a value of any type that begins with t.
func (b *jsonBody) anything(t jsontext.Token) error {
	var free openapi3.Schema
	switch t.Kind() {
	case '{':
		return b.object(&free)
	case '[':
		return b.array(&free)
	case '"':
		b.out, _ = jsontext.AppendQuote(b.out, t.String())
	case '0':
		return b.scalar(checkNumber(t.String(), nil),
			func() { b.out = append(b.out, t.String()...) })
	default:
		b.out = append(b.out, t.String()...)
	}
	return nil
}

// fault adds a fault, and returns errStop when there are enough.
func (b *jsonBody) fault(field, reason string) error {
	b.faults.add(field, reason)
	if b.faults.full() {
		return errStop
	}
	return nil
}

// invalidJSON is the only fault of a body that is not JSON.
func (b *jsonBody) invalidJSON(err *jsontext.SyntacticError) *problem {
	reason := "is not JSON"
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		reason = "is given twice; give it once"
	case strings.Contains(err.Error(), "UTF-8"), strings.Contains(err.Error(), "surrogate"):
		reason = "is not Unicode"
	}
	return invalid(b.field(err.JSONPointer, maxLevels), reason)
}

// here returns the name of the value that was read last, such as readings[3].sensor_id.
func (b *jsonBody) here() string { return b.field(b.in.StackPointer(), maxLevels) }

// around returns the name of the object or array that is being read.
func (b *jsonBody) around() string { return b.field(b.in.StackPointer(), b.in.StackDepth()-1) }

// field formats the first levels of a JSON pointer as the name of a field.
func (b *jsonBody) field(p jsontext.Pointer, levels int) string {
	field, level := "body", 0
	for token := range p.Tokens() {
		if level++; level > levels || level > b.in.StackDepth() {
			break
		}
		if kind, _ := b.in.StackIndex(level); kind == '[' {
			field += "[" + token + "]"
		} else {
			field = below(field, token)
		}
	}
	return field
}

// below returns the name of a member of an object.
func below(field, name string) string {
	if field == "body" {
		return quoteField(name)
	}
	return field + "." + quoteField(name)
}

// isInstant reports whether a schema accepts a timestamp as a text or as milliseconds since 1970.
func isInstant(s *openapi3.Schema) bool {
	return len(s.OneOf) == 2 && s.OneOf[0].Value.Format == "date-time" &&
		s.OneOf[1].Value.Type.Is(openapi3.TypeInteger)
}

// canCheck returns an error for a schema that jsonBody does not support.
func canCheck(ref *openapi3.SchemaRef) error {
	if ref == nil {
		return nil
	}
	s := ref.Value
	if isInstant(s) {
		return canCheck(s.OneOf[0])
	}
	if len(s.AllOf) == 1 {
		return canCheck(s.AllOf[0])
	}
	composed := len(s.OneOf)+len(s.AnyOf)+len(s.AllOf) > 0 || s.Not != nil
	if composed || len(s.Type.Slice()) != 1 || s.MinProps > 1 || len(s.Required) > 64 {
		return errors.New("its schema has keywords that bodies are not checked for")
	}
	errs := []error{canCheck(s.Items), canCheck(s.AdditionalProperties.Schema)}
	for name, property := range s.Properties {
		if err := canCheck(property); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
