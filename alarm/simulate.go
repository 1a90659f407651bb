package alarm

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// ErrOrder means that the readings to simulate are not in order of time.
var ErrOrder = errors.New("readings are not in order of time")

// Simulate evaluates a compiled rule on readings of its sensors, oldest first, as Step, Tick and
// Apply would have done from from on, and returns the state at to. Timers fire at their own
// instants, in order with the readings. Simulate calls each with the events, in order, until it
// returns false. Readings before from are the newest ones at the beginning, and are not compared; a
// reading from to on ends the simulation. It holds only the state, however many the readings. An
// error of the readings is returned as it is.
//
// causes are the rules of the alarms that may suppress the rule's, directly or through others, each
// before those that it suppresses. They are simulated too; readings includes those of their
// sensors. Commands of people, such as a reset, are not simulated.
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

// simulation is several rules that are simulated together; each is called with the events of the
// last.
type simulation struct {
	rules  []*Rule
	states []State
	each   func(Event) bool
	ended  bool
}

// see makes x the newest reading of its sensor.
func (m *simulation) see(x Sample) {
	for i, r := range m.rules {
		if r.refersTo(x.SensorID) {
			m.states[i] = m.states[i].WithNewest(r, x)
		}
	}
}

// step evaluates the rules of x's sensor with x. A rule that fails is marked as faulted.
func (m *simulation) step(x Sample) error {
	if len(m.rules) > 1 || m.rules[0].Kind == NoData { // otherwise Step fires the timers
		// x decides about delays that end at its very instant
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

// tick fires the timers that are due by to, in order of time.
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

// advance gives rule i its next state. When its alarm starts or stops being a cause, it suppresses
// or unsuppresses the alarms that name it.
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

// Notice reports whether people are to be notified of an event: the alarm needs attention, needs it
// again or no longer needs it, and is neither shelved nor suppressed nor out of service.
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
