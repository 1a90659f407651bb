package store_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// TestPointsShowTheSeries picks points of a noisy wave with a few spikes and compares them with all that was stored.
func TestShapeShowsTheSeries(t *testing.T) {
	s := open(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	var stored []store.Reading
	for i := range 3000 {
		r := reading(1, 0, 10*math.Sin(float64(i)/200)+rnd.Float64())
		r.Timestamp = noon.Add(time.Duration(i)*time.Second + time.Duration(rnd.IntN(900))*time.Millisecond)
		switch {
		case i == 777:
			r.Value = 1000
		case i == 2222:
			r.Value = -1000
		case i%50 == 3:
			r.Value, r.Quality = 1e6, store.Bad
		case i%50 == 4:
			r.Value = math.NaN()
		}
		stored = append(stored, r)
	}
	write(t, s, append(slices.Clone(stored), reading(2, 1, 5), reading(2, 2, 6))...)
	usable := slices.DeleteFunc(slices.Clone(stored), func(r store.Reading) bool { return r.Quality == store.Bad || math.IsNaN(r.Value) })
	for _, method := range []store.Method{store.MinMax, store.LTTB} {
		for _, n := range []int{4, 5, 50, 501, len(usable), 10_000} {
			got, err := s.Shape(t.Context(), store.ShapeQuery{
				Sensors: []int64{2, 1, 3, 1}, Start: noon, End: noon.Add(time.Hour), Method: method, Points: n,
			})
			ok(t, err)
			if len(got) != 2 || len(got[2]) != 2 {
				t.Fatalf("method %d, %d points: got %d sensors, %d of sensor 2; want 2 and 2", method, n, len(got), len(got[2]))
			}
			want := lines(usable)
			for _, point := range lines(got[1]) { // in order, each once, and there
				i := slices.Index(want, point)
				if i < 0 {
					t.Fatalf("method %d, %d points: %s is no usable reading behind the one before", method, n, point)
				}
				want = want[i+1:]
			}
			points := got[1]
			if len(points) > n || n >= len(usable) && len(points) != len(usable) {
				t.Errorf("method %d: got %d points of %d, want at most %d", method, len(points), len(usable), n)
			}
			if line(points[0]) != line(usable[0]) || line(points[len(points)-1]) != line(usable[len(usable)-1]) {
				t.Errorf("method %d, %d points: the first or the last is missing", method, n)
			}
			for _, spike := range []float64{1000, -1000} {
				if n >= 50 && !slices.ContainsFunc(points, func(r store.Reading) bool { return r.Value == spike }) {
					t.Errorf("method %d, %d points: %v is missing", method, n, spike)
				}
			}
		}
	}
}

func TestShapeKeepsBothExtremesOfEachStretch(t *testing.T) {
	s := open(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	var stored []store.Reading
	for i := range 2000 {
		stored = append(stored, reading(1, i, rnd.NormFloat64()))
	}
	write(t, s, stored...)
	end := noon.Add(2000 * time.Minute)
	got, err := s.Shape(t.Context(), store.ShapeQuery{Sensors: []int64{1}, Start: noon, End: end, Method: store.MinMax, Points: 22})
	ok(t, err)
	for i := range 10 { // 22 points: the first, the last and two of each of ten stretches
		part := stored[i*200 : (i+1)*200]
		low := slices.MinFunc(part, func(a, b store.Reading) int { return int(math.Copysign(1, a.Value-b.Value)) })
		high := slices.MaxFunc(part, func(a, b store.Reading) int { return int(math.Copysign(1, a.Value-b.Value)) })
		for _, want := range []store.Reading{low, high} {
			if !slices.Contains(lines(got[1]), line(want)) {
				t.Errorf("stretch %d: %s is missing", i, line(want))
			}
		}
	}
}
