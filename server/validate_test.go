package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

var megabyte = strings.Repeat("x", 1<<20)

// bad returns values that schema does not allow, as JSON.
func bad(schema *openapi3.Schema) map[string]string {
	values := map[string]string{
		"an object": `{"x":1}`, "a list": `[1]`, "a text": `"x"`, "a number": `1.5`, "true": `true`,
		"null": `null`,
	}
	switch {
	case schema.Type.Is("integer"):
		values["a huge number"], values["beyond a float64"] = "1e300", "1e999"
		values["a text of digits"] = `"1"`
		if schema.Min != nil {
			values["below the least"] = fmt.Sprint(int64(*schema.Min) - 1)
		}
		if schema.Max != nil {
			values["above the greatest"] = fmt.Sprint(int64(*schema.Max) + 1)
		}
	case schema.Type.Is("number"):
		delete(values, "a number")
		values["beyond a float64"], values["NaN"] = "1e999", "NaN"
		values["a text of digits"] = `"1"`
	case schema.Type.Is("boolean"):
		delete(values, "true")
		values["0"], values["a text"] = "0", `"true"`
	case schema.Type.Is("array"):
		if schema.MinItems == 0 {
			break
		}
		values["an empty list"] = "[]"
	case schema.Type.Is("object"):
		delete(values, "an object")
	case schema.Type.Is("string"):
		delete(values, "a text")
		values["NUL"], values["half a surrogate"] = `"a\u0000b"`, `"\ud800"`
		values["no UTF-8"] = "\"\xff\""
		if schema.MaxLength != nil {
			values["1 MB"], values["one character too many"] = `"`+megabyte+`"`, `"`+strings.Repeat(
				"é", int(*schema.MaxLength)+1,
			)+`"`
		}
		if schema.MinLength > 0 {
			values["an empty text"] = `""`
		}
		if schema.Enum != nil || schema.Format == "date-time" {
			values["another word"], values["an invalid date"] = `"x"`, `"2026-02-30T00:00:00Z"`
		}
		if schema.Pattern != "" {
			values["a line break"] = `"a\r\nb"`
		}
	}
	if schema.Nullable {
		delete(values, "null")
	}
	return values
}

// harmless are texts that must be neutral wherever a text is allowed.
var harmless = []string{
	"'; DROP TABLE users; --", `" OR ""="`, "$(reboot)", "{{7*7}}", "<script>alert(1)</script>",
	"=1+1", "../../etc/passwd",
	"💥", "é", "\u202egnp.exe", "z̷̢a̶l̵g̶o̷", "%00", "%s%n", "\\", "null", "\ufeffx",
}

