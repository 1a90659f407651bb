// Package asyncapitest reads asyncapi.yaml for tests that hold it against the code, in both
// directions.
package asyncapitest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"go.yaml.in/yaml/v3"

	"github.com/oei-ms/oei-ms/gen/asyncapi"
)

// Document is what the tests read of the document.
type Document struct {
	Info struct {
		Description string
	}
	Servers map[string]struct {
		Bindings struct {
			MQTT struct {
				MaximumPacketSize int `yaml:"maximumPacketSize"`
			}
		}
	}
	Channels   map[string]Channel
	Operations map[string]Operation
	Components struct {
		Messages map[string]Message
		Schemas  map[string]any
	}
	schemas openapi3.Schemas
}

// Channel is a topic of MQTT or an address of WebSocket.
type Channel struct {
	Address  string
	Servers  []ref
	Messages map[string]ref
	Filter   string `yaml:"x-filter"`
}

// IsMQTT reports whether the channel is a topic of MQTT.
func (c Channel) IsMQTT() bool { return strings.HasPrefix(c.Servers[0].Ref, "#/servers/mqtt") }

// Operation says which messages of a channel the server receives or sends.
type Operation struct {
	Action   string
	Channel  ref
	Messages []ref
	Reply    struct {
		Messages []ref
	}
}

// Message is a kind of message. Answers are those of its examples, by their name.
type Message struct {
	Name    string
	Payload struct {
		Schema ref
	}
	Examples []Example
	Answers  map[string]Answer `yaml:"x-answers"`
}

// Example is a message that a client may send or receive.
type Example struct {
	Name    string
	Summary string
	Headers Properties
	Payload any
}

// Properties are the MQTT v5 properties of an example.
type Properties struct {
	ResponseTopic   string            `yaml:"responseTopic"`
	CorrelationData string            `yaml:"correlationData"`
	ContentType     string            `yaml:"contentType"`
	Expiry          *uint32           `yaml:"messageExpiryInterval"`
	User            map[string]string `yaml:"userProperties"`
}

// Answer is how an example is published over MQTT, and answered.
type Answer struct {
	Topic      string
	QoS        byte
	Text       bool // the payload is the text itself, which is not JSON
	Invalid    bool // the payload does not match the schema
	ReasonCode byte `yaml:"reason_code"`
	// ReasonString is the whole reason string; Reason is its first word, if the rest may change.
	ReasonString string `yaml:"reason_string"`
	Reason       string
	Receipt      string   // the name of an example
	Frames       []string // names of examples that answer a message of WebSocket
}

type ref struct {
	Ref string `yaml:"$ref"`
}

// Last returns the last part of the reference, the name of what it refers to.
func (r ref) Last() string { return r.Ref[strings.LastIndexByte(r.Ref, '/')+1:] }

// Read returns the document.
func Read(t testing.TB) *Document {
	t.Helper()
	d := new(Document)
	if err := yaml.Unmarshal(asyncapi.YAML, d); err != nil {
		t.Fatalf("asyncapi.yaml: %v", err)
	}
	// The schemas are in OpenAPI's form; kin-openapi resolves their references.
	contract, err := json.Marshal(map[string]any{
		"openapi":    "3.0.3",
		"info":       map[string]string{"title": "schemas", "version": "1"},
		"paths":      map[string]any{},
		"components": map[string]any{"schemas": d.Components.Schemas},
	})
	if err != nil {
		t.Fatalf("asyncapi.yaml: %v", err)
	}
	loaded, err := openapi3.NewLoader().LoadFromData(contract)
	if err != nil {
		t.Fatalf("asyncapi.yaml: %v", err)
	}
	d.schemas = loaded.Components.Schemas
	return d
}

// Schema returns a schema of the document.
func (d *Document) Schema(t testing.TB, name string) *openapi3.Schema {
	t.Helper()
	if d.schemas[name] == nil {
		t.Fatalf("asyncapi.yaml has no schema %s", name)
	}
	return d.schemas[name].Value
}

