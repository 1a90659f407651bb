package alarm

import (
	"errors"
	"math"
	"time"
)

// errRunaway is a rule whose timers never come to an end.
var errRunaway = errors.New("alarm: more than 100000 timers at once")

// Step is the state after a reading of one of the rule's sensors, and what happened. A reading that
// is not newer than the one that its sensor has is late and changes nothing. Timers that end by the
// time of the reading end before it, delays only when they end earlier: at the instant when a delay
// is over the reading decides. now bounds them: a reading of the future does not end what waits for
// the clock. On an error the reading is seen but not compared. Of NoData the reading is a sign of
// life at its receipt, and does not tell of silence before it.
func Step(r *Rule, s State, x Sample, now time.Time) (State, []Event, error) {
	if !r.reads(x.SensorID) {
		return s, nil, nil
	}
	if r.Kind == NoData {
		x.At, x.Skew = x.Received(), 0
	}
	if last, seen := s.seen(r, x.SensorID); seen && !x.after(last) {
		return s, nil, nil
	}
	j := journal{r: r, s: s, lag: 1} // so that a delay that ends at x.At is left to x
	to := x.At
	if now.Before(to) {
		to = now
	}
	if err := j.advance(to); err != nil {
		return s, nil, err
	}
	j.s, j.reading = j.s.Saw(r, x), x.id()
	if s.Resting != "" {
		return j.s, j.events, nil
	}
	l, ok, err := r.judge(&j.s, x)
	if err != nil {
		return s.Saw(r, x), nil, err
	}
	if !ok {
		j.s.Fall = [2]Wait{} // nothing says that it is over
		j.fire(x.At, x.At, none)
		return j.s, j.events, nil
	}
	if j.s.Fault != "" {
		j.recover(x.At)
	}
	j.settle(l, x, x.At)
	return j.s, j.events, nil
}

// Unmoved reports whether all that Step would change is the newest reading, where that is seen at a
// glance: it costs a fraction of Step. Where it is not, Unmoved is false.
func Unmoved(r *Rule, s *State, x Sample) bool {
	switch r.Kind {
	case Threshold, OutsideRange, InsideRange, BadQuality:
	default:
		return false
	}
	if x.SensorID != r.SensorID || !x.after(s.Last) || s.Fault != "" || s.Resting != "" ||
		!s.idle(r) {
		return false
	}
	l, ok, err := r.judge(s, x)
	if s.Active {
		return err == nil && (!ok || l == s.Level)
	}
	return err == nil && (!ok || l == None)
}

// Tick is the state when every timer that ends by now has ended, and what happened. A delay that no
// reading has ended is over when the readings until its end should have arrived.
func Tick(r *Rule, s State, now time.Time) (State, []Event, error) {
	j := journal{r: r, s: s, lag: s.lag(), silence: true}
	if err := j.advance(now); err != nil {
		return s, nil, err
	}
	return j.s, j.events, nil
}

// reads says whether the rule needs readings of a sensor.
func (r *Rule) reads(sensor int64) bool {
	if sensor == r.SensorID {
		return true
	}
	if r.Deviation != nil && r.Deviation.SensorID == sensor {
		return true
	}
	if r.Expression != nil {
		for _, id := range r.Expression.Inputs {
			if id == sensor {
				return true
			}
		}
	}
	return false
}

// journal is a state on its way to the next, and what happened on the way.
type journal struct {
	r      *Rule
	s      State
	lag    time.Duration // how long after its end a delay is known to be over
	events []Event

	reading ReadingID // that is judged; zero: the clock or a command
	silence bool      // it is to be told of
}

// levels of one side, the nearer first.
var (
	upper  = [2]Level{High, HighHigh}
	lower  = [2]Level{Low, LowLow}
	single = [2]Level{Breach, None}
)

func side(l Level) [2]Level {
	switch l {
	case HighHigh, High:
		return upper
	case Low, LowLow:
		return lower
	}
	return single
}

// has says whether the rule can come to a level.
func (r *Rule) has(l Level) bool {
	return l != None && (r.limit(l) != nil || l == Breach && r.Kind != Threshold)
}

// covers says whether being at l is being at m too, or further out.
func (l Level) covers(m Level) bool { return l == m || l.beyond(m) }

// settle begins, goes on with and ends the waits of a verdict, and does what no longer waits, as
// events of at.
func (j *journal) settle(l Level, x Sample, at time.Time) {
	s := &j.s
	cur := None
	if s.Active {
		cur = s.Level
	}
	for i, m := range side(l) {
		s.Rise[i].mark(m, j.r.has(m) && l.covers(m) && !cur.covers(m), x.At)
	}
	for i, m := range side(cur) {
		s.Fall[i].mark(m,
			cur != None && m != None && cur.covers(m) && (j.r.has(m) || m == cur) && !l.covers(m),
			x.At)
	}
	j.fire(x.At, at, x.Value)
}

