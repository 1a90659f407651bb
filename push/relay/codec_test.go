package relay

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/push"
)

const testInstance = 7

func header(kind byte) []byte { return appendHeader(nil, kind, testInstance) }

func TestParseMessage_ReturnsWhatWasAppended(t *testing.T) {
	rs := []push.Reading{
		reading(1, 5), reading(1<<40, -5),
		{
			SensorID:   3,
			GatewayID:  4,
			SensorType: "Wärme",
			Timestamp:  t0,
			Value:      math.Inf(1),
			Quality:    "",
		},
	}
	rs[1].Received = rs[1].Timestamp.Add(-time.Minute) // a clock that runs ahead
	status := push.Status{GatewayID: 9, Status: "offline", At: t0}
	bodies := map[string][]byte{
		"readings": appendReadings(header(kindReadings), rs),
		"status":   appendStatus(header(kindStatus), status),
		"alarms":   header(kindAlarms),
	}
	for name, body := range bodies {
		m, err := parseMessage(body)
		if err != nil || m.instance != testInstance {
			t.Errorf("%s: got instance %d, error %v", name, m.instance, err)
		}
		for i := range m.readings {
			r := &m.readings[i]
			r.Timestamp, r.Received = r.Timestamp.UTC(), r.Received.UTC()
		}
		if name == "readings" && !reflect.DeepEqual(m.readings, rs) {
			t.Errorf("got %v, want %v", m.readings, rs)
		}
		if m.status.At = m.status.At.UTC(); name == "status" && m.status != status {
			t.Errorf("got %v, want %v", m.status, status)
		}
		for n := range body {
			if _, err := parseMessage(body[:n]); err == nil {
				t.Errorf("%s: the first %d bytes are parsed, want an error", name, n)
			}
		}
		if _, err := parseMessage(append(body, 0)); err == nil {
			t.Errorf("%s: one byte more is parsed, want an error", name)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add(appendReadings(header(kindReadings), []push.Reading{reading(1, 5), reading(2, 6)}))
	f.Add(appendStatus(header(kindStatus), push.Status{GatewayID: 9, Status: "offline", At: t0}))
	f.Add(header(kindAlarms))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseMessage(b) })
}
