package series

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// noon is near all readings of these tests.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// downsampled returns what q chooses of readings.
func downsampled(readings []Reading, q DownsampleQuery) []Reading {
	d := NewDownsampler(q.Plan(false))
	for _, r := range readings {
		d.Add(r)
	}
	return d.Choose(&q)
}

func TestMinMax_KeepsBothExtremesOfEachBin(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		var readings []Reading
		for i := range 1000 {
			// not where bins meet, whose widths are rounded up
			at := InstantOf(noon.Add(time.Duration(i)*time.Minute + 30*time.Second))
			readings = append(readings, Reading{At: at, Value: rnd.NormFloat64()})
		}
		got := downsampled(readings, DownsampleQuery{
			Start:  noon,
			End:    noon.Add(1000 * time.Minute),
			Method: MinMax,
			Points: 22, // the first, the last and two of each of ten bins
		})
		byValue := func(a, b Reading) int { return cmp.Compare(a.Value, b.Value) }
		for part := range slices.Chunk(readings, 100) {
			for _, want := range []Reading{
				slices.MinFunc(part, byValue), slices.MaxFunc(part, byValue),
			} {
				if !slices.Contains(got, want) {
					t.Fatalf("seed %d: %v is missing", seed, want)
				}
			}
		}
	}
}

// TestDownsample_ChoosesReadingsInOrder checks what holds for any readings and query.
func TestDownsample_ChoosesReadingsInOrder(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 8))
		start := noon.Add(-time.Duration(rnd.Int64N(1e15)))
		end := start.Add(time.Duration(1e6 + rnd.Int64N(1e14)))
		var readings []Reading
		for range 1 + rnd.IntN(3000) {
			at := start.Add(time.Duration(rnd.Int64N(int64(end.Sub(start)))))
			readings = append(readings, Reading{At: InstantOf(at), Value: rnd.NormFloat64()})
		}
		SortReadings(readings)
		readings = slices.CompactFunc(readings, func(a, b Reading) bool { return a.At == b.At })
		q := DownsampleQuery{
			Start:  start,
			End:    end,
			Method: Method(rnd.IntN(2)),
			Points: 4 + rnd.IntN(1<<rnd.IntN(12)),
		}
		got := downsampled(readings, q)
		rest := readings
		for _, r := range got {
			i := slices.Index(rest, r)
			if i < 0 {
				t.Fatalf("seed %d: %v is not a reading after the one before", seed, r)
			}
			rest = rest[i+1:]
		}
		if len(got) > q.Points || len(readings) <= q.Points && len(got) != len(readings) {
			t.Errorf("seed %d: got %d of %d readings, want at most %d", seed, len(got),
				len(readings), q.Points)
		}
		if got[0] != readings[0] || got[len(got)-1] != readings[len(readings)-1] {
			t.Errorf("seed %d: the first or the last reading is missing", seed)
		}
	}
}

// TestLTTB_IsThatOfThePaper compares with the algorithm as Steinarsson (2013) has it, of readings
// so few that all of them are candidates.
func TestLTTB_IsThatOfThePaper(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		var readings []Reading
		at := noon
		for range 400 {
			at = at.Add(time.Duration(1+rnd.IntN(20)) * time.Second)
			readings = append(readings, Reading{At: InstantOf(at), Value: rnd.NormFloat64()})
		}
		n := []int{100, 101, 250, 399}[rnd.IntN(4)]
		got := downsampled(readings, DownsampleQuery{
			Start:  noon,
			End:    at.Add(time.Second),
			Method: LTTB,
			Points: n,
		})
		if want := paperLTTB(readings, n); !slices.Equal(got, want) {
			t.Fatalf("seed %d, %d points: got\n%v, want\n%v", seed, n, got, want)
		}
	}
}

// paperLTTB chooses n of readings as the paper does.
func paperLTTB(readings []Reading, n int) []Reading {
	x := func(r Reading) float64 { return float64(r.At - readings[0].At) }
	bound := func(i int) int { return i*(len(readings)-2)/(n-2) + 1 }
	a, chosen := readings[0], []Reading{readings[0]}
	for i := range n - 2 {
		begin, end := bound(i), bound(i+1)
		next := readings[end:min(bound(i+2), len(readings))]
		var cx, cy float64
		for _, r := range next {
			cx, cy = cx+x(r)/float64(len(next)), cy+r.Value/float64(len(next))
		}
		maxArea, best := -1.0, Reading{}
		for _, r := range readings[begin:end] {
			area := math.Abs((x(a)-cx)*(r.Value-a.Value)-(x(a)-x(r))*(cy-a.Value)) / 2
			if area > maxArea {
				maxArea, best = area, r
			}
		}
		a, chosen = best, append(chosen, best)
	}
	return append(chosen, readings[len(readings)-1])
}
