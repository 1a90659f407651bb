package ingest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/ingest"
)

// deliver submits m as g1's and returns its receipt.
func (b *testPipeline) deliver(m ingest.Message) ingest.Receipt {
	b.t.Helper()
	done := make(chan ingest.Receipt, 1)
	m.Done, m.Gateway = func(r ingest.Receipt) { done <- r }, "g1"
	if m.Received.IsZero() {
		m.Received = noon
	}
	if err := b.Submit(b.t.Context(), m); err != nil {
		b.t.Fatal(err)
	}
	return b.wait(done)
}

func TestReceipts(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	many := "[" + strings.Repeat(`{"sensor":"t2","value":"x"},`, 149) +
		`{"sensor":"t2","value":2,"timestamp":7}]`
	tests := []struct{ name, topic, payload, want string }{
		{
			"one reading", "sensors/g1/t1/data", `{"value":1}`,
			`{"accepted":1,"duplicates":0,"rejected":[],"rejected_total":0,` +
				`"server_time":"2026-03-04T12:00:00.000000Z"}`,
		},
		{
			"the same again", "sensors/g1/t1/data", `{"value":1}`,
			`{"accepted":0,"duplicates":1,"rejected":[],"rejected_total":0,` +
				`"server_time":"2026-03-04T12:00:00.000000Z"}`,
		},
		{
			"some of each", "gateways/g1/data",
			`[{"sensor":"t1","value":2},{"sensor":"none","value":1},{"sensor":"t1","value":1},` +
				`{"sensor":"t2","value":1}]`,
			`{"accepted":1,"duplicates":1,"rejected":[{"index":0,"reason":"conflict"},` +
				`{"index":1,"reason":"unknown_sensor"}],"rejected_total":2,` +
				`"server_time":"2026-03-04T12:00:00.000000Z"}`,
		},
		{
			"a payload as a whole", "gateways/g1/data", `{`,
			`{"accepted":0,"duplicates":0,"rejected":[{"index":null,"reason":"malformed"}],` +
				`"rejected_total":1,"server_time":"2026-03-04T12:00:00.000000Z"}`,
		},
		{
			"a status", "gateways/g1/status", `{"status":"online"}`,
			`{"accepted":1,"duplicates":0,"rejected":[],"rejected_total":0,` +
				`"server_time":"2026-03-04T12:00:00.000000Z"}`,
		},
	}
	for _, tt := range tests {
		r := b.deliver(ingest.Message{Topic: tt.topic, Payload: []byte(tt.payload), Itemized: true})
		if got := string(r.JSON(noon)); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.want)
		}
	}
	if r := b.deliver(ingest.Message{
		Topic:    "gateways/g1/data",
		Payload:  []byte(many),
		Itemized: true,
	}); len(r.Rejected) != 100 || r.RejectedTotal != 150 && r.RejectedTotal != 149 {
		t.Errorf("many: got %d of %d", len(r.Rejected), r.RejectedTotal)
	}
	if r := b.deliver(ingest.Message{
		Topic:   "gateways/g1/data",
		Payload: []byte(many),
	}); r.Rejected != nil {
		t.Errorf("not asked for: got %d", len(r.Rejected))
	}
}

func TestNoReceipt_ReasonsByTopic(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, tt := range []struct{ gateway, topic, correlation, want string }{
		{"g1", "gateways/g1/receipts", "", ""},
		{"g1", "gateways/g1/receipts/a/b", "7", ""},
		{"g1", "gateways/g2/receipts", "", "topic"},
		{"g1", "gateways/g1/receiptsx", "", "topic"},
		{"g1", "gateways/g1/receipts/#", "", "topic"},
		{"g1", "gateways/g1/receipts/+/a", "", "topic"},
		{"g1", "gateways/g1/commands", "", "topic"},
		{"g1", "sensors/g1/s/data", "", "topic"},
		{"", "gateways//receipts", "", "topic"},
		{"g1", "gateways/g1/receipts/" + long, "", "topic"},
		{"g1", "gateways/g1/receipts", long, "correlation"},
	} {
		if got := ingest.NoReceipt(tt.gateway, tt.topic, []byte(tt.correlation)); got != tt.want {
			t.Errorf("%s to %.40s: got %q, want %q", tt.gateway, tt.topic, got, tt.want)
		}
	}
}

func TestContentType_OtherThanJSONIsRejected(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	for contentType, want := range map[string]byte{
		"": 0, "application/json": 0, "application/json; charset=utf-8": 0,
		"Application/JSON;charset=\"UTF-8\"": 0,
		"application/json; charset=latin1":   0x99, "text/csv": 0x99,
		"application/senml+json": 0x99,
		";":                      0x99, "application/cbor": 0x99,
	} {
		r := b.deliver(ingest.Message{
			Topic:       "sensors/g1/t1/data",
			Payload:     []byte(`{"value":1}`),
			ContentType: contentType,
		})
		if r.Code != want || want != 0 &&
			r.Text != fmt.Sprintf("malformed: content type %q is not application/json",
				contentType) {
			t.Errorf("%q: got %+v", contentType, r)
		}
	}
	latin := []byte("{\"value\":1,\"timestamp\":\"\xe4\"}")
	if r := b.deliver(ingest.Message{
		Topic: "sensors/g1/t1/data", Payload: latin,
		Text: true,
	}); r.Code != 0x99 || !strings.Contains(r.Text, "payload format indicator") {
		t.Errorf("not UTF-8: got %+v", r)
	}
	if r := b.deliver(ingest.Message{
		Topic:   "sensors/g1/t1/data",
		Payload: []byte(`{"value":1}`),
		Text:    true,
	}); r.Code != 0 {
		t.Errorf("UTF-8: got %+v", r)
	}
}

func TestExpiry(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	at := func(ago time.Duration, expiry time.Duration, payload string) ingest.Receipt {
		return b.deliver(ingest.Message{
			Topic:    "sensors/g1/t1/data",
			Payload:  []byte(payload),
			Received: time.Now().Add(-ago),
			Expiry:   expiry,
			Itemized: true,
		})
	}
	if r := at(time.Minute, 2*time.Minute,
		`{"value":1,"timestamp":1}`); r.RejectedTotal+r.Accepted != 1 ||
		strings.HasPrefix(r.Text, "expired") {
		t.Errorf("in time: got %+v", r)
	}
	if r := at(time.Hour, 0, `{"value":1}`); r.Accepted != 1 {
		t.Errorf("without an end: got %+v", r)
	}
	r := at(time.Minute, time.Minute, `{"value":2}`)
	if r.Code != 0x83 ||
		r.Text != "expired: it could not be stored within its expiry interval of 1m0s" ||
		r.Rejected[0].Reason != "expired" {
		t.Errorf("too late: got %+v", r)
	}
	if got := b.recorded(); !strings.Contains(got, "g1 sensors/g1/t1/data expired 1") {
		t.Errorf("recorded: %s", got)
	}
}
