package series

import (
	"math"
	"time"
)

// FillPrevious sets the values of empty buckets to that of the bucket before.
func FillPrevious(values []float64, isEmpty []bool) {
	for n := 1; n < len(values); n++ {
		if isEmpty[n] {
			values[n] = values[n-1]
		}
	}
}

// FillLinear interpolates the values of empty buckets between the nearest values before and after
// them, by the starts of the buckets. Buckets without one of the two stay as they are.
func FillLinear(values []float64, isEmpty []bool, starts []time.Time) {
	before := -1 // index of the last bucket with a value
	for n := range values {
		if isEmpty[n] || math.IsNaN(values[n]) {
			continue
		}
		for m := before + 1; before >= 0 && m < n; m++ {
			if isEmpty[m] {
				begin := InstantOf(starts[before])
				part := InstantOf(starts[m]).Since(begin) / InstantOf(starts[n]).Since(begin)
				values[m] = values[before] + part*(values[n]-values[before])
			}
		}
		before = n
	}
}