func TestValidate_NamesBadMembersOfBodies(t *testing.T) {
	s := start(t)
	s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Admin])
	tried := 0
	eachOperation(t, func(path, method string, _ *openapi3.PathItem, op *openapi3.Operation) {
		if op.RequestBody == nil {
			return
		}
		r := rows[op.OperationID]
		target := r.path(s)
		try := func(name, body, field string) {
			t.Helper()
			tried++
			res := s.send(method, target, token, body)
			if r.least == public && len(body) > 4096 {
				if res.StatusCode != http.StatusRequestEntityTooLarge {
					t.Errorf("%s with %s: got %d, want 413", op.OperationID, name, res.StatusCode)
				}
				return
			}
			if res.StatusCode != http.StatusBadRequest || field != "" && !names(res, field) {
				t.Errorf("%s with %s: got %d, want 400 that names %q: %.300s", op.OperationID, name,
					res.StatusCode, field, res.body)
			}
		}
		schema := op.RequestBody.Value.Content["application/json"].Schema.Value
		good := members{}
		if err := json.Unmarshal([]byte(strings.ReplaceAll(r.body, "NEW", "fresh")),
			&good); err != nil {
			t.Fatal(err)
		}
		for name, prop := range schema.Properties {
			for kind, value := range bad(prop.Value) {
				field := fieldWanted(name, kind)
				if kind == "a list" && prop.Value.Items != nil {
					field += "[0]"
				}
				try(name+" "+kind, replaced(good, name, value), field)
			}
			if items := prop.Value.Items; items != nil && len(items.Value.Properties) > 0 {
				var list []members
				b, _ := json.Marshal(good[name])
				if err := json.Unmarshal(b, &list); err != nil || len(list) == 0 {
					t.Fatalf("%s: the good body has no %s: %v", op.OperationID, name, err)
				}
				item := func(member, value string) string {
					return replaced(good, name, "["+replaced(list[0], member, value)+"]")
				}
				for member, p := range items.Value.Properties {
					for kind, value := range bad(p.Value) {
						try(name+"."+member+" "+kind, item(member, value),
							fieldWanted(name+"[0]."+member, kind))
					}
				}
				try("an unknown member of an item", item("extra", "1"), name+"[0].extra")
			}
			try(name+" twice", fmt.Sprintf(`{%q:1,%q:2}`, name, name), name)
		}
		for _, name := range schema.Required {
			without := with(good, name, nil)
			b, _ := json.Marshal(without)
			try("no "+name, string(b), name)
		}
		fine := replaced(good, "extra", "1")
		try("an unknown member", fine, "extra")
		try("an unknown member with a long name", replaced(good, megabyte, "1"), "")
		try("a second value", r.body+" {}", "body")
		try("half a value", r.body[:len(r.body)-1], "body")
		try("a list", "["+r.body+"]", "body")
		try("null", "null", "body")
		try("nothing but space", " ", "body")
		try("10,000 levels", strings.Repeat("[", 10_000), "")
		try("a comment", r.body+"// x", "body")
		if res := s.send(method, target, token, ""); res.StatusCode != 400 {
			t.Errorf("%s without a body: got %d", op.OperationID, res.StatusCode)
		}
		if res := s.send(method, target, token, r.body, "Content-Type",
			"text/plain"); res.StatusCode != 415 {
			t.Errorf("%s as text: got %d", op.OperationID, res.StatusCode)
		}
		if res := s.send(method, target, token,
			`{"x":"`+megabyte+megabyte+`"}`); res.StatusCode != 413 {
			t.Errorf("%s with 2 MiB: got %d, want 413", op.OperationID, res.StatusCode)
		}
	})
	t.Logf("%d bodies tried", tried)
}

// fieldWanted is what must be named: what is no JSON at all cannot be blamed on a member.
func fieldWanted(name, kind string) string {
	if kind == "NaN" {
		return ""
	}
	return name
}

// replaced is m as JSON with one member given as it is.
func replaced(m members, name, value string) string {
	m = with(m, name, nil)
	b, _ := json.Marshal(m)
	key, _ := json.Marshal(name)
	if len(m) == 0 {
		return fmt.Sprintf(`{%s:%s}`, key, value)
	}
	return fmt.Sprintf(`{%s:%s,%s`, key, value, b[1:])
}

func TestValidate_KeepsHarmlessTexts(t *testing.T) {
	s := start(t)
	token := s.token(s.users[store.Engineer])
	g := s.addGateway()
	for _, text := range harmless {
		quoted, _ := json.Marshal(text)
		body := fmt.Sprintf(`{"name":%s,"location":%s,"metadata":{%s:%s}}`, quoted, quoted, quoted,
			quoted)
		res := s.send("PUT", fmt.Sprintf("/api/gateways/%d", g.ID), token, body)
		var got struct {
			Name, Location string
			Metadata       map[string]string
		}
		if err := json.Unmarshal(res.body, &got); err != nil || got.Name != text ||
			got.Location != text || got.Metadata[text] != text {
			t.Errorf("%q: got %d %s", text, res.StatusCode, res.body)
		}
	}
}

