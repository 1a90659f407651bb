package store_test

import (
	"math"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// TestBadQuality_WaitsOnReadingsWithoutValue stores readings of bad quality that have no value, for
// which alarms wait.
func TestBadQuality_WaitsOnReadingsWithoutValue(t *testing.T) {
	bad := func(sensor int64, minute int) store.Reading {
		r := reading(sensor, minute, math.NaN())
		r.Quality = store.Bad
		return r
	}
	minutes := func(n int) alarm.Duration { return alarm.Duration(time.Duration(n) * time.Minute) }
	for name, r := range map[string]alarm.Rule{
		"for a time":        {Kind: alarm.BadQuality, OnDelay: minutes(2)},
		"for more readings": {Kind: alarm.BadQuality, MinSamples: 3},
		"for another sensor's": {
			Kind: alarm.Expressed, OnDelay: minutes(2),
			Expression: &alarm.Expression{Text: "b > 80", Inputs: map[string]int64{"b": 2}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, db := openRaw(t)
			g := addGateway(t, s, "g")
			addSensor(t, s, g.ID, "a")
			addSensor(t, s, g.ID, "b")
			r.SensorID, r.Name, r.Severity = 1, name, alarm.Major
			write(t, s, reading(2, -60, 90))
			addAlarm(t, s, r)
			if got := write(t, s, bad(1, 1), bad(1, 2)); got != "[stored stored]" {
				t.Fatalf("outcomes: got %s", got)
			}
			write(t, openOther(t, db), bad(1, 3))
			wantSaid(t, s, "raised 3 -")
		})
	}
}
