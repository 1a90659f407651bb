package alarm

import (
	"errors"
	"fmt"
	"iter"
	"time"
)

// ErrOrder is a series to simulate that is not in order of time.
var ErrOrder = errors.New("readings are not in order of time")

// Simulate follows a compiled rule through readings of its sensors, oldest first, as if it had begun at from and as Step,
// Tick and Apply do it live, and returns the state at to. Timers end at their own instants, in order with the readings. each
// is given what happened, in order, and ends the simulation by returning false. Readings before from are seen, not compared;
// those from to on end it. It keeps nothing but the state, however long the series. An error of the series is returned as it is.
func Simulate(r *Rule, readings iter.Seq2[Sample, error], from, to time.Time, each func(Event) bool) (State, error) {
	s := New(r, from)
	var newest time.Time
	tell := func(events []Event) bool {
		for _, e := range events {
			if !each(e) {
				return false
			}
		}
		return true
	}
	for x, err := range readings {
		if err != nil {
			return s, err
		}
		if x.At.Before(newest) {
			return s, fmt.Errorf("simulate: %w: %s after %s", ErrOrder, x.At.Format(time.RFC3339Nano), newest.Format(time.RFC3339Nano))
		}
		newest = x.At
		if x.At.Before(from) {
			if r.reads(x.SensorID) {
				s = s.Saw(r, x)
			}
			continue
		}
		if !x.At.Before(to) {
			break
		}
		next, events, err := Step(r, s, x, x.At)
		if err != nil {
			next, events, err = Apply(r, next, Command{Kind: MarkFaulted, Comment: err.Error()}, x.At)
			if err != nil {
				return s, fmt.Errorf("simulate: %w", err)
			}
		}
		if s = next; !tell(events) {
			return s, nil
		}
	}
	s, events, err := Tick(r, s, to)
	tell(events)
	return s, err
}

// Notice says whether people are to be told of an event: the alarm wants attention, wants it again, or no longer needs it, and is
// neither shelved nor suppressed nor out of service.
func (e *Event) Notice() bool {
	if e.Quiet {
		return false
	}
	switch e.Kind {
	case Raised, Escalated, Reraised, Cleared, LatchedEvent, Faulted, Recovered:
		return true
	case Unshelved, Unsuppressed, ReturnedToService:
		return e.After == ActiveUnacked
	}
	return false
}
