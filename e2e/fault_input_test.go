package e2e

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

func TestFaultInvalidMessages_DoNotDelayValidOnes(t *testing.T) {
	p := serve(t, dataDir(t))
	l := newLedger(p.registerAll(4))
	how := steady
	how.poison = true
	stop := l.run(t, p.mqtt, how)
	for range rounds(t, 3) {
		time.Sleep(time.Second)
	}
	l.awaitAcks(p, 1000, 20*time.Second) // the window of no gateway is full of poison
	stop()
	poison := 0
	for reason, n := range l.refused {
		if reason[:4] != "0x99" {
			t.Errorf("%d messages were refused: %s", n, reason)
		}
		poison += n
	}
	clear(l.refused)
	l.check(t, p.dsn())
	t.Logf("%d messages were poison", poison)
	if want := (l.count() + poison) / 10; poison < want-100 || poison > want+100 {
		t.Errorf("refused %d of %d messages, want one in ten", poison, l.count()+poison)
	}
	if got := p.metric("oei_ingest_rejected_total", `reason="malformed"`); int(got) < poison {
		t.Errorf("recorded %v of %d refused messages", got, poison)
	}
}

func TestFaultClocks_KeepTheLatestReading(t *testing.T) {
	t.Parallel()
	p := serve(t, dataDir(t))
	d := p.register(p.login(), "press-1")
	c, err := d.connect(t.Context(), p.mqtt, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Disconnect(&paho.Disconnect{}) }()
	now := time.Now().UTC().Truncate(time.Millisecond)
	year := now.Year() - 1 // daylight saving time of a year that is over
	stamp := func(d time.Duration) string {
		return fmt.Sprintf("%q",
			now.Add(d).Format(time.RFC3339Nano))
	}
	at := func(month time.Month, day, hour, minute int, second float64) *time.Time {
		v := time.Date(year, month, day, hour, minute, 0, int(second*1e9), time.UTC).Round(
			time.Microsecond,
		)
		return &v
	}
	ago := func(d time.Duration) *time.Time { v := now.Add(-d); return &v }
	tests := []struct {
		name, timestamp string
		code            byte
		reason          string     // of a refusal
		stored          *time.Time // where it is stored
	}{
		{"a minute slow", stamp(-time.Minute), 0, "", ago(time.Minute)},
		{"four minutes fast", stamp(4 * time.Minute), 0, "", ago(-4 * time.Minute)},
		{"ten minutes fast", stamp(10 * time.Minute), 0x83, "future_timestamp", nil},
		{"years fast", stamp(3 * 8766 * time.Hour), 0x83, "future_timestamp", nil},
		{"the end of time", `"9999-12-31T23:59:59Z"`, 0x83, "future_timestamp", nil},
		{"three years slow", stamp(-3 * 8766 * time.Hour), 0, "", ago(3 * 8766 * time.Hour)},
		{"eleven years slow", stamp(-11 * 8766 * time.Hour), 0x83, "too_old", nil},
		{"a clock that was never set", `0`, 0x83, "too_old", nil},
		{"a clock before 1970", `-1`, 0x99, "invalid_timestamp", nil},
		{"seconds for milliseconds", fmt.Sprint(now.Unix()), 0x83, "too_old", nil},
		{
			"microseconds for milliseconds", fmt.Sprint(now.UnixMicro()), 0x99, "invalid_timestamp",
			nil,
		},
		{
			"an hour that comes twice, the first time",
			fmt.Sprintf(`"%d-10-26T02:30:00+02:00"`, year), 0, "", at(time.October, 26, 0, 30, 0),
		},
		{
			"an hour that comes twice, the second time",
			fmt.Sprintf(`"%d-10-26T02:30:00+01:00"`, year), 0, "", at(time.October, 26, 1, 30, 0),
		},
		{
			"an hour that is left out", fmt.Sprintf(`"%d-03-30T02:30:00+01:00"`, year), 0, "",
			at(time.March, 30, 1, 30, 0),
		},
		{
			"the second before a leap second", fmt.Sprintf(`"%d-06-30T23:59:59.999999Z"`, year), 0,
			"", at(time.June, 30, 23, 59, 59.999999),
		},
		{
			"a leap second", fmt.Sprintf(`"%d-06-30T23:59:60Z"`, year),
			0x99, "invalid_timestamp", nil,
		},
		{
			"the second after a leap second", fmt.Sprintf(`"%d-07-01T00:00:00Z"`, year), 0, "",
			at(time.July, 1, 0, 0, 0),
		},
		{"a second that never is", `"2026-01-01T00:00:61Z"`, 0x99, "invalid_timestamp", nil},
		{"the 30th of February", `"2026-02-30T00:00:00Z"`, 0x99, "invalid_timestamp", nil},
		{"no zone", `"2026-01-01T00:00:00"`, 0x99, "invalid_timestamp", nil},
	}
	for i, tt := range tests {
		value := float64(i + 1)
		res, err := c.Publish(t.Context(), &paho.Publish{
			Topic:   d.topic(),
			QoS:     1,
			Payload: fmt.Appendf(nil, `{"value":%v,"timestamp":%s}`, value, tt.timestamp),
		})
		if res == nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		reason, _, _ := strings.Cut(res.Properties.ReasonString, ":")
		if res.ReasonCode != tt.code || reason != tt.reason {
			t.Errorf("%s: got %#02x %s, want %#02x %s", tt.name, res.ReasonCode,
				res.Properties.ReasonString, tt.code, tt.reason)
		}
		stored := query[sql.Null[time.Time]](t, p.dsn(),
			`SELECT max(timestamp) FROM sensor_data WHERE value = $1`, value)
		if stored.Valid != (tt.stored != nil) || stored.Valid && !stored.V.Equal(*tt.stored) {
			t.Errorf("%s: stored at %v, want %v", tt.name, stored, tt.stored)
		}
	}
	const q = `SELECT timestamp FROM latest WHERE sensor_id = $1`
	if got, want := query[time.Time](t, p.dsn(), q, d.sensorID), now.Add(4*time.Minute); !got.Equal(
		want,
	) {
		t.Errorf("latest: got %v, want the newest of those stored, %v", got, want)
	}
	for _, ahead := range []time.Duration{-3 * 8766 * time.Hour, 3 * 8766 * time.Hour, 0} {
		if _, err := c.Publish(t.Context(), &paho.Publish{
			Topic: "gateways/press-1/status", QoS: 1,
			Payload: fmt.Appendf(nil, `{"status":"online","timestamp":%q}`,
				time.Now().Add(ahead).Format(time.RFC3339Nano)),
		}); err != nil {
			t.Fatalf("status %v ahead: %v", ahead, err)
		}
		skew := query[int64](t, p.dsn(), `SELECT clock_skew_ms FROM gateways WHERE id = $1`,
			d.gatewayID)
		if off := time.Duration(skew)*time.Millisecond - ahead; off.Abs() > 10*time.Second {
			t.Errorf("a clock %v ahead: got %d ms", ahead, skew)
		}
	}
}