// mark goes on with a wait when it is so at an instant, and ends it when it is not.
func (w *Wait) mark(l Level, so bool, at time.Time) {
	switch {
	case !so:
		*w = Wait{}
	case w.Level != l:
		*w = Wait{Level: l, Since: at, Count: 1}
	case w.Count < mostSamples:
		w.Count++
	}
}

// falls is when the i-th limit counts as left; zero when it is not waiting.
func (j *journal) falls(i int) time.Time {
	if w := &j.s.Fall[i]; w.Level != None {
		return w.Since.Add(time.Duration(j.r.OffDelay))
	}
	return time.Time{}
}

// rises is when the i-th limit counts as breached; zero when it is not waiting, or for more
// readings.
func (j *journal) rises(i int) time.Time {
	if w := &j.s.Rise[i]; w.Level != None && w.Count >= max(j.r.MinSamples, 1) {
		return w.Since.Add(time.Duration(j.r.OnDelay))
	}
	return time.Time{}
}

func by(due, at time.Time) bool { return !due.IsZero() && !due.After(at) }

// fire does what waited until due, as events of at: first what is left, then what is breached, the
// furthest only.
func (j *journal) fire(due, at time.Time, v float64) {
	for i := range j.s.Fall {
		if by(j.falls(i), due) {
			j.leave(j.s.Fall[i], at, v)
			break
		}
	}
	for i := len(j.s.Rise) - 1; i >= 0; i-- {
		if by(j.rises(i), due) {
			j.raise(j.s.Rise[i], at, v)
			break
		}
	}
}

// raise begins an occurrence, or takes it further out.
func (j *journal) raise(w Wait, at time.Time, v float64) {
	s := &j.s
	before := s.Code()
	kind := Raised
	if s.Active && w.Level.beyond(s.Level) {
		kind = Escalated
	} else {
		s.Occurrence++
		s.RaisedAt, s.ClearedAt, s.AckedAt = at, time.Time{}, time.Time{}
		s.Active, s.Latched = true, false
		s.Fall = [2]Wait{}
	}
	s.Unacked = true
	s.Level, s.Severity = w.Level, j.r.severity(w.Level)
	s.RaisedBy = j.reading
	if x, seen := s.newest(); seen && j.reading.SensorID == 0 && j.r.Kind != NoData {
		s.RaisedBy = x.id()
	}
	for i := range s.Rise {
		if w.Level.covers(s.Rise[i].Level) {
			s.Rise[i] = Wait{}
		}
	}
	j.add(Event{At: at, Kind: kind, Before: before}, v)
}

// leave takes the alarm to the next limit inside of the one that w left, or ends the trouble when
// there is none.
func (j *journal) leave(w Wait, at time.Time, v float64) {
	s := &j.s
	before := s.Code()
	if in := side(w.Level)[0]; w.Level.beyond(in) && j.r.has(in) {
		s.Level, s.Severity = in, j.r.severity(in)
		s.Fall[1] = Wait{}
		j.add(Event{At: at, Kind: Deescalated, Before: before}, v)
		return
	}
	s.Fall = [2]Wait{}
	s.Active, s.Latched = false, j.r.Latching
	s.ClearedAt = at
	if at.Before(s.RaisedAt) {
		s.ClearedAt = s.RaisedAt
	}
	kind := Cleared
	if s.Latched {
		kind = LatchedEvent
	}
	j.add(Event{At: s.ClearedAt, Kind: kind, Before: before}, v)
	if s.Shelf.OneShot {
		j.unshelve(s.ClearedAt, "", "the alarm has cleared")
	}
}

func (j *journal) unshelve(at time.Time, user, why string) {
	before := j.s.Code()
	j.s.Shelf = Shelf{}
	j.add(Event{At: at, Kind: Unshelved, Before: before, User: user, Comment: why}, none)
}

func (j *journal) recover(at time.Time) {
	before := j.s.Code()
	j.s.Fault = ""
	j.add(Event{At: at, Kind: Recovered, Before: before}, none)
}

// none is the value of an event that no reading made.
var none = math.NaN()

// add completes an event of the value v from the state after it.
func (j *journal) add(e Event, v float64) {
	s := &j.s
	if e.Kind != Commented {
		s.Version++
	}
	e.Occurrence, e.StateVersion, e.RuleVersion = s.Occurrence, s.Version, s.RuleVersion
	e.After = s.Code()
	e.Level, e.Severity = s.Level, s.Severity
	if e.Severity == "" {
		e.Severity = j.r.Severity
	}
	e.Quiet = e.After == Shelved || e.After == Suppressed || e.After == OutOfService
	if finite(v) {
		e.Value = &v
	}
	if e.Kind == Raised || e.Kind == Escalated || e.Kind == Deescalated || e.Kind == Reraised {
		e.Message = j.r.Render(s.Level, e.Value, e.At)
	}
	j.events = append(j.events, e)
}
