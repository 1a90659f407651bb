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
			"a retained offline is older than the messages received", retained,
			`{"status":"offline",` + long + `}`, 0, "online 12:00:02 -1000",
		},
		{
			"a retained online does not set the skew", retained, `{"status":"online",` + long +
				`}`, 0,
			"online 12:00:02 -1000",
		},
		{
			"offline may be a will", external, `{"status":"offline",` + long + `}`, 0,
			"offline 12:00:05 -1000",
		},
		{"it comes back", external, `{"status":"online"}`, 0, "online 12:00:06 -1000"},
		{
			"a will does not set the skew", will, `{"status":"online",` + long + `}`, 0,
			"online 12:00:07 -1000",
		},
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
			"a timestamp that is years ahead", external,
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
		const q = `
			SELECT format('%s %s %s', status, to_char(last_seen_at, 'HH24:MI:SS'), clock_skew_ms)
			FROM gateways
			WHERE key = 'g1'`
		if got := scan[string](t, b.db, q); got != s.want {
			t.Errorf("%s: got %q, want %q", s.name, got, s.want)
		}
	}
}

func TestPresence(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	is := func(gateway string) string {
		return scan[string](t, b.db,
			`
				SELECT format('%s %s %s',
					status, to_char(last_seen_at, 'HH24:MI:SS'), clock_skew_ms)
				FROM gateways
				WHERE key = $1`, gateway)
	}
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	steps := []struct {
		name, as, topic, payload string
		second                   int
		want                     string // of g1
	}{
		{
			"a reading means that it is there", "g1", "sensors/g1/t2/data", sample(1), 1,
			"online 12:00:01 ",
		},
		{
			"it says that it is offline", "g1", "gateways/g1/status", `{"status":"offline"}`, 2,
			"offline 12:00:02 ",
		},
		{
			"a rejected sample of its own sensor says that it is online", "g1",
			"sensors/g1/t2/data",
			`{"value":"x"}`, 3, "online 12:00:03 ",
		},
		{
			"it says how late it is", "g1", "gateways/1/status",
			`{"status":"online","timestamp":"2026-03-04T11:59:58.5Z"}`, 4, "online 12:00:04 -5500",
		},
		{
			"another gateway says that it is offline", "g2", "gateways/g1/status",
			`{"status":"offline"}`, 5, "online 12:00:04 -5500",
		},
		{
			"another gateway publishes for it", "g2", "sensors/g1/t2/data", sample(2), 6,
			"online 12:00:04 -5500",
		},
		{
			"nonsense says nothing", "g1", "gateways/g1/status", `{"status":"dead"}`, 7,
			"online 12:00:04 -5500",
		},
		{
			"it goes", "g1", "gateways/g1/status", `{"status":"offline"}`, 8,
			"offline 12:00:08 -5500",
		},
		{
			"and comes", "g1", "gateways/g1/data", `[{"sensor":"t2","value":1}]`, 9,
			"online 12:00:09 -5500",
		},
	}
	for _, s := range steps {
		b.wait(b.send(s.as, s.topic, s.payload, at(s.second)))
		if got := is("g1"); got != s.want {
			t.Errorf("%s: got %q, want %q", s.name, got, s.want)
		}
	}
	t.Run("when it was last heard of is written now and then, and at the end", func(t *testing.T) {
		b.wait(b.send("g1", "sensors/g1/t2/data", sample(20), at(20)))
		if got := is("g1"); got != "online 12:00:09 -5500" && got != "online 12:00:20 -5500" {
			t.Errorf("got %q", got)
		}
		b.wait(b.send("g1", "sensors/g1/t2/data", sample(21), at(21)))
		b.stop()
		if got := is("g1"); got != "online 12:00:21 -5500" {
			t.Errorf("got %q", got)
		}
	})
	var said []string
	for _, c := range b.committed {
		for _, p := range c.Presence {
			if p.GatewayID == 1 {
				said = append(said, p.Status)
			}
		}
	}
	if got, want := strings.Join(said, " "), "online offline online offline online"; got != want {
		t.Errorf("notified: got %s, want %s", got, want)
	}
}

func TestPresence_SeveralStatusesInOneTransaction(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	release := b.hold()
	defer release()
	b.send("g1", "sensors/g1/t2/data", sample(0), noon) // occupies the lane
	var last <-chan ingest.Receipt
	for _, payload := range []string{
		`{"status":"online"}`, `{"status":"offline"}`, `{"status":"online"}`,
		`{"status":"offline"}`,
	} {
		last = b.send("g1", "gateways/g1/status", payload, noon)
	}
	release()
	b.wait(last)
	if got := scan[string](t, b.db,
		`SELECT status FROM gateways WHERE key = 'g1'`); got != "offline" {
		t.Errorf("got %s", got)
	}
}
