package store

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"
)

// A sketch knows about how many values lie where, and so any percentile to within a part of itself.
// Its bins are as wide as what they hold is large, each the same factor above the one before
// (DDSketch: Masson, Rim and Lee, 2019). When there are too many, every two of them become one and
// the error doubles (UDDSketch: Epicoco and others, 2020): few values, or values near each other,
// are known best. Two sketches together make that of all their values.
type sketch struct {
	level int         // how often every two bins became one
	bins  []sketchBin // in order of what they hold, none of them empty
	spare []sketchBin // room for the next merge
}

// sketchBin counts values between two bounds. Its key is 0 for zero; for values in (g^(b-1), g^b],
// g being the factor, it is b + aboveZero, which is positive, and for negative ones the same with
// the sign turned.
type sketchBin struct {
	key int32
	n   int64
}

const (
	sketchError = 0.001   // relative, of a sketch of level 0
	aboveZero   = 1 << 19 // beyond the bin of the least float8, -372,220
	mostBins    = 512     // of an hour's sketch
	mostMerged  = 4096    // of many hours' together
)

// halfWidth is half the logarithm of the factor between two bins of level 0.
var halfWidth = math.Atanh(sketchError)

var errSketch = errors.New("a sketch is damaged")

// newSketch returns the sketch of values, none of which may be NaN or infinite, and changes their
// order.
func newSketch(values []float64) *sketch {
	slices.Sort(values)
	s := &sketch{}
	for _, v := range values {
		key := int32(0)
		if v != 0 {
			key = aboveZero + int32(math.Ceil(math.Log(math.Abs(v))/(2*halfWidth)))
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
	s.limit(mostBins)
	return s
}

// error is how much of itself a value may be off.
func (s *sketch) error() float64 { return math.Tanh(halfWidth * float64(int(1)<<s.level)) }

// limit coarsens s until it has at most so many bins.
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
		switch { // half of b, rounded up, where the key is b + aboveZero
		case b.key > 0:
			b.key = (b.key-aboveZero+1)>>1 + aboveZero
		case b.key < 0:
			b.key = -((-b.key-aboveZero+1)>>1 + aboveZero)
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
	out, mine, theirs := s.spare[:0], s.bins, o.bins
	for len(mine) > 0 && len(theirs) > 0 {
		switch a, b := mine[0], theirs[0]; {
		case a.key < b.key:
			out, mine = append(out, a), mine[1:]
		case a.key > b.key:
			out, theirs = append(out, b), theirs[1:]
		default:
			out, mine, theirs = append(out, sketchBin{a.key, a.n + b.n}), mine[1:], theirs[1:]
		}
	}
	out = append(append(out, mine...), theirs...)
	s.bins, s.spare = out, s.bins
	s.limit(mostMerged)
}

// percentile returns what lies at part, between 0 and 1, of the values: NaN without any, and
// nothing outside of [least, most], which is known of all values.
func (s *sketch) percentile(part, least, most float64) float64 {
	var n int64
	for _, b := range s.bins {
		n += b.n
	}
	if n == 0 {
		return math.NaN()
	}
	return between(part, n, func(rank int64) float64 {
		for _, b := range s.bins {
			if rank -= b.n; rank < 0 {
				return min(max(s.middle(b.key), least), most)
			}
		}
		return most
	})
}

// middle is the value that is nearest, relative to themselves, to all that the bin may hold.
func (s *sketch) middle(key int32) float64 {
	switch {
	case key == 0:
		return 0
	case key < 0:
		return -s.middle(-key)
	}
	return math.Exp(float64(key-aboveZero)*2*halfWidth*float64(int(1)<<s.level)) * (1 - s.error())
}

// append encodes s: its level, how many bins there are, the first key, and then from bin to bin how
// many values it holds and how much greater the next key is.
func (s *sketch) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(s.level))
	b = binary.AppendUvarint(b, uint64(len(s.bins)))
	before := int32(0)
	for i, bin := range s.bins {
		if i == 0 {
			b = binary.AppendVarint(b, int64(bin.key))
		} else {
			b = binary.AppendUvarint(b, uint64(bin.key-before))
		}
		b = binary.AppendUvarint(b, uint64(bin.n))
		before = bin.key
	}
	return b
}

// read decodes what append has written into s, and returns what is behind it.
func (s *sketch) read(b []byte) ([]byte, error) {
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
	if s.level > 20 || n > int64(len(b)) {
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

// percentiles gathers what is known of the values of one bucket after another, in order of time.
type percentiles struct {
	parts []float64 // that are asked for
	// also values go into sketches, an hour's into one: it makes no difference which hours are
	// rolled up
	sketched    bool
	hour        int64 // of values, if they are to be sketched
	values      []float64
	whole, part sketch
}

// add takes in a value.
func (p *percentiles) add(at instant, v float64) {
	if hour := (int64(at) + epoch) / time.Hour.Microseconds(); p.sketched && hour != p.hour {
		p.fold()
		p.hour = hour
	}
	p.values = append(p.values, v)
}

// fold makes a sketch of the values.
func (p *percentiles) fold() {
	if len(p.values) > 0 {
		p.whole.merge(newSketch(p.values))
		p.values = p.values[:0]
	}
}

// sketches takes in encoded sketches, one behind the other.
func (p *percentiles) sketches(b []byte) (err error) {
	if len(b) > 0 {
		p.fold()
	}
	for len(b) > 0 {
		if b, err = p.part.read(b); err != nil {
			return err
		}
		p.whole.merge(&p.part)
	}
	return nil
}

// take sets the percentiles of b, of which is all that came, and begins anew. They are exact when
// nothing was sketched.
func (p *percentiles) take(b *Bucket) {
	if p.sketched || len(p.whole.bins) > 0 {
		p.fold()
	}
	switch {
	case len(p.whole.bins) > 0:
		for _, part := range p.parts {
			b.Percentiles = append(b.Percentiles, p.whole.percentile(part, b.Min, b.Max))
		}
		b.PercentileError = p.whole.error()
	case len(p.values) > 0:
		slices.Sort(p.values)
		for _, part := range p.parts {
			b.Percentiles = append(b.Percentiles,
				between(part, int64(len(p.values)), func(i int64) float64 { return p.values[i] }))
		}
	}
	p.values = p.values[:0]
	p.whole.level, p.whole.bins = 0, p.whole.bins[:0]
}

// between returns what lies at part, between 0 and 1, of n values in order, interpolated between
// the two nearest.
func between(part float64, n int64, value func(rank int64) float64) float64 {
	place := part * float64(n-1)
	below := int64(place)
	low := value(below)
	if beyond := place - float64(below); beyond > 0 {
		return low + beyond*(value(below+1)-low)
	}
	return low
}
