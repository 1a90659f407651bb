package series

import (
	"math"
	"time"
)

// Method is an algorithm that chooses readings that draw like all of them.
type Method uint8

// The methods.
const (
	// MinMax chooses the smallest and the largest value of each of equally long bins of time: no
	// peak is lost.
	MinMax Method = iota
	// LTTB chooses the readings that span the largest triangles (Steinarsson, 2013), out of four
	// times as many chosen by MinMax (Van Der Donckt et al., 2023): the result looks like the
	// series to the eye.
	LTTB
)

// DownsampleQuery asks for readings of [Start, End) that draw like all of them: at most Points of
// each sensor, 4 or more.
type DownsampleQuery struct {
	Sensors    []int64
	Start, End time.Time
	Method     Method
	Points     int
}

// DownsamplePlan says how readings are chosen: from each bin, a time of Width from Origin on, its
// extremes.
type DownsamplePlan struct {
	Source        Source
	Origin, Width Instant
	Bins          int
	MaxAll        int // with no more readings than this, all of them are candidates
}

const (
	// minMinutesBin is the width of bins from which on they are made of whole minutes, which makes
	// them wider still.
	minMinutesBin = 5 * minute
	// minHoursBin is the width of bins from which on they are made of whole hours.
	minHoursBin = 180 * minute
)

// Plan returns how q is answered, from rollups only when there are any.
func (q *DownsampleQuery) Plan(hasRollups bool) DownsamplePlan {
	n := q.Points
	if q.Method == LTTB {
		n *= 4
	}
	p := DownsamplePlan{
		Source: Raw,
		Origin: InstantOf(q.Start),
		Bins:   max((n-2)/2, 1), // the first and the last reading are chosen too
		MaxAll: n,
	}
	start, end := InstantOf(q.Start), InstantOf(q.End)
	p.Width = (end-start)/Instant(p.Bins) + 1
	from, to := WholeHours(q.Start, q.End)
	if !hasRollups || p.Width < minMinutesBin || to.Sub(from) < minRollupRange {
		return p
	}
	unit := time.Minute
	p.Source = ByMinute
	if p.Width >= minHoursBin {
		unit, p.Source = time.Hour, ByHour
	}
	p.Origin = InstantOf(q.Start.UTC().Truncate(unit))
	whole := Instant(unit.Microseconds())
	p.Width = ((end-p.Origin)/Instant(p.Bins) + whole - 1) / whole * whole
	return p
}

// Downsampler chooses readings of one sensor, whose usable readings are added in order of time. It
// holds no more of them than it needs to choose.
type Downsampler struct {
	plan        DownsamplePlan
	all         []Reading // nil once they are not all, or more than MaxAll
	bins        []extremes
	first, last Reading
	begun       bool
}

// extremes are the earliest readings with the smallest and the largest value of a bin.
type extremes struct {
	min, max Reading
	used     bool
}

// NewDownsampler returns a downsampler by p.
func NewDownsampler(p DownsamplePlan) *Downsampler {
	return &Downsampler{plan: p, bins: make([]extremes, p.Bins), all: []Reading{}}
}

// OnlyExtremes says that only those readings are added that may be chosen from bins.
func (d *Downsampler) OnlyExtremes() { d.all = nil }

// Add adds a reading that is later than all before.
func (d *Downsampler) Add(r Reading) {
	if !d.begun {
		d.first, d.begun = r, true
	}
	d.last = r
	if d.all != nil {
		if d.all = append(d.all, r); len(d.all) > d.plan.MaxAll {
			d.all = nil
		}
	}
	// the database may have rounded Start down
	n := min(max((r.At-d.plan.Origin)/d.plan.Width, 0), Instant(len(d.bins)-1))
	b := &d.bins[n]
	if !b.used || r.Value < b.min.Value {
		b.min = r
	}
	if !b.used || r.Value > b.max.Value {
		b.max = r
	}
	b.used = true
}

// Choose returns the readings that q asks for, in order of time.
func (d *Downsampler) Choose(q *DownsampleQuery) []Reading {
	readings := d.all
	if readings == nil {
		readings = d.candidates()
	}
	if q.Method == LTTB {
		readings = lttb(readings, q.Points)
	}
	return readings
}

// candidates returns the extremes of all bins, the first and the last reading, each once.
func (d *Downsampler) candidates() []Reading {
	readings := []Reading{d.first}
	put := func(r Reading) {
		if r.At > readings[len(readings)-1].At {
			readings = append(readings, r)
		}
	}
	for _, b := range d.bins {
		if !b.used {
			continue
		}
		if b.min.At < b.max.At {
			put(b.min)
			put(b.max)
		} else {
			put(b.max)
			put(b.min)
		}
	}
	put(d.last)
	return readings
}

// lttb chooses n of readings, which are in order of time, by largest triangle three buckets; all
// when there are no more.
func lttb(readings []Reading, n int) []Reading {
	if len(readings) <= n {
		return readings
	}
	x := func(r Reading) float64 { return r.At.Since(readings[0].At) }
	// buckets of like size between the first and the last
	bound := func(i int) int { return 1 + i*(len(readings)-2)/(n-2) }
	chosen := append(make([]Reading, 0, n), readings[0])
	for i := range n - 2 {
		next := readings[len(readings)-1:]
		if i < n-3 {
			next = readings[bound(i+1):bound(i+2)]
		}
		var cx, cy float64 // the middle of the next bucket
		for _, r := range next {
			cx, cy = cx+x(r)/float64(len(next)), cy+r.Value/float64(len(next))
		}
		a := chosen[len(chosen)-1]
		best, maxArea := readings[bound(i)], -1.0
		for _, b := range readings[bound(i):bound(i+1)] {
			area := math.Abs((x(a)-cx)*(b.Value-a.Value) - (x(a)-x(b))*(cy-a.Value))
			if area > maxArea {
				best, maxArea = b, area
			}
		}
		chosen = append(chosen, best)
	}
	return append(chosen, readings[len(readings)-1])
}
