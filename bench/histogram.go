package main

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets a 32nd of a power of two wide: a quantile is exact to 3 %.
type histogram struct {
	buckets [2048]int64
	n       int64
}

func (h *histogram) add(d time.Duration) {
	v := max(uint64(d), 32)
	e := bits.Len64(v) - 6
	h.buckets[e<<5|int(v>>e&31)]++
	h.n++
}

// quantile is an upper bound of the q-quantile of several histograms together.
func quantile(hs []*histogram, q float64) time.Duration {
	var all histogram
	for _, h := range hs {
		all.n += h.n
		for i, n := range h.buckets {
			all.buckets[i] += n
		}
	}
	rest := int64(q * float64(all.n))
	for i, n := range all.buckets {
		if rest -= n; rest < 0 {
			return time.Duration((uint64(i&31) + 33) << (i >> 5))
		}
	}
	return 0
}
