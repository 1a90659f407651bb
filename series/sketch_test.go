package series

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

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

// shapes are distributions of values.
var shapes = map[string]func(*rand.Rand) float64{
	"a temperature": func(r *rand.Rand) float64 { return 20 + 5*r.NormFloat64() },
	"around zero":   func(r *rand.Rand) float64 { return r.NormFloat64() },
	"many sizes": func(r *rand.Rand) float64 {
		return math.Copysign(math.Pow(10,
			r.Float64()*240-120), r.Float64()-0.3)
	},
	"a counter":         func(r *rand.Rand) float64 { return float64(r.IntN(1000)) },
	"one value":         func(*rand.Rand) float64 { return -273.15 },
	"nothing but zero":  func(*rand.Rand) float64 { return 0 },
	"on and off":        func(r *rand.Rand) float64 { return float64(r.IntN(2)) },
	"occasional spikes": func(r *rand.Rand) float64 { return math.Pow(1-r.Float64(), -2) },
}

// TestSketch_IsWithinItsError spreads values over hours in any way: the merged sketches estimate
// every percentile within their relative error.
func TestSketch_IsWithinItsError(t *testing.T) {
	for name, shape := range shapes {
		for seed := range uint64(20) {
			r := rand.New(rand.NewPCG(seed, uint64(len(name))))
			var values []float64
			var hours []byte
			for range 1 + r.IntN(30) {
				hour := make([]float64, r.IntN(3000))
				for i := range hour {
					hour[i] = shape(r)
				}
				values = append(values, hour...)
				hours = newSketch(slices.Clone(hour)).encode(hours)
			}
			slices.Sort(values)
			parts := []float64{0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, r.Float64()}
			got, off, err := percentilesOf(hours, parts, values)
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
				"occasional spikes": 0.02,
			}[name]; off > max(limit, 0.0021) {
				t.Errorf("%s: the error is %v", name, off)
			}
		}
	}
}

func FuzzReadSketch(f *testing.F) {
	f.Add(newSketch([]float64{-1, 0, 1, 1, 2.5e10}).encode(nil))
	f.Add([]byte{0, 3, 1, 1})
	f.Add([]byte{21, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _ = percentilesOf(b, []float64{0.5}, []float64{0, 1}) // ends, and does not panic
	})
}

// percentilesOf returns the percentiles of encoded sketches together, and their error. values are
// in order; only the smallest and the largest are used.
func percentilesOf(sketches []byte, quantiles, values []float64) ([]float64, float64, error) {
	p := percentiles{quantiles: quantiles}
	err := p.addSketches(sketches)
	var b Bucket
	if len(values) > 0 {
		b.Min, b.Max = values[0], values[len(values)-1]
	}
	p.moveTo(&b)
	return b.Percentiles, b.PercentileError, err
}