// Validate returns what is wrong with the payload of a message.
func (d *Document) Validate(t testing.TB, message string, payload any) error {
	t.Helper()
	schema := d.Schema(t, d.Components.Messages[message].Payload.Schema.Last())
	text, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	var v any // with the types that kin-openapi knows
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	return schema.VisitJSON(v, openapi3.EnableFormatValidation())
}

// Directions returns the messages of channels over MQTT or WebSocket that the server receives and
// sends.
func (d *Document) Directions(overMQTT bool) (received, sent map[string]bool) {
	received, sent = map[string]bool{}, map[string]bool{}
	for _, operation := range d.Operations {
		if d.Channels[operation.Channel.Last()].IsMQTT() != overMQTT {
			continue
		}
		to := sent
		if operation.Action == "receive" {
			to = received
		}
		for _, message := range operation.Messages {
			to[message.Last()] = true
		}
		for _, message := range operation.Reply.Messages {
			sent[message.Last()] = true
		}
	}
	return received, sent
}

// Table returns the rows of the table in the description whose first column has this header.
func (d *Document) Table(t testing.TB, header string) (rows [][]string) {
	t.Helper()
	inside := false
	for line := range strings.Lines(d.Info.Description) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case len(cells) < 2:
			inside = false
		case cells[0] == header:
			inside = true
		case inside && !strings.HasPrefix(cells[0], "---"):
			rows = append(rows, cells)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("asyncapi.yaml has no table of %s", header)
	}
	return rows
}

// Codes returns the numbers in the first column of a table, each with its row.
func (d *Document) Codes(t testing.TB, header string) map[int][]string {
	t.Helper()
	codes := map[int][]string{}
	for _, row := range d.Table(t, header) {
		for text := range strings.SplitSeq(row[0], ", ") {
			code, err := strconv.ParseInt(text, 0, 32)
			if err != nil {
				t.Fatalf("table of %s: %v", header, err)
			}
			codes[int(code)] = row
		}
	}
	return codes
}

// Limit is a row of a table of limits.
type Limit struct {
	Default int
	Setting string // empty: it is fixed
}

// Limits returns a table of limits by the name of the row.
func (d *Document) Limits(t testing.TB, header string) map[string]Limit {
	t.Helper()
	limits := map[string]Limit{}
	for _, row := range d.Table(t, header) {
		value, err := strconv.Atoi(strings.ReplaceAll(row[1], ",", ""))
		if err != nil {
			t.Fatalf("limit of %s: %v", row[0], err)
		}
		limits[row[0]] = Limit{value, strings.Trim(row[2], "`")}
	}
	return limits
}

// CodeLimits are limits of the code by the name of their row in the document.
type CodeLimits map[string]Limit

// Fixed adds a limit that no setting changes.
func (l CodeLimits) Fixed(name string, value int) { l[name] = Limit{Default: value} }

// Setting adds the default of a setting.
func (l CodeLimits) Setting(name string, value int, setting string) {
	l[name] = Limit{value, setting}
}

// Differences returns what one set has and the other has not, as lines for people.
func Differences[K comparable, A, B any](document map[K]A, code map[K]B) (lines []string) {
	for k := range document {
		if _, ok := code[k]; !ok {
			lines = append(lines, fmt.Sprintf("only asyncapi.yaml has %v", k))
		}
	}
	for k := range code {
		if _, ok := document[k]; !ok {
			lines = append(lines, fmt.Sprintf("asyncapi.yaml lacks %v", k))
		}
	}
	return slices.Sorted(slices.Values(lines))
}

// CheckLimits compares a table of limits with the code. others are the rows that another package's
// test compares.
func (d *Document) CheckLimits(
	t *testing.T, header string, code CodeLimits, others ...string,
) {
	t.Helper()
	limits := d.Limits(t, header)
	for _, name := range others {
		if _, ok := limits[name]; !ok {
			t.Errorf("asyncapi.yaml lacks the limit of %q", name)
		}
		delete(limits, name)
	}
	for _, line := range Differences(limits, code) {
		t.Error("limits: " + line)
	}
	for _, name := range slices.Sorted(maps.Keys(code)) {
		if got, ok := limits[name]; ok && got != code[name] {
			t.Errorf("limit of %s: asyncapi.yaml has %+v, the code %+v", name, got, code[name])
		}
	}
}
