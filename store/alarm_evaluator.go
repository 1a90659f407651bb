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

// maxFaultReason is how many bytes of an error are kept as the reason why a rule is faulted.
const maxFaultReason = 500

// evaluator evaluates the alarms of one transaction. It collects their new states and events and
// writes them at the end.
//
// A transaction that changes the state of an alarm locks, until it commits, the rows of latest of
// all sensors that the alarm refers to, and gives them a new stamp. A batch of readings updates
// these rows anyway: when it finds the timestamp and the stamp that an earlier batch of this
// instance has left, the cached states are current, and it need neither read nor lock them. When a
// sensor has no row in latest yet, the state itself is locked.
//
// Locks are taken in this order, so that transactions do not deadlock: latest by sensor, states by
// alarm, the log.
type evaluator struct {
	rules  *ruleSet
	alarms map[int64]*evaluation
	events []AlarmEvent
	stamp  int64         // for latest
	moved  []movedSensor // sensors whose latest this transaction has moved, in order

	evaluations, maxEvaluations int           // see spend
	timeout                     time.Duration // of the evaluations
}

// evaluation is an alarm that the evaluator has loaded.
type evaluation struct {
	rule       *alarm.Rule
	rowVersion int64 // of the row in alarm_states
	before     alarm.State
	state      alarm.State
	due        bool // a timer was due, so its next time has to be written
	written    bool
}

func newEvaluator(rules *ruleSet) *evaluator {
	return &evaluator{
		rules:          rules,
		alarms:         map[int64]*evaluation{},
		stamp:          rand.Int64(),
		maxEvaluations: math.MaxInt,
	}
}

// evaluateAlarms evaluates the alarms of the new rows' sensors in order of time. ev has already
// loaded the linked ones.
func (b *batch) evaluateAlarms(
	ctx context.Context, tx *sqlx.Tx, ev *evaluator, states *stateCache, now time.Time,
) error {
	if err := ev.loadUnlinked(ctx, tx, states.take(ev.moved, ev.rules), now); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, ev.timeout, ErrOverload)
	defer cancel()
	rest, err := ev.evaluateCached(ctx, b, now)
	if err != nil {
		return err
	}
	slices.SortFunc(rest, func(x, y row) int {
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.sensor, y.sensor),
			cmp.Compare(x.micros, y.micros))
	})
	for _, r := range rest {
		if err := ev.evaluateReading(ctx, sample(b.readings[r.reading]), now); err != nil {
			return err
		}
	}
	return nil
}

// evaluateCached evaluates the cached states with the rows that change nothing that has to be
// written, which are nearly all, and returns the other rows. After the first of these all later
// rows of its sensor are returned.
func (ev *evaluator) evaluateCached(
	ctx context.Context, b *batch, now time.Time,
) (rest []row, err error) {
	moved := ev.moved
	var last int64
	var cached *cachedSensor // nil: all later rows of the sensor are returned
	hasAlarms := false
	for _, r := range b.byEffectiveTime() {
		if r.sensor != last {
			last, cached = r.sensor, nil
			for len(moved) > 0 && moved[0].sensor < last {
				moved = moved[1:]
			}
			if len(moved) > 0 && moved[0].sensor == last &&
				(!ev.rules.hasLinked || len(moved[0].unlinked) == len(ev.rules.bySensor[last])) {
				cached = moved[0].cached
			}
			hasAlarms = cached != nil || len(ev.rules.bySensor[last]) > 0
		}
		if !hasAlarms || b.outcomes[r.reading] != Stored {
			continue
		}
		if cached != nil {
			if err := ev.spend(ctx, len(cached.alarms)); err != nil {
				return nil, err
			}
			if cached.evaluate(sample(b.readings[r.reading]), now) {
				continue
			}
		}
		cached, rest = nil, append(rest, r)
	}
	return rest, nil
}

