package store_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// percentile is what lies at part of values, which are in order, and how far off a sketch with this
// error may be.
func percentile(values []float64, part, sketchError float64) (v, slack float64) {
	at := part * float64(len(values)-1)
	low := values[int(at)]
	high := values[min(int(at)+1, len(values)-1)]
	between := at - math.Floor(at)
	slack = sketchError * ((1-between)*math.Abs(low) + between*math.Abs(high))
	return low + between*(high-low), slack + 1e-9*max(math.Abs(low), math.Abs(high))
}

var shapes = map[string]func(*rand.Rand) float64{
	"a temperature": func(r *rand.Rand) float64 { return 20 + 5*r.NormFloat64() },
	"around zero":   func(r *rand.Rand) float64 { return r.NormFloat64() },
	"many sizes": func(r *rand.Rand) float64 {
		return math.Copysign(math.Pow(10,
			r.Float64()*240-120), r.Float64()-0.3)
	},
	"a counter":            func(r *rand.Rand) float64 { return float64(r.IntN(1000)) },
	"one value":            func(*rand.Rand) float64 { return -273.15 },
	"nothing but zero":     func(*rand.Rand) float64 { return 0 },
	"on and off":           func(r *rand.Rand) float64 { return float64(r.IntN(2)) },
	"now and then a spike": func(r *rand.Rand) float64 { return math.Pow(1-r.Float64(), -2) },
}

// However values are spread over hours, the sketches of these together tell every percentile to
// within what they say.
func TestASketchIsWithinItsError(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for name, shape := range shapes {
		r := rand.New(rand.NewPCG(seed, uint64(len(name))))
		for range 20 {
			var values []float64
			var hours []byte
			for range 1 + r.IntN(30) {
				hour := make([]float64, r.IntN(3000))
				for i := range hour {
					hour[i] = shape(r)
				}
				values = append(values, hour...)
				hours = store.AppendSketch(hours, hour)
			}
			slices.Sort(values)
			parts := []float64{0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, r.Float64()}
			got, off, err := store.Percentiles(hours, parts, values)
			ok(t, err)
			if len(values) == 0 {
				if len(got) > 0 {
					t.Errorf("%s: got %v of nothing", name, got)
				}
				continue
			}
			for i, p := range parts {
				if want, slack := percentile(values, p, off); math.Abs(got[i]-want) > slack {
					t.Errorf("%s: p%v of %d values: got %v, want %v within %v", name, p*100,
						len(values), got[i], want, slack)
				}
			}
			if limit := map[string]float64{
				"many sizes": 0.98, "a counter": 0.005, "around zero": 0.02,
				"now and then a spike": 0.02,
			}[name]; off > max(limit, 0.0021) {
				t.Errorf("%s: the error is %v", name, off)
			}
		}
	}
}

func FuzzReadSketch(f *testing.F) {
	f.Add(store.AppendSketch(nil, []float64{-1, 0, 1, 1, 2.5e10}))
	f.Add([]byte{0, 3, 1, 1})
	f.Add([]byte{21, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _ = store.Percentiles(b, []float64{0.5}, []float64{0, 1}) // ends, and does not panic
	})
}

// The same question has the same answer whether hours are rolled up or not yet: exact or not is a
// matter of how much is asked about.
func TestPercentilesAreThoseOfBeforeRollingUp(t *testing.T) {
	s, db := openRaw(t)
	store.RollUpAtOnce(s)
	sensor := addSensor(t, s, addGateway(t, s, "g").ID, "s").ID
	start := noon.Add(-10 * time.Hour)
	// makes the partition
	write(t, s, store.Reading{SensorID: sensor, Timestamp: start.Add(-time.Minute), Value: 1})
	run(t, db, `
		INSERT INTO sensor_data (timestamp, value, sensor_id, quality)
		SELECT t, 20 + sin(date_part('epoch', t)) * (1 + date_part('hour', t)), $1, 0 FROM generate_series($2::timestamptz, $3::timestamptz, '1s') t`,
		sensor, start, noon.Add(-time.Second))
	run(t, db, `INSERT INTO latest (timestamp, received_at, value, sensor_id, quality) VALUES ($2, $2, 1, $1, 0)
		ON CONFLICT (sensor_id) DO UPDATE SET timestamp = excluded.timestamp`, sensor, noon.Add(-time.Second))
	run(t, db, `INSERT INTO rollup_due (sensor_id, hour, ready_at) SELECT $1, h, '-infinity' FROM generate_series($2::timestamptz, $3::timestamptz, '1 hour') h
		ON CONFLICT DO NOTHING`, sensor, start.Add(-time.Hour), noon)
	ask := func(start, end time.Time, width string) (text string) {
		q := store.HistoryQuery{
			Sensors:     []int64{sensor},
			Start:       start,
			End:         end,
			Bounds:      boundsOf(t, width, start, end, time.UTC),
			Ends:        true,
			Now:         noon,
			Percentiles: []float64{0.05, 0.5, 0.95}, Gap: time.Minute,
		}
		found, source, err := s.History(t.Context(), q)
		ok(t, err)
		for _, b := range found[sensor] {
			text += fmt.Sprintf("%s %d %v %v; ", source, b.Usable, b.Percentiles, b.PercentileError)
		}
		return text
	}
	type question struct {
		start time.Time
		width string
	}
	exact := map[question]bool{
		{start, "1d"}: false, {start.Add(1234 * time.Second), "1d"}: false,
		{start.Add(30 * time.Minute), "2h"}: false,
		{noon.Add(-5 * time.Hour), "1d"}:    true, // 18,000 readings
	}
	before := map[question]string{}
	for q := range exact {
		before[q] = ask(q.start, noon, q.width)
	}
	for more := true; more; {
		var err error
		_, more, err = s.RollUp(t.Context(), 64)
		ok(t, err)
	}
	if n := scan[int](t, db, `SELECT count(*) FROM rollup_1h`); n < 10 {
		t.Fatalf("%d hours are rolled up", n)
	}
	for q, isExact := range exact {
		after := ask(q.start, noon, q.width)
		if after != before[q] || strings.Contains(after, " 0; ") != isExact {
			t.Errorf("%s from %v: before\n%s, afterwards\n%s", q.width, q.start, before[q], after)
		}
	}
}
