package ingest_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/store"
)

func TestWrite(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	at := noon.Add(-time.Hour)
	now := time.Now().UTC()
	write := func(rs ...store.Reading) string {
		t.Helper()
		results, err := b.Write(t.Context(), rs)
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, r := range results {
			words = append(words, strings.TrimSuffix(r.Outcome.String()+" "+r.Reason, " "))
			if (r.Reason == "") != (r.Detail == "") {
				t.Errorf("got %+v", r)
			}
		}
		return strings.Join(words, ", ")
	}
	one, two, other, off := b.id("t1"), b.id("t2"), b.id("u1"), b.id("off")
	inf := math.Inf(1)
	tests := []struct {
		name string
		rs   []store.Reading
		want string
	}{
		{"nothing", nil, ""},
		{
			"readings of several gateways",
			[]store.Reading{
				{SensorID: one, Timestamp: at, Value: 1},
				{SensorID: other, Timestamp: at, Value: 2},
			},
			"stored, stored",
		},
		{"each its own outcome, in order", []store.Reading{
			{SensorID: one, Timestamp: at, Value: 1},
			{SensorID: one, Timestamp: at, Value: 2},
			{SensorID: 999, Value: 1},
			{SensorID: off, Value: 1},
			{SensorID: two, Timestamp: at, Value: 3},
			{SensorID: two, Timestamp: now.Add(time.Hour), Value: 1},
			{SensorID: two, Timestamp: now.AddDate(-11, 0, 0), Value: 1},
			{SensorID: two, Timestamp: at, Value: 3},
			{SensorID: two, Timestamp: at.Add(1), Value: inf},
			{SensorID: 1 << 40, Value: 1},
			{SensorID: two, Timestamp: at.Add(999 * time.Nanosecond), Value: 3},
			{
				SensorID:   two,
				Timestamp:  at.Add(time.Minute),
				Value:      3,
				Quality:    store.Good,
				StatusCode: 0x80000000,
			},
		}, "duplicate, conflict conflict, rejected unknown_sensor, rejected inactive, stored, " +
			"rejected future_timestamp, rejected too_old, duplicate, rejected invalid_value, " +
			"rejected unknown_sensor, duplicate, rejected invalid_quality"},
		{"no time is now", []store.Reading{{SensorID: two, Value: 9}}, "stored"},
	}
	for _, tt := range tests {
		if got := write(tt.rs...); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
	latest, err := b.store.Latest(t.Context(), store.LatestQuery{Sensors: []int64{two}, Limit: 1})
	if err != nil || len(latest) != 1 || latest[0].Value != 9 ||
		latest[0].Timestamp.Before(now.Add(-time.Second)) {
		t.Errorf("latest: got %v, %v", latest, err)
	}
	if got := b.recorded(); got != "" {
		t.Errorf("a bulk write was recorded: %s", got)
	}
	if status := scan[string](t, b.db,
		`SELECT string_agg(DISTINCT status, ' ') FROM gateways`); status != "unknown" {
		t.Errorf("a write says nothing of a gateway: got %s", status)
	}
}