func TestValidate_NamesBadParameters(t *testing.T) {
	s := start(t)
	s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Admin])
	eachOperation(t, func(path, method string, item *openapi3.PathItem, op *openapi3.Operation) {
		r := rows[op.OperationID]
		if op.Tags[0] == "live" && method == "GET" || op.OperationID == "getDocsAsset" {
			return // what comes after the parameters of these is not JSON
		}
		good, query, _ := strings.Cut(r.path(s), "?")
		try := func(name, target, field string) {
			t.Helper()
			if res := s.send(method, target, token, r.body); res.StatusCode != 400 ||
				!names(res, field) {
				t.Errorf("%s with %s: got %d, want 400 that names %q: %.300s", op.OperationID, name,
					res.StatusCode, field, res.body)
			}
		}
		with := func(name, value string) string {
			q, _ := url.ParseQuery(query)
			q.Set(name, value)
			return good + "?" + q.Encode()
		}
		try("an unknown parameter", with("extra", "1"), "extra")
		try("a parameter with NUL", with("ex\x00tra", "1"), `"ex\x00tra"`)
		try("a broken query", good+"?a=%zz", "query")
		for _, p := range slices.Concat(item.Parameters, op.Parameters) {
			for kind, value := range badParameter(p.Value) {
				switch p.Value.In {
				case "query":
					try(p.Value.Name+" "+kind, with(p.Value.Name, value), p.Value.Name)
				case "path":
					target := strings.Replace(path, "{"+p.Value.Name+"}", url.PathEscape(value), 1)
					target = inBraces.ReplaceAllString(target, "1")
					try(p.Value.Name+" "+kind, target, p.Value.Name)
				}
			}
			if p.Value.In == "query" && !p.Value.Schema.Value.Type.Is("array") {
				try(p.Value.Name+" twice", with(p.Value.Name, "1")+"&"+p.Value.Name+"=1",
					p.Value.Name)
			}
		}
	})
}

// badParameter returns texts that the parameter does not allow.
func badParameter(p *openapi3.Parameter) map[string]string {
	schema := p.Schema.Value
	if schema.Type.Is("array") {
		schema = schema.Items.Value
	}
	values := map[string]string{"NUL": "1\x00", "no UTF-8": "\xff"}
	switch {
	case schema.Type.Is("string"):
		if schema.Enum != nil || schema.Format != "" {
			values["another word"], values["an invalid date"] = "x", "2026-02-30T00:00:00Z"
		}
		if schema.MaxLength != nil {
			values["too long a text"] = strings.Repeat("x", int(*schema.MaxLength)+1)
		}
		if schema.MinLength > 0 && p.In == "query" {
			values["nothing"] = ""
		}
	default:
		values["a word"], values["a fraction"], values["nothing"] = "x", "1.5", ""
		values["an injection"] = "1; DROP TABLE users"
		values["60 digits"] = strings.Repeat("9", 60)
		if schema.Min != nil {
			values["below the least"] = fmt.Sprint(int64(*schema.Min) - 1)
		}
		if schema.Max != nil {
			values["above the greatest"] = fmt.Sprint(int64(*schema.Max) + 1)
		}
		if p.In == "path" {
			delete(values, "nothing")
		}
	}
	return values
}

func TestValidate_BadCursorsAndETags(t *testing.T) {
	s := start(t)
	g := s.addGateway()
	v := s.addSensor(g.ID)
	token := s.token(s.users[store.Admin])
	for _, path := range []string{
		"/api/gateways?", "/api/sensors?", fmt.Sprintf("/api/data?sensor_id=%d&", v.ID),
		"/api/data/latest?", "/api/data/rejections?",
	} {
		for _, cursor := range []string{
			"x", "MA", "LTE", "OTk5OTk5OTk5OTk5", "MS4", "Li4", "MS5NUw",
			"OTIyMzM3MjAzNjg1NDc3NTgwNy4x", "MQ_", "____",
		} {
			if res := s.send("GET", path+"cursor="+cursor, token, ""); res.StatusCode != 400 ||
				!names(res, "cursor") {
				t.Errorf("%scursor=%s: got %d: %s", path, cursor, res.StatusCode, res.body)
			}
		}
	}
	for tag, want := range map[string]int{
		"3": 400, `"3`: 400, `""3"`: 400, `"1", "2"`: 400, "x": 400, strings.Repeat("x", 101): 400,
		`"0"`: 412, `"-1"`: 412, `"01"`: 412, `"9"`: 412, `W/"1"`: 412, `"x"`: 412, `""`: 412,
		`"99999999999999999999"`: 412, `"1"`: 200, "*": 200,
	} {
		for _, path := range []string{
			fmt.Sprintf("/api/gateways/%d", g.ID), fmt.Sprintf("/api/sensors/%d", v.ID),
		} {
			res := s.send("DELETE", path+"?dry_run=true", token, "", "If-Match", tag)
			if res.StatusCode != want {
				t.Errorf("If-Match: %s: got %d, want %d: %s", tag, res.StatusCode, want, res.body)
			}
		}
	}
}

