package series

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

func TestFill(t *testing.T) {
	nan := math.NaN()
	starts := []time.Time{ // the third bucket is twice as long
		noon, noon.Add(time.Hour), noon.Add(2 * time.Hour), noon.Add(4 * time.Hour),
		noon.Add(5 * time.Hour), noon.Add(6 * time.Hour),
	}
	for name, tt := range map[string]struct {
		values, previous, linear []float64
		empty                    []int
	}{
		"nothing is empty": {
			values:   []float64{1, 2, 3, 4, 5, 6},
			previous: []float64{1, 2, 3, 4, 5, 6},
			linear:   []float64{1, 2, 3, 4, 5, 6},
		},
		"between two values": {
			values:   []float64{1, nan, nan, 5, nan, 6},
			empty:    []int{1, 2, 4},
			previous: []float64{1, 1, 1, 5, 5, 6},
			linear:   []float64{1, 2, 3, 5, 5.5, 6},
		},
		"before the first and after the last value": {
			values:   []float64{nan, 2, nan, 4, nan, nan},
			empty:    []int{0, 2, 4, 5},
			previous: []float64{nan, 2, 2, 4, 4, 4},
			linear:   []float64{nan, 2, 2 + 2.0/3, 4, nan, nan},
		},
		"a bucket without usable readings is not empty": {
			values:   []float64{1, nan, nan, nan, nan, 7},
			empty:    []int{1, 3, 4},
			previous: []float64{1, 1, nan, nan, nan, 7},
			linear:   []float64{1, 2, nan, 5, 6, 7},
		},
	} {
		isEmpty := make([]bool, len(tt.values))
		for _, n := range tt.empty {
			isEmpty[n] = true
		}
		previous, linear := slices.Clone(tt.values), slices.Clone(tt.values)
		FillPrevious(previous, isEmpty)
		FillLinear(linear, isEmpty, starts)
		if fmt.Sprint(previous) != fmt.Sprint(tt.previous) {
			t.Errorf("%s: got %v from the bucket before, want %v", name, previous, tt.previous)
		}
		if fmt.Sprint(linear) != fmt.Sprint(tt.linear) {
			t.Errorf("%s: interpolated %v, want %v", name, linear, tt.linear)
		}
	}
}
