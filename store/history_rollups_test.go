package store_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/series"
	"github.com/oei-ms/oei-ms/store"
)

// differs compares two answers to the same query; sums may have been added in another order.
func differs(got, want map[int64][]series.Bucket) (series.Bucket, series.Bucket, bool) {
	same := func(a, b, scale float64) bool {
		return a == b || math.IsNaN(a) && math.IsNaN(b) ||
			math.Abs(a-b) <= 1e-9*math.Max(1, math.Abs(scale))
	}
	for sensor := range want {
		g, w := got[sensor], want[sensor]
		for i := range max(len(g), len(w)) {
			var a, b series.Bucket
			if i < len(g) {
				a = g[i]
			}
			if i < len(w) {
				b = w[i]
			}
			size := math.Max(math.Abs(b.Max), math.Abs(b.Min))
			scale := size * float64(b.Usable)
			// 1e-12 of values far from zero, whose sums are rounded
			mean := math.Max(b.Max-b.Min, size/1000)
			if !a.Start.Equal(b.Start) || !a.End.Equal(b.End) || a.Readings != b.Readings ||
				a.Good != b.Good || a.Usable != b.Usable ||
				!same(a.Min, b.Min, 0) || !same(a.Max, b.Max, 0) || !same(a.First, b.First, 0) ||
				!same(a.Last, b.Last, 0) ||
				!a.FirstAt.Equal(b.FirstAt) || !a.LastAt.Equal(b.LastAt) ||
				!same(a.Sum, b.Sum, scale) || !same(a.M2, b.M2, scale*scale) ||
				!same(a.TimeWeighted, b.TimeWeighted, mean) || a.Gaps != b.Gaps ||
				a.MaxGap != b.MaxGap {
				return a, b, true
			}
		}
	}
	return series.Bucket{}, series.Bucket{}, len(got) > len(want)
}

// TestHistory_OfRollupsEqualsThatOfReadings also has hours that are not rolled up yet, late
// readings, and ranges that begin and end anywhere.
func TestHistory_OfRollupsEqualsThatOfReadings(t *testing.T) {
	s, _ := openRaw(t)
	store.RollUpAtOnce(s)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	now := time.Now().UTC()
	dense := make([]store.Reading, 0, 8000)
	for i := range cap(dense) { // so that minutes are kept
		dense = append(dense, store.Reading{
			SensorID:  1,
			Timestamp: now.Truncate(time.Second).Add(time.Duration(i*3-30*3600) * time.Second),
			Received:  now,
			Value:     1e6 + math.Round(rnd.NormFloat64()*100)/100,
		})
	}
	_, err := s.Write(t.Context(), dense, store.SideWrites{})
	ok(t, err)
	forced := []struct {
		span       time.Duration
		width      string
		percentile bool
		source     series.Source
	}{
		{30 * time.Minute, "1m", false, series.Raw},
		{20 * time.Hour, "15m", false, series.ByMinute},
		{100 * time.Hour, "1d", true, series.ByHour},
	}
	counts, sketched := map[series.Source]int{}, 0
	for round := range 12 {
		_, err := s.Write(t.Context(), randomReadings(rnd, now), store.SideWrites{})
		ok(t, err)
		switch round % 4 {
		case 0:
			drainRollups(t, s)
		case 2: // some marks are taken, and not all of their hours rolled up
			_, _, err := s.RollUp(t.Context(), 1+rnd.IntN(20))
			ok(t, err)
		}
		for n := range 12 {
			start := now.Add(-time.Duration(rnd.Int64N(int64(120 * time.Hour))))
			if rnd.IntN(3) == 0 {
				start = start.Truncate(time.Hour)
			}
			end := start.Add(time.Duration(rnd.Int64N(int64(now.Add(time.Hour).Sub(start)))) +
				time.Microsecond)
			width := []string{"1m", "15m", "1h", "6h", "1d", "1w"}[rnd.IntN(6)]
			place := []string{"UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"}[rnd.IntN(
				4,
			)]
			percentile := rnd.IntN(2) == 0
			if n < len(forced) {
				start, end = now.Add(-forced[n].span), now
				width, place, percentile = forced[n].width, "UTC", forced[n].percentile
			}
			q := series.HistoryQuery{
				Sensors: []int64{1, 2, 3, 4},
				Start:   start,
				End:     end,
				Bounds:  boundsOf(t, width, start, end, zone(t, place)),
				Ends:    true,
				Now:     now,
			}
			if percentile {
				q.Percentiles, q.Gap = []float64{0.05, 0.5, rnd.Float64()}, time.Duration(
					1+rnd.IntN(1<<rnd.IntN(16)),
				)*time.Second
			}
			source := q.Source()
			if n < len(forced) && source != forced[n].source {
				t.Errorf("%+v: answered by %s", forced[n], source)
			}
			got, err := s.HistoryOf(t.Context(), q, source)
			ok(t, err)
			counts[source]++
			want, err := s.HistoryOf(t.Context(), q, series.Raw)
			ok(t, err)
			if a, b, differ := differs(got, want); differ {
				t.Fatalf("round %d, %s in %s of [%v, %v) by %s, gaps of %v:\n got %+v\nwant %+v",
					round, width, place, start, end, source, q.Gap, a, b)
			}
			if source == series.ByHour && q.Gap > 0 {
				sketched += checkPercentiles(t, s, q, got)
			}
		}
	}
	if sketched == 0 {
		t.Error("no percentile was of a sketch")
	}
	t.Logf("answered by %v, %d percentiles of sketches", counts, sketched)
}