// FuzzCheckJSON holds the check of bodies against encoding/json: what passes is JSON, and is
// written again with the same meaning.
func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1,"a":2}`, `[1,2] 3`, `"\u0000"`, `1e999`, `{"a":"\ud800"}`, "\xff",
		`[[[[1]]]]`, ``,
		`{"":[null,true,-0.0,1e2,"\u00e9\n"],"b":{"c":[]}}`,
	} {
		f.Add([]byte(seed))
	}
	anything := &openapi3.Schema{Type: &openapi3.Types{"object"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		out, err := server.CheckJSON(t.Context(), bytes.NewReader(body), anything)
		if err != nil {
			return
		}
		var want, got any
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("%q passes and is not JSON: %v", body, err)
		}
		if err := json.Unmarshal(out, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q became %q, %v", body, out, err)
		}
	})
}

func TestValidate_ReasonsNameTheRemedy(t *testing.T) {
	s := start(t)
	tests := map[string]struct{ method, path, body, field, reason string }{
		"a year beyond what can be written": {
			"GET", "/api/alarms/kpi?end=9999-12-31T23:59:59-23:59", "", "end",
			"is not in the years 1 to 9999",
		},
		"a year before the first": {
			"GET", "/api/alarms/kpi?end=0000-01-01T00:00:00Z", "", "end",
			"is not in the years 1 to 9999",
		},
		"a day before the first year": {
			"GET", "/api/alarms/kpi?end=0001-01-01T00:00:00Z", "", "end",
			"is not in the years 1 to 9999",
		},
		"the year of an export": {
			"GET", "/api/data/export?sensor_id=1&start=0001-01-01T00:00:00%2B23:59", "", "start",
			"is not in the years 1 to 9999",
		},
		"a date without a time": {
			"GET", "/api/data?sensor_id=1&start=2026-11-25", "", "start", "2026-01-02T03:04:05Z",
		},
		"two ids in one": {
			"GET", "/api/data?sensor_id=1,2", "", "sensor_id", "id=1&id=2",
		},
		"an id beyond all": {
			"GET", "/api/gateways/99999999999", "", "id", "is above 2147483647",
		},
		"a value that is not allowed": {
			"GET", "/api/gateways?status=asleep", "", "status",
			"is not allowed; use one of online, offline, unknown",
		},
		"a pattern": {
			"POST", "/api/gateways", `{"key":"a b","name":"x"}`, "key", "use letters, digits",
		},
		"nothing to change": {
			"PUT", "/api/gateways/1", `{}`, "body", "has no member",
		},
		"a name that breaks two rules is once": {
			"POST", "/api/gateways", `{"key":"a","name":""}`, "name", "",
		},
	}
	for name, test := range tests {
		res := s.send(test.method, test.path, s.token(s.users[store.Engineer]), test.body)
		p := res.problem()
		if res.StatusCode != 400 || len(p.Errors) != 1 || p.Errors[0].Field != test.field ||
			!strings.Contains(p.Errors[0].Reason, test.reason) {
			t.Errorf("%s: got %d %s", name, res.StatusCode, res.body)
		}
	}
}
