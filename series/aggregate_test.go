package series

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// randomReadings returns n readings of one sensor from start on, of any quality, with long and
// short times between them.
func randomReadings(rnd *rand.Rand, start time.Time, n int) []Reading {
	readings := make([]Reading, n)
	at := InstantOf(start)
	offset := []float64{0, 20, -1e6}[rnd.IntN(3)]
	for i := range readings {
		at += 1 + Instant(rnd.Int64N(1<<(10+rnd.IntN(22))))
		r := Reading{At: at, Value: offset + math.Round(rnd.NormFloat64()*100)/10, Good: true}
		switch rnd.IntN(8) {
		case 0:
			r.Good = false // uncertain
		case 1:
			r.Value, r.Good = math.NaN(), false // bad
		}
		readings[i] = r
	}
	return readings
}

func aggregateOf(readings []Reading) (a Aggregate) {
	for _, r := range readings {
		a.Add(r)
	}
	return a
}

// isNear allows for another order of additions; scale is the size of the addends.
func isNear(a, b, scale float64) bool {
	return a == b || math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= 1e-9*max(1, scale)
}

// TestAggregate_MergedEqualsThatOfAllReadings cuts readings anywhere and merges the aggregates of
// the parts.
func TestAggregate_MergedEqualsThatOfAllReadings(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		readings := randomReadings(rnd, noon, rnd.IntN(500))
		want := aggregateOf(readings)
		var got Aggregate
		for rest := readings; len(rest) > 0; {
			n := 1 + rnd.IntN(len(rest))
			part := aggregateOf(rest[:n])
			got.Merge(&part)
			got.Merge(&Aggregate{}) // that of no readings changes nothing
			rest = rest[n:]
		}
		size := max(math.Abs(want.Min), math.Abs(want.Max))
		scale := size * float64(want.Usable)
		seconds := want.LastAt.Since(want.FirstAt)
		if !isNear(got.Sum, want.Sum, scale) || !isNear(got.M2, want.M2, scale*scale) ||
			!isNear(got.Integral, want.Integral, size*seconds) {
			t.Errorf("seed %d: got sums %v %v %v, want %v %v %v", seed, got.Sum, got.M2,
				got.Integral, want.Sum, want.M2, want.Integral)
		}
		got.Sum, got.M2, got.Integral = want.Sum, want.M2, want.Integral
		if got != want {
			t.Errorf("seed %d: got %+v, want %+v", seed, got, want)
		}
	}
}
