package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/oei-ms/oei-ms/store"
)

// looseSpellings are those that some parsers take for a value of the schema.
func looseSpellings(schema *openapi3.Schema) []string {
	switch {
	case schema.Type.Is("boolean"):
		return []string{"0", "1", "TRUE", "True", "False", "t", "f", "yes", "on", "true ", "null"}
	case schema.Type.Is("integer"):
		return []string{
			"+1", "01", "-0", " 1", "1 ", "1.0", "1e0", "0x1", "1_0", "١", "1,2", "", "null",
			"9223372036854775808",
		}
	case schema.Format == "date-time":
		return []string{
			"2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05+23:60", "2026-01-02T03:04:05,5Z",
			"2026-01-02T3:04:05Z", "2026-01-02 03:04:05Z",
			"2026-01-02T03:04:05", "2026-02-29T00:00:00Z", "2026-01-02T03:04:60Z",
			"0000-12-31T23:59:59Z", "1796061990", "now",
		}
	}
	return nil
}

func TestParameters_HaveOneSpelling(t *testing.T) {
	s := start(t)
	s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Admin])
	tried := 0
	eachOperation(t, func(path, method string, item *openapi3.PathItem, op *openapi3.Operation) {
		r := rows[op.OperationID]
		good, query, _ := strings.Cut(r.path(s), "?")
		for _, ref := range slices.Concat(item.Parameters, op.Parameters) {
			p, schema := ref.Value, ref.Value.Schema.Value
			if p.In == "header" {
				continue
			}
			if schema.Type.Is("array") {
				schema = schema.Items.Value
			}
			for _, value := range looseSpellings(schema) {
				if p.In == "path" && value == "" {
					continue
				}
				values, _ := url.ParseQuery(query)
				values.Set(p.Name, value)
				target := good + "?" + values.Encode()
				if p.In == "path" {
					target = strings.Replace(path, "{"+p.Name+"}", url.PathEscape(value), 1)
					target = inBraces.ReplaceAllString(target, "1")
				}
				tried++
				if res := s.send(method, target, token, r.body); res.StatusCode != 400 ||
					!names(res, p.Name) {
					t.Errorf("%s with %s=%q: got %d: %s", op.OperationID, p.Name, value,
						res.StatusCode, res.body)
				}
			}
		}
	})
	if tried < 500 {
		t.Errorf("tried only %d", tried)
	}
}

func TestParameters_ThatRepeatAreBounded(t *testing.T) {
	s := start(t)
	s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Admin])
	tried := 0
	eachOperation(t, func(_, method string, item *openapi3.PathItem, op *openapi3.Operation) {
		for _, ref := range slices.Concat(item.Parameters, op.Parameters) {
			p, schema := ref.Value, ref.Value.Schema.Value
			if !schema.Type.Is("array") {
				continue
			}
			if schema.MaxItems == nil {
				t.Errorf("%s: %s has no maxItems", op.OperationID, p.Name)
				continue
			}
			good, query, _ := strings.Cut(rows[op.OperationID].path(s), "?")
			values, _ := url.ParseQuery(query)
			values[p.Name] = slices.Repeat([]string{"1"}, int(*schema.MaxItems)+1)
			tried++
			res := s.send(method, good+"?"+values.Encode(), token, "")
			if want := fmt.Sprintf("has more than %d values",
				*schema.MaxItems); res.StatusCode != 400 || !strings.Contains(string(res.body),
				want) {
				t.Errorf("%s with %d values of %s: got %d: %s", op.OperationID, *schema.MaxItems+1,
					p.Name, res.StatusCode, res.body)
			}
		}
	})
	if tried == 0 {
		t.Error("no parameter repeats")
	}
}

// TestTimestamps_MeanTheSameEverywhere writes and asks for one instant in every spelling there is.
func TestTimestamps_MeanTheSameEverywhere(t *testing.T) {
	s := start(t)
	v := s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Engineer])
	spellings := []string{
		"2026-01-02T03:04:05.678901Z", "2026-01-02t03:04:05.6789014z",
		"2026-01-02T03:04:05.678901-00:00",
		"2026-01-03T03:03:05.678901999999+23:59", "2026-01-01T03:05:05.678901-23:59",
	}
	for i, text := range spellings {
		body := fmt.Sprintf(`{"readings":[{"sensor_id":%d,"value":1,"timestamp":%q}]}`, v.ID, text)
		res := s.send("POST", "/api/data", token, body, "Idempotency-Key", fmt.Sprint("key", i))
		if want := []string{`"stored"`, `"duplicate"`}[min(i, 1)]; res.StatusCode != 200 ||
			!strings.Contains(string(res.body), want) {
			t.Errorf("%s: got %d, want %s: %s", text, res.StatusCode, want, res.body)
		}
		res = s.send("GET",
			fmt.Sprintf("/api/data?sensor_id=%d&start=%s&end=2027-01-01t00:00:00z", v.ID,
				url.QueryEscape(text)), token, "")
		if !strings.Contains(string(res.body), `"2026-01-02T03:04:05.678901Z"`) {
			t.Errorf("start=%s: got %d: %s", text, res.StatusCode, res.body)
		}
	}
	for _, text := range looseSpellings(&openapi3.Schema{
		Type:   &openapi3.Types{"string"},
		Format: "date-time",
	}) {
		body := fmt.Sprintf(`{"readings":[{"sensor_id":%d,"value":1},{"sensor_id":%d,`+
			`"value":1,"timestamp":%q}]}`, v.ID, v.ID, text)
		res := s.send("POST", "/api/data", token, body, "Idempotency-Key", "faulty")
		if res.StatusCode != http.StatusBadRequest || !names(res, "readings[1].timestamp") {
			t.Errorf("%s: got %d: %s", text, res.StatusCode, res.body)
		}
	}
}
