package alarm

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// ErrOrder is a series to simulate that is not in order of time.
var ErrOrder = errors.New("readings are not in order of time")

// Simulate follows a compiled rule through readings of its sensors, oldest first, as if it had
// begun at from and as Step, Tick and Apply do it live, and returns the state at to. Timers end at
// their own instants, in order with the readings. each is given what happened, in order, and ends
// the simulation by returning false. Readings before from are seen, not compared; those from to on
// end it. It keeps nothing but the state, however long the series. An error of the series is
// returned as it is.
//
// causes are the alarms that may suppress the rule's, directly or through others, those that
// suppress before those they suppress. They are followed too; readings has those of their sensors.
// What people did to them, such as a reset, is not known here.
func Simulate(
	r *Rule, causes []*Rule, readings iter.Seq2[Sample, error], from, to time.Time,
	each func(Event) bool,
) (State, error) {
	m := simulation{rules: append(slices.Clone(causes), r), each: each}
	for _, r := range m.rules {
		m.states = append(m.states, New(r, from))
	}
	own := &m.states[len(causes)]
	var newest time.Time
	for x, err := range readings {
		if err != nil {
			return *own, err
		}
		if x.At.Before(newest) {
			return *own, fmt.Errorf("simulate: %w: %s after %s", ErrOrder,
				x.At.Format(time.RFC3339Nano), newest.Format(time.RFC3339Nano))
		}
		newest = x.At
		if x.At.Before(from) {
			m.see(x)
			continue
		}
		if !x.At.Before(to) {
			break
		}
		if err := m.step(x); err != nil || m.ended {
			return *own, err
		}
	}
	return *own, m.tick(to)
}

// simulation is rules that are followed together; the last is the one whose events are told.
type simulation struct {
	rules  []*Rule
	states []State
	each   func(Event) bool
	ended  bool
}

// prime has x be seen.
func (m *simulation) see(x Sample) {
	for i, r := range m.rules {
		if r.refersTo(x.SensorID) {
			m.states[i] = m.states[i].WithNewest(r, x)
		}
	}
}

// step gives x to those that look at its sensor. One that fails is marked.
func (m *simulation) step(x Sample) error {
	if len(m.rules) > 1 || m.rules[0].Kind == NoData { // else Step does it
		// what ends at the very instant is x's to decide
		if err := m.tick(x.At.Add(-1)); err != nil {
			return err
		}
	}
	for i, r := range m.rules {
		next, events, err := Step(r, m.states[i], x, x.At)
		if err != nil {
			next, events, err = Apply(r, next, Command{Kind: MarkFaulted, Comment: err.Error()},
				x.At)
		}
		if err == nil {
			err = m.advance(i, next, events, x.At)
		}
		if err != nil {
			return fmt.Errorf("simulate: %w", err)
		}
	}
	return nil
}

// tick fires the timers that end by to, in order of time.
func (m *simulation) tick(to time.Time) error {
	for !m.ended {
		first, at := -1, to
		for i, r := range m.rules {
			if due := m.states[i].Due(r); !due.IsZero() &&
				(due.Before(at) || first < 0 && due.Equal(at)) {
				first, at = i, due
			}
		}
		if first < 0 {
			return nil
		}
		next, events, err := Tick(m.rules[first], m.states[first], at)
		if err == nil {
			err = m.advance(first, next, events, at)
		}
		if err != nil {
			return fmt.Errorf("simulate: %w", err)
		}
	}
	return nil
}

// move gives a rule its next state and, when its alarm begins or ends to be a cause, tells those it
// suppresses.
func (m *simulation) advance(i int, next State, events []Event, at time.Time) error {
	was := m.states[i].IsCause()
	m.states[i] = next
	if i == len(m.rules)-1 {
		for _, e := range events {
			if m.ended = m.ended || !m.each(e); m.ended {
				return nil
			}
		}
	}
	is := next.IsCause()
	if is == was {
		return nil
	}
	c := Command{Kind: Unsuppress, Cause: m.rules[i].ID}
	if is {
		c.Kind = Suppress
	}
	for d, r := range m.rules {
		if !slices.Contains(r.SuppressedBy, c.Cause) {
			continue
		}
		next, events, err := Apply(r, m.states[d], c, at)
		if err != nil {
			return err
		}
		if err := m.advance(d, next, events, at); err != nil {
			return err
		}
	}
	return nil
}

// Notice says whether people are to be told of an event: the alarm wants attention, wants it again,
// or no longer needs it, and is neither shelved nor suppressed nor out of service.
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