// checkPercentiles compares with the readings themselves, and returns how many were compared.
func checkPercentiles(
	t *testing.T, s *store.Store, q series.HistoryQuery, got map[int64][]series.Bucket,
) (n int) {
	t.Helper()
	for sensor, list := range got {
		rs := all(t, s, sensor)
		for _, b := range list {
			var values []float64
			for _, r := range rs {
				if !r.Timestamp.Before(later(b.Start, q.Start)) && r.Timestamp.Before(b.End) &&
					r.Timestamp.Before(q.End) && r.Quality != store.Bad &&
					math.Abs(r.Value) <= 1e140 {
					values = append(values, r.Value)
				}
			}
			slices.Sort(values)
			if len(values) > 0 != (len(b.Percentiles) > 0) || b.PercentileError > 0.02 {
				t.Fatalf("%d values, percentiles %v, error %v", len(values), b.Percentiles,
					b.PercentileError)
			}
			for i, p := range b.Percentiles {
				if want, slack := percentile(values, q.Percentiles[i], b.PercentileError); math.Abs(
					p-want,
				) > slack {
					t.Fatalf("p%v of %d values: got %v, want %v within %v", q.Percentiles[i]*100,
						len(values), p, want, slack)
				}
				n++
			}
		}
	}
	return n
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// percentile returns the value at part of values, which are in order, and how far off a sketch with
// this error may be.
func percentile(values []float64, part, sketchError float64) (v, slack float64) {
	at := part * float64(len(values)-1)
	low := values[int(at)]
	high := values[min(int(at)+1, len(values)-1)]
	between := at - math.Floor(at)
	slack = sketchError * ((1-between)*math.Abs(low) + between*math.Abs(high))
	return low + between*(high-low), slack + 1e-9*max(math.Abs(low), math.Abs(high))
}

// TestHistory_PercentilesAreTheSameBeforeRollUp compares answers before and after hours are rolled
// up: whether percentiles are exact depends on the query only.
func TestHistory_PercentilesAreTheSameBeforeRollUp(t *testing.T) {
	s, db := openRaw(t)
	store.RollUpAtOnce(s)
	sensor := addSensor(t, s, addGateway(t, s, "g").ID, "s").ID
	start := noon.Add(-10 * time.Hour)
	// makes the partition
	write(t, s, store.Reading{SensorID: sensor, Timestamp: start.Add(-time.Minute), Value: 1})
	run(t, db, `
		INSERT INTO sensor_data (timestamp, value, sensor_id, quality)
		SELECT t, 20 + sin(date_part('epoch', t)) * (1 + date_part('hour', t)), $1, 0
		FROM generate_series($2::timestamptz, $3::timestamptz, '1s') t`,
		sensor, start, noon.Add(-time.Second))
	run(t, db, `
		INSERT INTO latest (timestamp, received_at, value, sensor_id, quality)
		VALUES ($2, $2, 1, $1, 0)
		ON CONFLICT (sensor_id) DO UPDATE
		SET timestamp = excluded.timestamp`, sensor, noon.Add(-time.Second))
	run(t, db, `
		INSERT INTO rollup_due (sensor_id, hour, ready_at)
		SELECT $1, h, '-infinity'
		FROM generate_series($2::timestamptz, $3::timestamptz, '1 hour') h
		ON CONFLICT DO NOTHING`, sensor, start.Add(-time.Hour), noon)
	ask := func(start, end time.Time, width string) (text string) {
		q := series.HistoryQuery{
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
