package ingest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/ingest"
)

// TestPresence_WillsAndRetainedMessagesDoNotSetClockSkew publishes statuses whose timestamps are of
// another time than when they come.
func TestPresence_WillsAndRetainedMessagesDoNotSetClockSkew(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	const long = `"timestamp":"2026-02-01T00:00:00Z"`
	will := func(m *ingest.Message) { m.Will, m.Link = true, ingest.LinkDown }
	retained := func(m *ingest.Message) { m.GatewayID, m.Gateway, m.Retained = 0, "", true }
	external := func(m *ingest.Message) { m.GatewayID, m.Gateway = 0, "" }
	steps := []struct {
		name    string
		kind    func(*ingest.Message)
		payload string
		code    byte
		want    string // status, when it was last heard of, skew
	}{
		{
			"a retained offline tells of a gateway that was not heard", retained,
			`{"status":"offline",` + long + `}`, 0, "offline  ",
		},
		{
			"a retained online says nothing", retained, `{"status":"online",` + long + `}`, 0,
			"offline  ",
		},
		{
			"a status tells the clock", external,
			`{"status":"online","timestamp":"2026-03-04T12:00:01Z"}`, 0, "online 12:00:02 -1000",
		},
		{
			"a retained offline is older than what was heard", retained,
			`{"status":"offline",` + long + `}`, 0, "online 12:00:02 -1000",
		},
		{
			"a retained online is no clock", retained, `{"status":"online",` + long + `}`, 0,
			"online 12:00:02 -1000",
		},
		{
			"offline may be a will", external, `{"status":"offline",` + long + `}`, 0,
			"offline 12:00:05 -1000",
		},
		{"it comes back", external, `{"status":"online"}`, 0, "online 12:00:06 -1000"},
		{"a will is no clock", will, `{"status":"online",` + long + `}`, 0, "online 12:00:07 -1000"},
		{
			"seconds are no milliseconds", external, `{"status":"online","timestamp":1772625608}`,
			0x83, "online 12:00:07 -1000",
		},
		{
			"nor of a gateway that goes", external, `{"status":"offline","timestamp":1772625609}`,
			0x83, "online 12:00:07 -1000",
		},
		{
			"nor in a will", will, `{"status":"offline","timestamp":1772625610}`, 0x83,
			"online 12:00:07 -1000",
		},
		{
			"a clock that shows another year", external,
			`{"status":"online","timestamp":"2001-01-01T00:00:00Z"}`, 0x83, "online 12:00:07 -1000",
		},
		{
			"a clock that is ahead", external,
			`{"status":"online","timestamp":"2026-03-04T13:00:12Z"}`, 0, "online 12:00:12 3600000",
		},
		{
			"a timestamp that is no clock's", external,
			`{"status":"online","timestamp":253402300799999}`, 0x83, "online 12:00:12 3600000",
		},
	}
	for i, s := range steps {
		done := make(chan ingest.Receipt, 1)
		m := ingest.Message{
			Topic:     "gateways/g1/status",
			Payload:   []byte(s.payload),
			GatewayID: b.gateways["g1"],
			Gateway:   "g1",
			Link:      ingest.Linked,
			Received:  noon.Add(time.Duration(i) * time.Second),
			Done:      func(r ingest.Receipt) { done <- r },
		}
		s.kind(&m)
		if err := b.Submit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		r := b.wait(done)
		if r.Code != s.code || s.code != 0 && strings.Contains(s.payload, "17726256") &&
			!strings.Contains(r.Text, "looks like seconds") {
			t.Errorf("%s: got %#x %q, want %#x", s.name, r.Code, r.Text, s.code)
		}
		const q = `SELECT format('%s %s %s', status, to_char(last_seen_at, 'HH24:MI:SS'), clock_skew_ms) FROM gateways WHERE key = 'g1'`
		if got := scan[string](t, b.db, q); got != s.want {
			t.Errorf("%s: got %q, want %q", s.name, got, s.want)
		}
	}
}
