package store

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
)

// maxFaultReason is how many bytes of an error say why a rule is faulted.
const maxFaultReason = 500

// steps are alarms that a transaction moves. Whoever moves the state of an alarm holds, until it
// commits, latest of all sensors that the alarm looks at, and gives it another stamp: so a batch,
// which moves latest anyway, knows by timestamp and stamp whether the states are as it has left
// them, and need not read nor lock them. Of a sensor that has no latest yet the state itself is
// locked. Locks are taken in this order, so that no two transactions wait for each other in a
// circle: latest, in order of sensor; states, in order of id; the log.
type evaluator struct {
	rules  *ruleSet
	alarms map[int64]*evaluation
	events []AlarmEvent
	stamp  int64         // for latest
	moved  []movedSensor // by this transaction, in order

	evaluations, maxEvaluations int           // see spend
	timeout                     time.Duration // of the evaluations
}

// step is one of them.
type evaluation struct {
	rule    *alarm.Rule
	version int64 // of the row
	before  alarm.State
	state   alarm.State
	due     bool // it was, so that its next time has to be written
	written bool
}

func newEvaluator(rules *ruleSet) *evaluator {
	return &evaluator{
		rules:          rules,
		alarms:         map[int64]*evaluation{},
		stamp:          rand.Int64(),
		maxEvaluations: math.MaxInt,
	}
}

// evaluateAlarms steps the alarms that look at the sensors of the rows that are new, in order of time.
// m has those that are linked.
func (b *batch) evaluateAlarms(
	ctx context.Context, tx *sqlx.Tx, m *evaluator, kept *stateCache, now time.Time,
) error {
	if err := m.loadUnlinked(ctx, tx, kept.take(m.moved, m.rules), now); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, m.timeout, ErrOverload)
	defer cancel()
	rest, err := m.evaluateCached(ctx, b, now)
	if err != nil {
		return err
	}
	slices.SortFunc(rest, func(x, y row) int {
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.sensor, y.sensor),
			cmp.Compare(x.micros, y.micros))
	})
	for _, r := range rest {
		if err := m.evaluateReading(ctx, sample(b.readings[r.reading]), now); err != nil {
			return err
		}
	}
	return nil
}

// evaluateCached steps what is kept with the rows that change nothing that has to be written, which are
// nearly all, and returns the others.
func (m *evaluator) evaluateCached(ctx context.Context, b *batch, now time.Time) (rest []row, err error) {
	moved := m.moved
	var last int64
	var kept *cachedSensor // nil: all that come of the sensor are returned
	watched := false
	for _, r := range b.inOrder() {
		if r.sensor != last {
			last, kept = r.sensor, nil
			for len(moved) > 0 && moved[0].sensor < last {
				moved = moved[1:]
			}
			if len(moved) > 0 && moved[0].sensor == last &&
				(!m.rules.hasLinked || len(moved[0].unlinked) == len(m.rules.bySensor[last])) {
				kept = moved[0].kept
			}
			watched = kept != nil || len(m.rules.bySensor[last]) > 0
		}
		if !watched || b.outcomes[r.reading] != Stored {
			continue
		}
		if kept != nil {
			if err := m.spend(ctx, len(kept.alarms)); err != nil {
				return nil, err
			}
			if kept.step(sample(b.readings[r.reading]), now) {
				continue
			}
		}
		kept, rest = nil, append(rest, r)
	}
	return rest, nil
}

