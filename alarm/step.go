package alarm

import (
	"errors"
	"math"
	"time"
)

// errEndlessTimers means that the timers of a rule never end.
var errEndlessTimers = errors.New("alarm: more than 100000 timers at once")

// Step returns the state after a reading of one of the rule's sensors, and the events.
//
// A reading that is not newer than the newest of its sensor is late and changes nothing. Timers
// that are due by the time of the reading fire before it. A delay that ends at that very instant
// does not: the reading decides. Timers after now do not fire, so that a reading from the future
// does not end a time on the clock. On an error the reading is the newest one, but was not
// compared. For NoData a reading is a sign of life at its receipt, and says nothing of silence
// before it.
func Step(r *Rule, s State, x Sample, now time.Time) (State, []Event, error) {
	if !r.refersTo(x.SensorID) {
		return s, nil, nil
	}
	if r.Kind == NoData {
		x.At, x.Skew = x.Received(), 0
	}
	if last, seen := s.seen(r, x.SensorID); seen && !x.after(last) {
		return s, nil, nil
	}
	j := journal{r: r, s: s, lag: 1} // leaves a delay that ends at x.At to x
	to := x.At
	if now.Before(to) {
		to = now
	}
	if err := j.runTimers(to); err != nil {
		return s, nil, err
	}
	j.s, j.reading = j.s.WithNewest(r, x), x.id()
	if s.Resting != "" {
		return j.s, j.events, nil
	}
	l, ok, err := r.compare(&j.s, x)
	if err != nil {
		return s.WithNewest(r, x), nil, err
	}
	if !ok {
		j.s.Fall = [2]Wait{} // x does not confirm that the breach is over
		j.fireDue(x.At, x.At, noValue)
		return j.s, j.events, nil
	}
	if j.s.Fault != "" {
		j.recover(x.At)
	}
	j.updateWaits(l, x, x.At)
	return j.s, j.events, nil
}

// ChangesNothing reports whether Step would only replace the newest reading. It costs a fraction of
// Step, and is false when that is not obvious.
func ChangesNothing(r *Rule, s *State, x Sample) bool {
	switch r.Kind {
	case Threshold, OutsideRange, InsideRange, BadQuality:
	default:
		return false
	}
	if x.SensorID != r.SensorID || !x.after(s.Last) || s.Fault != "" || s.Resting != "" ||
		!s.hasNoTimer(r) {
		return false
	}
	l, ok, err := r.compare(s, x)
	if s.Active {
		return err == nil && (!ok || l == s.Level)
	}
	return err == nil && (!ok || l == None)
}

// Tick returns the state after all timers that are due at now have fired, and the events. A delay
// that no reading has ended is over when the readings from its end should have arrived.
func Tick(r *Rule, s State, now time.Time) (State, []Event, error) {
	j := journal{r: r, s: s, lag: s.lag(), silence: true}
	if err := j.runTimers(now); err != nil {
		return s, nil, err
	}
	return j.s, j.events, nil
}