func (ev *evaluator) alarmIDs() []int64 {
	ids := make([]int64, 0, len(ev.alarms))
	for id := range ev.alarms {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// evaluateReading evaluates all alarms of x's sensor. An alarm whose rule fails is marked as
// faulted; the others go on.
func (ev *evaluator) evaluateReading(ctx context.Context, x alarm.Sample, now time.Time) error {
	ids := ev.rules.bySensor[x.SensorID]
	if err := ev.spend(ctx, len(ids)); err != nil {
		return err
	}
	for _, id := range ids {
		p := ev.alarms[id]
		if p == nil {
			if p = ev.takeCached(x.SensorID, id); p == nil {
				continue
			}
			ev.alarms[id] = p
		}
		next, events, err := alarm.Step(p.rule, p.state, x, now)
		if err := ev.advanceOrFault(id, next, events, err, now); err != nil {
			return err
		}
	}
	return nil
}

// fireTimers fires the timers of an alarm that are due.
func (ev *evaluator) fireTimers(id int64, now time.Time) error {
	p := ev.alarms[id]
	next, events, err := alarm.Tick(p.rule, p.state, now)
	return ev.advanceOrFault(id, next, events, err, now)
}

// advanceOrFault advances an alarm to its next state, and marks it as faulted when its rule has
// failed with failure.
func (ev *evaluator) advanceOrFault(
	id int64, next alarm.State, events []alarm.Event, failure error, now time.Time,
) error {
	if err := ev.advance(id, next, events, now); err != nil || failure == nil {
		return err
	}
	reason := strings.ReplaceAll(strings.ToValidUTF8(failure.Error(), "?"), "\x00", "?")
	if len(reason) > maxFaultReason {
		reason = strings.ToValidUTF8(reason[:maxFaultReason], "")
	}
	return ev.apply(id, alarm.Command{Kind: alarm.MarkFaulted, Comment: reason}, now)
}

// apply carries out a command, at now in the precision of the database.
func (ev *evaluator) apply(id int64, c alarm.Command, now time.Time) error {
	p := ev.alarms[id]
	next, events, err := alarm.Apply(p.rule, p.state, c, now.UTC().Truncate(time.Microsecond))
	if err != nil {
		return err
	}
	return ev.advance(id, next, events, now)
}

// advance gives an alarm its next state and collects its events. When the alarm starts or stops
// being a cause, advance suppresses or unsuppresses the alarms that name it in suppressed_by.
func (ev *evaluator) advance(
	id int64, next alarm.State, events []alarm.Event, now time.Time,
) error {
	p := ev.alarms[id]
	wasCause := p.state.IsCause()
	p.state = next
	ev.evaluations += eventCost * len(events)
	for _, e := range events {
		ev.events = append(ev.events, ev.eventOf(id, e))
	}
	isCause := next.IsCause()
	if isCause == wasCause {
		return nil
	}
	c := alarm.Command{Kind: alarm.Unsuppress, Cause: id}
	if isCause {
		c.Kind = alarm.Suppress
	}
	if at := events[len(events)-1].At; at.Before(now) { // when it became so
		now = at
	}
	for _, suppressed := range ev.rules.suppresses[id] {
		if ev.alarms[suppressed] == nil {
			continue
		}
		if err := ev.apply(suppressed, c, now); err != nil {
			return err
		}
	}
	return nil
}

// eventOf returns e as it is stored for the alarm id.
func (ev *evaluator) eventOf(id int64, e alarm.Event) AlarmEvent {
	return AlarmEvent{
		At:           e.At,
		AlarmID:      id,
		SensorID:     ev.alarms[id].rule.SensorID,
		GatewayID:    ev.rules.gateways[id],
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
		Comment:      e.Comment,
		Quiet:        e.Quiet,
	}
}

// write writes the states that have changed and the events. The transaction must take no lock after
// it.
func (ev *evaluator) write(ctx context.Context, tx *sqlx.Tx) error {
	var changed []int64
	for _, id := range ev.alarmIDs() {
		if p := ev.alarms[id]; p.due || alarm.Changed(&p.before, &p.state) {
			changed = append(changed, id)
		}
	}
	if err := ev.writeStates(ctx, tx, changed); err != nil {
		return err
	}
	return addAlarmEvents(ctx, tx, ev.events)
}

// sample returns r as alarms see it, at its effective time.
func sample(r Reading) alarm.Sample {
	received := r.receivedTime().Truncate(time.Microsecond) // as latest keeps it
	return alarm.Sample{
		SensorID: r.SensorID,
		At:       earlier(r.Timestamp, received).UTC(),
		Skew:     r.Timestamp.Sub(received),
		Value:    r.Value,
		Quality:  alarm.Quality(r.Quality),
	}
}
