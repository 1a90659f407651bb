package main

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets an eighth of a power of two wide: a quantile is exact to 12 %.
type histogram struct {
	buckets [512]int64
	n       int64
}

func (h *histogram) add(d time.Duration) {
	v := max(uint64(d), 8)
	e := bits.Len64(v) - 4
	h.buckets[e<<3|int(v>>e&7)]++
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
			return time.Duration((uint64(i&7) + 9) << (i >> 3))
		}
	}
	return 0
}