// refersTo reports whether the rule needs readings of a sensor.
func (r *Rule) refersTo(sensor int64) bool {
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

// journal is a state while it changes, and the events of its changes.
type journal struct {
	r      *Rule
	s      State
	lag    time.Duration // the time after its end at which a delay is known to be over
	events []Event

	reading ReadingID // that causes the events; zero: a timer or a command
	silence bool      // silence raises the alarm
}

// The levels of each side, the inner one first.
var (
	upper  = [2]Level{High, HighHigh}
	lower  = [2]Level{Low, LowLow}
	single = [2]Level{Breach, None}
)

// side returns the levels on the side of l.
func side(l Level) [2]Level {
	switch l {
	case HighHigh, High:
		return upper
	case Low, LowLow:
		return lower
	}
	return single
}

// has reports whether the rule has a level.
func (r *Rule) has(l Level) bool {
	return l != None && (r.limit(l) != nil || l == Breach && r.Kind != Threshold)
}

// covers reports whether l is m or further out on the same side.
func (l Level) covers(m Level) bool { return l == m || l.beyond(m) }

// updateWaits starts, continues and ends the waits of the limits now that x is at level l, and
// fires those that are over, with events at the time at.
func (j *journal) updateWaits(l Level, x Sample, at time.Time) {
	s := &j.s
	cur := None
	if s.Active {
		cur = s.Level
	}
	for i, m := range side(l) {
		s.Rise[i].update(m, j.r.has(m) && l.covers(m) && !cur.covers(m), x.At)
	}
	for i, m := range side(cur) {
		s.Fall[i].update(m,
			cur != None && m != None && cur.covers(m) && (j.r.has(m) || m == cur) && !l.covers(m),
			x.At)
	}
	j.fireDue(x.At, at, x.Value)
}

// update starts or continues a wait at level l while its condition holds, and ends it otherwise.
func (w *Wait) update(l Level, holds bool, at time.Time) {
	switch {
	case !holds:
		*w = Wait{}
	case w.Level != l:
		*w = Wait{Level: l, Since: at, Count: 1}
	case w.Count < maxSamples:
		w.Count++
	}
}

// fallDue returns when the off-delay of limit i is over; zero when it does not run.
func (j *journal) fallDue(i int) time.Time {
	if w := &j.s.Fall[i]; w.Level != None {
		return w.Since.Add(time.Duration(j.r.OffDelay))
	}
	return time.Time{}
}

// riseDue returns when the on-delay of limit i is over; zero when it does not run or waits for more
// readings.
func (j *journal) riseDue(i int) time.Time {
	if w := &j.s.Rise[i]; w.Level != None && w.Count >= max(j.r.MinSamples, 1) {
		return w.Since.Add(time.Duration(j.r.OnDelay))
	}
	return time.Time{}
}

// isDue reports whether due is set and not after at.
func isDue(due, at time.Time) bool { return !due.IsZero() && !due.After(at) }

// fireDue fires the waits that are over at due, with events at the time at: first a limit that was
// left, then the outermost limit that is breached.
func (j *journal) fireDue(due, at time.Time, v float64) {
	for i := range j.s.Fall {
		if isDue(j.fallDue(i), due) {
			j.leaveLimit(j.s.Fall[i], at, v)
			break
		}
	}
	for i := len(j.s.Rise) - 1; i >= 0; i-- {
		if isDue(j.riseDue(i), due) {
			j.raise(j.s.Rise[i], at, v)
			break
		}
	}
}

// raise begins an occurrence, or escalates it.
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
	j.addEvent(Event{At: at, Kind: kind, Before: before}, v)
}

// leaveLimit de-escalates the alarm to the next inner limit after w, or clears it when there is
// none.
func (j *journal) leaveLimit(w Wait, at time.Time, v float64) {
	s := &j.s
	before := s.Code()
	if in := side(w.Level)[0]; w.Level.beyond(in) && j.r.has(in) {
		s.Level, s.Severity = in, j.r.severity(in)
		s.Fall[1] = Wait{}
		j.addEvent(Event{At: at, Kind: Deescalated, Before: before}, v)
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
	j.addEvent(Event{At: s.ClearedAt, Kind: kind, Before: before}, v)
	if s.Shelf.OneShot {
		j.unshelve(s.ClearedAt, "", "the alarm has cleared")
	}
}

func (j *journal) unshelve(at time.Time, user, why string) {
	before := j.s.Code()
	j.s.Shelf = Shelf{}
	j.addEvent(Event{At: at, Kind: Unshelved, Before: before, User: user, Comment: why}, noValue)
}

func (j *journal) recover(at time.Time) {
	before := j.s.Code()
	j.s.Fault = ""
	j.addEvent(Event{At: at, Kind: Recovered, Before: before}, noValue)
}

// noValue is the value of an event that no reading caused.
var noValue = math.NaN()

// addEvent completes e with the state after it and the value v, and adds it.
func (j *journal) addEvent(e Event, v float64) {
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
