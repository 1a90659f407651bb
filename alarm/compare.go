package alarm

import (
	"math"
	"slices"
	"time"
)

// maxRatePoints is how many values a rate's window keeps, and so how exact its length is.
const maxRatePoints = 32

func (r *Rate) per() time.Duration {
	switch r.Per {
	case "second":
		return time.Second
	case "minute":
		return time.Minute
	case "hour":
		return time.Hour
	}
	return 0
}

// comparable reports whether a value may be compared with limits.
func (r *Rule) comparable(x Sample) bool {
	return !x.bad() && (x.Quality == Good || !r.IgnoreUncertain)
}

// isTooOld reports whether at is more than maxAge before newest; a maxAge of 0 is unlimited.
func isTooOld(at, newest time.Time, maxAge Duration) bool {
	return maxAge > 0 && newest.Sub(at) > time.Duration(maxAge)
}

// compare compares the newest readings in s, of which x is one, with the rule, and returns the
// level that they are at. ok is false when they do not say.
func (r *Rule) compare(s *State, x Sample) (l Level, ok bool, err error) {
	switch r.Kind {
	case NoData:
		return None, true, nil
	case BadQuality:
		if x.bad() {
			return Breach, true, nil
		}
		if x.Quality == Uncertain && !r.IgnoreUncertain && s.Active {
			return None, false, nil // neither bad nor known to be good
		}
		return None, true, nil
	case Expressed:
		isTrue, ok, err := r.run(s)
		if isTrue {
			l = Breach
		}
		return l, ok, err
	}
	if r.Kind != Deviates && !r.comparable(x) {
		return None, false, nil
	}
	cur := None
	if s.Active {
		cur = s.Level
	}
	switch r.Kind {
	case Threshold:
		return r.Limits.level(x.Value, cur, r.band()), true, nil
	case OutsideRange:
		return r.breach(max(r.Range.Low-x.Value, x.Value-r.Range.High), 0, cur), true, nil
	case InsideRange:
		m := min(x.Value-r.Range.Low, r.Range.High-x.Value)
		if m >= 0 || cur != None && m > -r.band() {
			l = Breach
		}
		return l, true, nil
	case RateOfChange:
		m, ok := r.Rate.measure(s, x)
		return r.breach(m, r.Rate.Limit, cur), ok, nil
	case Deviates:
		m, ok := r.deviation(s)
		return r.breach(m, r.Deviation.Limit, cur), ok, nil
	}
	return None, false, nil
}

// breach compares m with a single limit. A breach begins above the limit and lasts until m is at
// the limit minus the deadband.
func (r *Rule) breach(m, limit float64, cur Level) Level {
	if m > limit || cur != None && m > limit-r.band() {
		return Breach
	}
	return None
}

// level returns the outermost limit that v is beyond. The limits up to cur, on its side, are left
// only when v has returned by the deadband.
func (l *Limits) level(v float64, cur Level, band float64) Level {
	held := func(m Level) float64 {
		if m == cur || cur.beyond(m) {
			return band
		}
		return 0
	}
	switch {
	case l.HighHigh != nil && v > l.HighHigh.Value-held(HighHigh):
		return HighHigh
	case l.LowLow != nil && v < l.LowLow.Value+held(LowLow):
		return LowLow
	case l.High != nil && v > l.High.Value-held(High):
		return High
	case l.Low != nil && v < l.Low.Value+held(Low):
		return Low
	}
	return None
}

// directed returns a difference m with the sign that d counts as a breach.
func (d Direction) directed(m float64) float64 {
	switch d {
	case Up:
		return m
	case Down:
		return -m
	}
	return math.Abs(m)
}

// deviation returns how far the value deviates; ok is false when it cannot be compared.
func (r *Rule) deviation(s *State) (float64, bool) {
	d := r.Deviation
	if s.Last.At.IsZero() || !r.comparable(s.Last) {
		return 0, false
	}
	if d.Setpoint != nil {
		return d.Direction.directed(s.Last.Value - *d.Setpoint), true
	}
	o, seen := s.seen(r, d.SensorID)
	if !seen || !r.comparable(o) || isTooOld(o.At, s.Last.At, d.MaxAge) ||
		isTooOld(s.Last.At, o.At, d.MaxAge) {
		return 0, false
	}
	return d.Direction.directed(s.Last.Value - o.Value), true
}

// measure adds x to the window and returns how fast the value changes. ok is false until the window
// is full. A gap longer than twice the window empties the window.
func (r *Rate) measure(s *State, x Sample) (float64, bool) {
	window := time.Duration(r.Window)
	w := s.Window
	if n := len(w); n > 0 && x.At.Sub(w[n-1].At) > 2*window {
		w = nil
	}
	first := -1 // the newest point that is at least a window older
	for i, p := range w {
		if x.At.Sub(p.At) >= window {
			first = i
		}
	}
	var m float64
	if first >= 0 {
		m = (x.Value - w[first].Value) * (float64(r.per()) / float64(x.At.Sub(w[first].At)))
	}
	if n := len(w); n == 0 || x.At.Sub(w[n-1].At) >= window/maxRatePoints {
		w = append(slices.Clone(w[max(first, 0):]), RatePoint{x.At, x.Value})
	}
	s.Window = w
	return r.Direction.directed(m), first >= 0
}
