package series

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// sketch estimates any percentile of its values within a relative error. Its bins are as wide as
// the values in them are large, each wider than the one before by the same factor (DDSketch:
// Masson, Rim and Lee, 2019). When it has too many bins, every two of them become one and the error
// doubles (UDDSketch: Epicoco and others, 2020), so few values, or values near each other, are the
// most precise. Merging two sketches gives the sketch of all their values.
type sketch struct {
	level int         // how often every two bins became one
	bins  []sketchBin // in order of their values, none of them empty
	spare []sketchBin // memory for the next merge
}

// sketchBin counts the values between two bounds. Its key is 0 for zero; for values in (g^(b-1),
// g^b], where g is the factor, it is b + keyOffset, which is positive; for negative values it is
// the same with the sign turned.
type sketchBin struct {
	key int32
	n   int64
}

const (
	sketchError   = 0.001   // relative error at level 0
	keyOffset     = 1 << 19 // more than the exponent of the smallest float64, -372,220
	maxHourBins   = 512     // of the sketch of an hour
	maxMergedBins = 4096    // of a merged sketch
	maxLevel      = 20
)

// halfWidth is half the logarithm of the factor between two bins of level 0.
var halfWidth = math.Atanh(sketchError)

var errSketch = errors.New("sketch is damaged")

// newSketch returns the sketch of values, none of which may be NaN or infinite, and sorts them.
func newSketch(values []float64) *sketch {
	slices.Sort(values)
	s := &sketch{}
	for _, v := range values {
		key := int32(0)
		if v != 0 {
			key = keyOffset + int32(math.Ceil(math.Log(math.Abs(v))/(2*halfWidth)))
		}
		if v < 0 {
			key = -key
		}
		if last := len(s.bins) - 1; last >= 0 && s.bins[last].key == key {
			s.bins[last].n++
			continue
		}
		s.bins = append(s.bins, sketchBin{key, 1})
	}
	s.limit(maxHourBins)
	return s
}

// relativeError returns the largest relative error of a value that the sketch estimates.
func (s *sketch) relativeError() float64 {
	return math.Tanh(halfWidth * float64(int(1)<<s.level))
}

// limit coarsens s until it has at most the given number of bins.
func (s *sketch) limit(bins int) {
	for len(s.bins) > bins {
		s.coarsen()
	}
}

// coarsen makes one bin of every two.
func (s *sketch) coarsen() {
	s.level++
	out := s.bins[:0]
	for _, b := range s.bins {
		switch { // half of b, rounded up, where the key is b + keyOffset
		case b.key > 0:
			b.key = (b.key-keyOffset+1)>>1 + keyOffset
		case b.key < 0:
			b.key = -((-b.key-keyOffset+1)>>1 + keyOffset)
		}
		if last := len(out) - 1; last >= 0 && out[last].key == b.key {
			out[last].n += b.n
			continue
		}
		out = append(out, b)
	}
	s.bins = out
}

// merge adds the values of o, which it may coarsen.
func (s *sketch) merge(o *sketch) {
	for s.level < o.level {
		s.coarsen()
	}
	for o.level < s.level {
		o.coarsen()
	}
	out, left, right := s.spare[:0], s.bins, o.bins
	for len(left) > 0 && len(right) > 0 {
		switch a, b := left[0], right[0]; {
		case a.key < b.key:
			out, left = append(out, a), left[1:]
		case a.key > b.key:
			out, right = append(out, b), right[1:]
		default:
			out, left, right = append(out, sketchBin{a.key, a.n + b.n}), left[1:], right[1:]
		}
	}
	out = append(append(out, left...), right...)
	s.bins, s.spare = out, s.bins
	s.limit(maxMergedBins)
}

// quantile returns the value at q, between 0 and 1; NaN without values. It is within [low, high],
// the known bounds of all values.
func (s *sketch) quantile(q, low, high float64) float64 {
	var n int64
	for _, b := range s.bins {
		n += b.n
	}
	if n == 0 {
		return math.NaN()
	}
	return interpolate(q, n, func(rank int64) float64 {
		for _, b := range s.bins {
			if rank -= b.n; rank < 0 {
				return min(max(s.middle(b.key), low), high)
			}
		}
		return high
	})
}

// middle returns the value with the smallest relative distance to all values of a bin.
func (s *sketch) middle(key int32) float64 {
	switch {
	case key == 0:
		return 0
	case key < 0:
		return -s.middle(-key)
	}
	exponent := float64(key-keyOffset) * 2 * halfWidth * float64(int(1)<<s.level)
	return math.Exp(exponent) * (1 - s.relativeError())
}

// encode appends s to b: its level, the number of bins, the first key, and then for each bin the
// number of its values and the difference to the next key.
func (s *sketch) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(s.level))
	b = binary.AppendUvarint(b, uint64(len(s.bins)))
	previous := int32(0)
	for i, bin := range s.bins {
		if i == 0 {
			b = binary.AppendVarint(b, int64(bin.key))
		} else {
			b = binary.AppendUvarint(b, uint64(bin.key-previous))
		}
		b = binary.AppendUvarint(b, uint64(bin.n))
		previous = bin.key
	}
	return b
}

// decode sets s to the encoded sketch that b begins with, and returns the rest of b.
func (s *sketch) decode(b []byte) ([]byte, error) {
	next := func(signed bool) (v int64) {
		n := 0
		if signed {
			v, n = binary.Varint(b)
		} else {
			var u uint64
			u, n = binary.Uvarint(b)
			v = int64(u)
		}
		if n <= 0 {
			b = nil
			return 0
		}
		b = b[n:]
		return v
	}
	s.level, s.bins = int(next(false)), s.bins[:0]
	n := next(false)
	if s.level > maxLevel || n > int64(len(b)) {
		return nil, errSketch
	}
	key := int32(0)
	for i := range n {
		if b == nil {
			return nil, errSketch
		}
		key += int32(next(i == 0))
		s.bins = append(s.bins, sketchBin{key, next(false)})
	}
	if b == nil {
		return nil, errSketch
	}
	return b, nil
}
