package store_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// differs compares two histories of the same question; sums may have been added in another order.
func differs(got, want map[int64][]store.Bucket) (store.Bucket, store.Bucket, bool) {
	same := func(a, b, scale float64) bool {
		return a == b || math.IsNaN(a) && math.IsNaN(b) ||
			math.Abs(a-b) <= 1e-9*math.Max(1, math.Abs(scale))
	}
	for sensor := range want {
		g, w := got[sensor], want[sensor]
		for i := range max(len(g), len(w)) {
			var a, b store.Bucket
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
				a.LongestGap != b.LongestGap {
				return a, b, true
			}
		}
	}
	return store.Bucket{}, store.Bucket{}, len(got) > len(want)
}

// A history made of rollups is the one that the readings give: also with hours that are not rolled
// up yet, late readings, and edges anywhere.
func TestAHistoryOfRollupsIsThatOfTheReadings(t *testing.T) {
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
			Timestamp: now.Add(-30*time.Hour + time.Duration(i)*3*time.Second).Truncate(time.Second),
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
		source     store.Source
	}{
		{30 * time.Minute, "1m", false, store.Raw},
		{20 * time.Hour, "15m", false, store.ByMinute},
		{100 * time.Hour, "1d", true, store.ByHour},
	}
	counts, sketched := map[store.Source]int{}, 0
	for round := range 12 {
		_, err := s.Write(t.Context(), randomReadings(rnd, now), store.SideWrites{})
		ok(t, err)
		switch round % 4 {
		case 0:
			drainRollups(t, s)
		case 2: // some are taken up, and not all of those rolled up
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
				start, end, width, place, percentile = now.Add(-forced[n].span), now, forced[n].width, "UTC", forced[n].percentile
			}
			q := store.HistoryQuery{
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
			source := store.SourceOf(q)
			if n < len(forced) && source != forced[n].source {
				t.Errorf("%+v: answered by %s", forced[n], source)
			}
			got, err := s.HistoryOf(t.Context(), q, source)
			ok(t, err)
			counts[source]++
			want, err := s.HistoryOf(t.Context(), q, store.Raw)
			ok(t, err)
			if a, b, differ := differs(got, want); differ {
				t.Fatalf("round %d, %s in %s of [%v, %v) by %s, gaps of %v:\n got %+v\nwant %+v",
					round, width, place, start, end, source, q.Gap, a, b)
			}
			if source == store.ByHour && q.Gap > 0 {
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
	t *testing.T, s *store.Store, q store.HistoryQuery, got map[int64][]store.Bucket,
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

func TestTheSourceIsTheCoarsestThatFits(t *testing.T) {
	start := instant(t, "2026-03-01T00:30:00Z")
	tests := map[string]struct {
		width, zone string
		hours       int
		change      func(*store.HistoryQuery)
		want        store.Source
	}{
		"whole hours":                     {"1h", "UTC", 48, nil, store.ByHour},
		"days of a zone with whole hours": {"1d", "Europe/Berlin", 480, nil, store.ByHour},
		"days of a zone with half hours":  {"1d", "Asia/Kolkata", 480, nil, store.ByHour},
		"hours of a zone with half hours": {"1h", "Asia/Kolkata", 480, nil, store.ByMinute},
		"minutes":                         {"1m", "UTC", 48, nil, store.ByMinute},
		"seconds":                         {"1s", "UTC", 4, nil, store.Raw},
		"a range that is hardly an hour":  {"1m", "UTC", 2, nil, store.Raw},
		"hours have sketches": {
			"1h", "UTC", 48, func(q *store.HistoryQuery) { q.Percentiles = []float64{0.5} },
			store.ByHour,
		},
		"hours know of gaps": {
			"1h", "UTC", 48, func(q *store.HistoryQuery) { q.Gap = time.Minute }, store.ByHour,
		},
		"minutes have no sketches": {
			"15m", "UTC", 48, func(q *store.HistoryQuery) { q.Percentiles = []float64{0.5} },
			store.Raw,
		},
		"minutes know of no gaps": {
			"15m", "UTC", 48, func(q *store.HistoryQuery) { q.Gap = time.Minute }, store.Raw,
		},
		"one bucket is made of whole hours": {"1mo", "UTC", 48, nil, store.ByHour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			end := start.Add(time.Duration(tt.hours) * time.Hour)
			q := store.HistoryQuery{
				Start:  start,
				End:    end,
				Bounds: boundsOf(t, tt.width, start, end, zone(t, tt.zone)),
			}
			if tt.change != nil {
				tt.change(&q)
			}
			if got := store.SourceOf(q); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
