package store_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/series"
	"github.com/oei-ms/oei-ms/store"
)

// TestDownsample_ChoosesReadingsThatWereStored downsamples a noisy wave with a few spikes and
// compares the result with all that was stored.
func TestDownsample_ChoosesReadingsThatWereStored(t *testing.T) {
	s := open(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	var stored []store.Reading
	for i := range 3000 {
		r := reading(1, 0, 10*math.Sin(float64(i)/200)+rnd.Float64())
		r.Timestamp = noon.Add(time.Duration(i)*time.Second +
			time.Duration(rnd.IntN(900))*time.Millisecond)
		switch {
		case i == 777:
			r.Value = 1000
		case i == 2222:
			r.Value = -1000
		case i%50 == 3:
			r.Value, r.Quality = 1e6, store.Bad
		case i%50 == 5:
			r.Quality = store.Uncertain
		case i%50 == 4:
			r.Value = math.NaN()
		}
		stored = append(stored, r)
	}
	write(t, s, append(slices.Clone(stored), reading(2, 1, 5), reading(2, 2, 6))...)
	usable := slices.DeleteFunc(slices.Clone(stored),
		func(r store.Reading) bool { return r.Quality == store.Bad || math.IsNaN(r.Value) })
	for _, method := range []series.Method{series.MinMax, series.LTTB} {
		for _, n := range []int{4, 5, 50, 501, len(usable), 10_000} {
			got, _, err := s.Downsample(t.Context(), series.DownsampleQuery{
				Sensors: []int64{2, 1, 3, 1},
				Start:   noon,
				End:     noon.Add(time.Hour),
				Method:  method,
				Points:  n,
			})
			ok(t, err)
			if len(got) != 2 || len(got[2]) != 2 {
				t.Fatalf("method %d, %d points: got %d sensors, %d of sensor 2; want 2 and 2",
					method, n, len(got), len(got[2]))
			}
			want := lines(usable)
			for _, point := range lines(got[1]) { // in order, each once, and there
				i := slices.Index(want, point)
				if i < 0 {
					t.Fatalf("method %d, %d points: %s is no usable reading behind the one before",
						method, n, point)
				}
				want = want[i+1:]
			}
			points := got[1]
			if len(points) > n || n >= len(usable) && len(points) != len(usable) {
				t.Errorf("method %d: got %d points of %d, want at most %d", method, len(points),
					len(usable), n)
			}
			if line(points[0]) != line(usable[0]) ||
				line(points[len(points)-1]) != line(usable[len(usable)-1]) {
				t.Errorf("method %d, %d points: the first or the last is missing", method, n)
			}
			for _, spike := range []float64{1000, -1000} {
				if n >= 50 &&
					!slices.ContainsFunc(points,
						func(r store.Reading) bool { return r.Value == spike }) {
					t.Errorf("method %d, %d points: %v is missing", method, n, spike)
				}
			}
		}
	}
}

// TestDownsample_OfRollupsEqualsThatOfReadings asks with and without rollups: of hours that are
// rolled up and not, dense and sparse, with edges anywhere.
func TestDownsample_OfRollupsEqualsThatOfReadings(t *testing.T) {
	s, _ := openRaw(t)
	store.RollUpAtOnce(s)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	now := time.Now().UTC().Truncate(time.Microsecond)
	var dense []store.Reading
	for i := range 15_000 { // so that minutes are kept
		at := now.Add(-40*time.Hour + time.Duration(i)*9*time.Second).Truncate(time.Second)
		// many are equal
		dense = append(dense,
			store.Reading{
				SensorID:  1,
				Timestamp: at,
				Received:  now,
				Value:     math.Round(rnd.NormFloat64() * 20),
			})
	}
	write(t, s, dense...)
	sources := []series.Source{series.Raw, series.ByMinute, series.ByHour}
	// that are answered by them, with 22 points
	spans := []time.Duration{20 * time.Minute, 24 * time.Hour, 30 * 24 * time.Hour}
	for round := range 8 {
		write(t, s, randomReadings(rnd, now)...)
		if round%2 == 0 {
			drainRollups(t, s)
		}
		for n := range 20 {
			start := now.Add(-time.Duration(
				rnd.Int64N(int64(time.Duration(1+rnd.IntN(300)) * 24 * time.Hour)),
			))
			if rnd.IntN(3) == 0 {
				start = start.Truncate(time.Hour)
			}
			q := series.DownsampleQuery{
				Sensors: []int64{1, 2, 3, 4},
				Start:   start.Truncate(time.Microsecond),
				Method:  []series.Method{series.MinMax, series.LTTB}[rnd.IntN(2)],
				End: start.Add(time.Duration(rnd.Int64N(int64(now.Add(time.Hour).Sub(start)))) +
					time.Microsecond),
				Points: 4 + rnd.IntN(1<<rnd.IntN(10)),
			}
			if n < len(sources) {
				q.Start, q.End, q.Method, q.Points = now.Add(-spans[n]), now, series.MinMax, 22
			}
			got, source, err := s.Downsample(t.Context(), q)
			ok(t, err)
			if n < len(sources) && source != sources[n] {
				t.Errorf("%v are answered by %s, want %s", spans[n], source, sources[n])
			}
			want, err := s.DownsampleReadings(t.Context(), q)
			ok(t, err)
			for _, id := range q.Sensors {
				if g, w := lines(got[id]), lines(want[id]); !slices.Equal(g, w) {
					t.Fatalf("round %d, sensor %d, %+v by %s: got %d points\n%v\nwant %d\n%v",
						round, id, q, source, len(g), g, len(w), w)
				}
			}
		}
	}
}
