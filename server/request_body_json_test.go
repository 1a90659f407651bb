package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/oei-ms/oei-ms/server"
)

// endless is a body without end, made of pieces. It counts what is read of it.
type endless struct {
	piece func(n int) string
	n     int
	rest  string
	read  int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.rest == "" {
		e.rest = e.piece(e.n)
		e.n++
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	e.read += n
	return n, nil
}

func (e *endless) Close() error { return nil }

// list is a body that begins with head and repeats item.
func list(head, item string) *endless {
	return &endless{piece: func(n int) string {
		if n == 0 {
			return head
		}
		return item
	}}
}

// bodySchema is that of the JSON body of an operation.
func bodySchema(t *testing.T, operation string) (schema *openapi3.Schema) {
	t.Helper()
	eachOperation(t, func(_, _ string, _ *openapi3.PathItem, op *openapi3.Operation) {
		if op.OperationID == operation {
			schema = op.RequestBody.Value.Content["application/json"].Schema.Value
		}
	})
	return schema
}

func TestCheckJSON_ReadsNoFurtherThanItsLimits(t *testing.T) {
	const buffer = 8 << 10 // of the decoder
	reading := `{"sensor_id":1,"value":1},`
	unknown := &endless{
		piece: func(n int) string {
			return strings.Repeat("{", max(0, 1-n)) + fmt.Sprintf(`"%d":1,`,
				n)
		},
	}
	labels := &endless{piece: func(n int) string {
		return strings.Repeat(`{"labels":{`, max(0, 1-n)) + fmt.Sprintf(`"l%d":"x",`, n)
	}}
	for name, test := range map[string]struct {
		operation string
		body      *endless
		faults    int
		last      string
		maxRead   int
	}{
		"unknown members": {"login", unknown, 20, `19: is not known here`, buffer},
		"empty items": {
			"writeReadings", list(`{"readings":[`, `{},`), 20, "readings[19].value: is missing",
			buffer,
		},
		"items of another type": {
			"acknowledgeAlarms", list(`{"alarms":[`, `1,`), 20, "alarms[19]: is not an object",
			buffer,
		},
		"more items than allowed": {
			"writeReadings", list(`{"readings":[`, reading), 1,
			"readings: has more than 5000 items",
			5000*len(reading) + buffer,
		},
		"more members": {"createNotificationSilence", labels, 1, "labels: has more than ", buffer},
		"levels": {
			"updateGateway", list(`{"metadata":{"x":`, `[`), 1, " is nested in more than 32 levels",
			buffer,
		},
		"bytes of a free object": {
			"updateGateway", list(`{"metadata":{"x":[`, `{},`), 1,
			"metadata: has more than 16384 bytes of JSON", 16<<10 + buffer,
		},
	} {
		_, err := server.CheckJSON(t.Context(), test.body, bodySchema(t, test.operation))
		faults := server.FaultsOf(err)
		if len(faults) != test.faults ||
			!strings.Contains(strings.Join(faults[len(faults)-1:], ""), test.last) ||
			test.body.read > test.maxRead {
			t.Errorf("%s: got %d faults after %d bytes, the last %q", name, len(faults),
				test.body.read, faults[max(0, len(faults)-1):])
		}
	}
}

// TestCheckJSON_BoundsFreeObjectsExactly writes objects that are as large as they may be, and by
// one byte larger.
func TestCheckJSON_BoundsFreeObjectsExactly(t *testing.T) {
	for field, operation := range map[string]string{
		"metadata": "updateGateway", "tags": "updateSensor", "labels": "updateNotificationRoute",
	} {
		for size, want := range map[int]string{
			16384: "", 16385: field + ": has more than 16384 bytes of JSON",
		} {
			object := `{"` + strings.Repeat("x", size-len(`{"":"y"}`)) + `":"y"}`
			body := `{"` + field + `": ` + object + `, "name": "z"}`
			_, err := server.CheckJSON(t.Context(), strings.NewReader(body),
				bodySchema(t, operation))
			if got := strings.Join(server.FaultsOf(err), "; "); got != want {
				t.Errorf("%s of %d bytes: got %q, want %q", field, size, got, want)
			}
		}
	}
}

func TestCheckJSON_NamesTheLimitOfIntegersBeyond64Bits(t *testing.T) {
	for value, want := range map[string]string{
		"9223372036854775808":  "v: is above 10",
		"99999999999999999999": "v: is above 10",
		"1e19":                 "v: is above 10",
		"1e999":                "v: is above 10",
		"-1e19":                "v: is below 1",
		"-1e999":               "v: is below 1",
	} {
		limited := openapi3.NewInt64Schema().WithMin(1).WithMax(10)
		schema := openapi3.NewObjectSchema().WithProperty("v", limited)
		_, err := server.CheckJSON(t.Context(), strings.NewReader(`{"v":`+value+`}`), schema)
		if got := strings.Join(server.FaultsOf(err), "; "); got != want {
			t.Errorf("%s: got %q, want %q", value, got, want)
		}
	}
}

func TestCheckJSON_EndsWithItsRequest(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	body := list(`{"metadata":{"x":[`, `1,`)
	_, err := server.CheckJSON(ctx, body, bodySchema(t, "updateGateway"))
	if !errors.Is(err, context.Canceled) || body.read > 8<<10 {
		t.Errorf("got %v after %d bytes", err, body.read)
	}
}

// TestCheckJSON_BoundsEveryArray also holds every other part of a body to have a bound.
func TestCheckJSON_BoundsEveryArray(t *testing.T) {
	arrays := 0
	var walk func(at string, s *openapi3.Schema)
	walk = func(at string, s *openapi3.Schema) {
		if len(s.AllOf) == 1 { // another schema, made nullable here
			s = s.AllOf[0].Value
		}
		switch {
		case s.Type.Is("string") && s.MaxLength == nil && s.Enum == nil && s.Format != "date-time":
			t.Errorf("%s has no maxLength", at)
		case s.Type.Is("object") && s.MaxProps == nil &&
			(s.AdditionalProperties.Has == nil || *s.AdditionalProperties.Has):
			t.Errorf("%s has neither maxProperties nor known members only", at)
		case s.Type.Is("array"):
			arrays++
			if s.MaxItems == nil {
				t.Errorf("%s has no maxItems", at)
				return
			}
			anyItem := *s
			anyItem.Items, anyItem.UniqueItems = nil, false
			n := int(*s.MaxItems)
			for items, want := range map[int]bool{n: true, n + 1: false} {
				body := "[" + strings.TrimSuffix(strings.Repeat("1,", items), ",") + "]"
				_, err := server.CheckJSON(t.Context(), strings.NewReader(body), &anyItem)
				if (err == nil) != want {
					t.Errorf("%s with %d items: got %v", at, items, err)
				}
			}
			walk(at+"[]", s.Items.Value)
		}
		if others := s.AdditionalProperties.Schema; others != nil {
			walk(at+".*", others.Value)
		}
		for name, p := range s.Properties {
			walk(at+"."+name, p.Value)
		}
	}
	eachOperation(t, func(_, _ string, _ *openapi3.PathItem, op *openapi3.Operation) {
		if op.RequestBody != nil {
			walk(op.OperationID, op.RequestBody.Value.Content["application/json"].Schema.Value)
		}
	})
	if arrays < 10 {
		t.Errorf("got %d arrays", arrays)
	}
}

func TestCheckJSON_WritesWhatTheGeneratedCodeReads(t *testing.T) {
	schema := func(kind, format string) *openapi3.Schema {
		return &openapi3.Schema{
			Type: &openapi3.Types{"object"},
			Properties: openapi3.Schemas{
				"v": {Value: &openapi3.Schema{Type: &openapi3.Types{kind}, Format: format}},
			},
		}
	}
	for _, test := range []struct{ kind, format, value, want string }{
		{"integer", "int64", "1.0", "1"},
		{"integer", "int64", "1e0", "1"},
		{"integer", "int64", "-1.50E+1", "-15"},
		{"integer", "int64", "100e-2", "1"},
		{"integer", "int64", "-0", "0"},
		{"integer", "int64", "0e999999999999999999999", "0"},
		{"integer", "int64", "9223372036854775807", "9223372036854775807"},
		{"integer", "int64", "922337203685477580.7e1", "9223372036854775807"},
		{"integer", "int64", "9223372036854775808", "v: is beyond 64 bits"},
		{"integer", "int64", "1e999999999999999999999", "v: is beyond 64 bits"},
		{"integer", "int64", "1.00000000000000000001", "v: is not a whole number"},
		{"integer", "int64", "1e-999999999999999999999", "v: is not a whole number"},
		{"integer", "int64", `"1"`, "v: is not a whole number"},
		{"integer", "int64", "null", "v: must not be null"},
		{"number", "double", "1e2", "1e2"},
		{"number", "double", "1e999", "v: is beyond a 64-bit float"},
		{"boolean", "", "0", "v: is not true or false"},
		{"boolean", "", "true", "true"},
		{
			"string", "date-time", `"2026-01-02t03:04:05.1234567+01:00"`,
			`"2026-01-02T02:04:05.123456Z"`,
		},
		{"string", "date-time", `"2016-12-31T23:59:60z"`, "v: is a leap second"},
		{"string", "date-time", `"2026-01-02T03:04:05+24:00"`, "v: is not an RFC 3339 timestamp"},
	} {
		out, err := server.CheckJSON(t.Context(), strings.NewReader(`{"v":`+test.value+`}`),
			schema(test.kind, test.format))
		got := string(bytes.TrimSuffix(bytes.TrimPrefix(out, []byte(`{"v":`)), []byte("}")))
		if err != nil {
			got = strings.Join(server.FaultsOf(err), "; ")
		}
		if got != test.want && (err == nil || !strings.HasPrefix(got, test.want)) {
			t.Errorf("%s %s: got %s, want %s", test.kind, test.value, got, test.want)
		}
	}
}

func TestCheckJSON_NamesFields(t *testing.T) {
	closed := false
	text := &openapi3.SchemaRef{Value: &openapi3.Schema{Type: &openapi3.Types{"string"}}}
	item := &openapi3.Schema{
		Type:                 &openapi3.Types{"object"},
		Properties:           openapi3.Schemas{"id": text},
		Required:             []string{"id"},
		AdditionalProperties: openapi3.AdditionalProperties{Has: &closed},
	}
	items := &openapi3.Schema{
		Type:     &openapi3.Types{"array"},
		Items:    &openapi3.SchemaRef{Value: item},
		MinItems: 1,
	}
	schema := &openapi3.Schema{
		Type: &openapi3.Types{"object"}, Properties: openapi3.Schemas{"list": {Value: items}},
		AdditionalProperties: openapi3.AdditionalProperties{Schema: text},
	}
	for body, want := range map[string]string{
		`{"list":[{"id":"x"},{"id":1}]}`:    "list[1].id: is not a text",
		`{"list":[{"id":"x"},{}]}`:          "list[1].id: is missing",
		`{"list":[{"id":"x","":1}]}`:        `list[0]."": is not known here`,
		`{"list":[{"id":"x","0":1}]}`:       `list[0].0: is not known here`,
		`{"list":[{"id":"x","a.b\n":1}]}`:   `list[0]."a.b\n": is not known here`,
		`{"list":[{"id":"x","a":1,"a":1}]}`: `list[0].a: is given twice; give it once`,
		`{"list":[]}`:                       "list: is empty",
		`{"":1}`:                            `"": is not a text`,
		`{"list":[{"id":"x"},]}`:            "is not JSON",
		`{"list":[{"id":"\ud800"}]}`:        "is not Unicode",
		`{"list":[{"id":"\u0000"}]}`:        "list[0].id: holds a NUL character",
		`[]`:                                "body: is not an object",
		`{} {}`:                             "body: goes on after its end",
		` `:                                 "body: is missing",
		`{"list":[{"id":"x","more":{"a":[1,2]}}]}`: `list[0].more: is not known here`,
	} {
		_, err := server.CheckJSON(t.Context(), strings.NewReader(body), schema)
		if got := strings.Join(server.FaultsOf(err), "; "); !strings.HasSuffix(got, want) ||
			strings.Contains(got, "\n") {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
	}
}
