package series

import (
	"slices"
	"time"
)

// percentiles collects the values and sketches of one bucket after another, in order of time.
type percentiles struct {
	quantiles []float64 // that are asked for, between 0 and 1
	// sketched says that values become sketches too, one for each hour, so that the result does not
	// depend on which hours are rolled up.
	sketched bool
	hour     Instant // of values, if they become a sketch
	values   []float64
	merged   sketch
	decoded  sketch // memory
}

// addValue adds a value that is later than all before.
func (p *percentiles) addValue(at Instant, v float64) {
	hour := at.floor(Instant(time.Hour.Microseconds()))
	if p.sketched && hour != p.hour {
		p.sketchValues()
		p.hour = hour
	}
	p.values = append(p.values, v)
}

// sketchValues merges the sketch of the values.
func (p *percentiles) sketchValues() {
	if len(p.values) > 0 {
		p.merged.merge(newSketch(p.values))
		p.values = p.values[:0]
	}
}

// addSketches adds consecutive encoded sketches.
func (p *percentiles) addSketches(b []byte) (err error) {
	if len(b) > 0 {
		p.sketchValues()
	}
	for len(b) > 0 {
		if b, err = p.decoded.decode(b); err != nil {
			return err
		}
		p.merged.merge(&p.decoded)
	}
	return nil
}

// moveTo sets the percentiles of b, the bucket of all that was added, and empties p. They are exact
// when nothing became a sketch.
func (p *percentiles) moveTo(b *Bucket) {
	if p.sketched || len(p.merged.bins) > 0 {
		p.sketchValues()
	}
	switch {
	case len(p.merged.bins) > 0:
		for _, q := range p.quantiles {
			b.Percentiles = append(b.Percentiles, p.merged.quantile(q, b.Min, b.Max))
		}
		b.PercentileError = p.merged.relativeError()
	case len(p.values) > 0:
		slices.Sort(p.values)
		for _, q := range p.quantiles {
			v := interpolate(q, int64(len(p.values)), func(i int64) float64 { return p.values[i] })
			b.Percentiles = append(b.Percentiles, v)
		}
	}
	p.values = p.values[:0]
	p.merged.level, p.merged.bins = 0, p.merged.bins[:0]
}

// interpolate returns the value at q, between 0 and 1, of n values in order, interpolated between
// the two nearest.
func interpolate(q float64, n int64, value func(rank int64) float64) float64 {
	place := q * float64(n-1)
	rank := int64(place)
	low := value(rank)
	if fraction := place - float64(rank); fraction > 0 {
		return low + fraction*(value(rank+1)-low)
	}
	return low
}