func (m *evaluator) alarmIDs() []int64 {
	ids := make([]int64, 0, len(m.alarms))
	for id := range m.alarms {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// sample steps all alarms that look at x's sensor. A rule that fails is marked and holds up
// nothing.
func (m *evaluator) evaluateReading(ctx context.Context, x alarm.Sample, now time.Time) error {
	ids := m.rules.bySensor[x.SensorID]
	if err := m.spend(ctx, len(ids)); err != nil {
		return err
	}
	for _, id := range ids {
		p := m.alarms[id]
		if p == nil {
			if p = m.takeCached(x.SensorID, id); p == nil {
				continue
			}
			m.alarms[id] = p
		}
		next, events, err := alarm.Step(p.rule, p.state, x, now)
		if err := m.advance(id, next, events, now); err != nil {
			return err
		}
		if err != nil {
			if err := m.markFaulted(id, err, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// tick fires the timers of an alarm that have ended.
func (m *evaluator) fireTimers(id int64, now time.Time) error {
	p := m.alarms[id]
	next, events, err := alarm.Tick(p.rule, p.state, now)
	if err := m.advance(id, next, events, now); err != nil {
		return err
	}
	if err != nil {
		return m.markFaulted(id, err, now)
	}
	return nil
}

// fault marks an alarm whose rule has failed with err.
func (m *evaluator) markFaulted(id int64, err error, now time.Time) error {
	reason := strings.ReplaceAll(strings.ToValidUTF8(err.Error(), "?"), "\x00", "?")
	if len(reason) > maxFaultReason {
		reason = strings.ToValidUTF8(reason[:maxFaultReason], "")
	}
	return m.apply(id, alarm.Command{Kind: alarm.MarkFaulted, Comment: reason}, now)
}

// apply carries out a command, at an instant that the columns can keep.
func (m *evaluator) apply(id int64, c alarm.Command, now time.Time) error {
	p := m.alarms[id]
	next, events, err := alarm.Apply(p.rule, p.state, c, now.UTC().Truncate(time.Microsecond))
	if err != nil {
		return err
	}
	return m.advance(id, next, events, now)
}

// move gives an alarm its next state and, when it begins or ends to be a cause, tells those it
// suppresses.
func (m *evaluator) advance(id int64, next alarm.State, events []alarm.Event, now time.Time) error {
	p := m.alarms[id]
	was := p.state.IsCause()
	p.state = next
	m.evaluations += eventCost * len(events)
	for _, e := range events {
		m.events = append(m.events, AlarmEvent{
			At:           e.At,
			AlarmID:      id,
			SensorID:     p.rule.SensorID,
			GatewayID:    m.rules.gateways[id],
			Occurrence:   e.Occurrence,
			StateVersion: e.StateVersion,
			RuleVersion:  e.RuleVersion,
			Kind:         string(e.Kind),
			Before:       e.Before.Name(),
			After:        e.After.Name(),
			Level:        string(e.Level),
			Severity:     string(e.Severity),
			Value:        e.Value,
			Message:      e.Message,
			User:         e.User,
			Comment:      e.Comment, Quiet: e.Quiet,
		})
	}
	if is := next.IsCause(); is != was {
		c := alarm.Command{Kind: alarm.Unsuppress, Cause: id}
		if is {
			c.Kind = alarm.Suppress
		}
		if at := events[len(events)-1].At; at.Before(now) { // when it turned
			now = at
		}
		for _, d := range m.rules.suppresses[id] {
			if m.alarms[d] == nil {
				continue
			}
			if err := m.apply(d, c, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes the states that have changed and the events; nothing may be locked after it.
func (m *evaluator) write(ctx context.Context, tx *sqlx.Tx) error {
	var changed []int64
	for _, id := range m.alarmIDs() {
		if p := m.alarms[id]; p.due || alarm.Changed(&p.before, &p.state) {
			changed = append(changed, id)
		}
	}
	if err := m.writeStates(ctx, tx, changed); err != nil {
		return err
	}
	return addAlarmEvents(ctx, tx, m.events)
}

// sample is r as alarms see it, at its effective time.
func sample(r Reading) alarm.Sample {
	received := r.receipt().Truncate(time.Microsecond) // as latest keeps it
	return alarm.Sample{
		SensorID: r.SensorID,
		At:       earlier(r.Timestamp, received).UTC(),
		Skew:     r.Timestamp.Sub(received),
		Value:    r.Value,
		Quality:  alarm.Quality(r.Quality),
	}
}
