package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
)

// mostReason is how many bytes of an error say why a rule is faulted.
const mostReason = 500

// errOldRules is a transaction that met a state made by a newer rule than it knows.
var errOldRules = errors.New("an alarm's rule has changed")

// steps are alarms whose state a transaction has locked and moves. Locks are taken in this order, each in order of id, so that
// no two transactions wait for each other in a circle: states, latest, the log.
type steps struct {
	rules  *ruleSet
	alarms map[int64]*step
	events []AlarmEvent
}

// step is one of them.
type step struct {
	rule    *alarm.Rule
	version int64 // of the row
	before  alarm.State
	state   alarm.State
	due     bool // it was, so that its next time has to be written
}

// withRules runs f in a transaction with the rules that are known here, and again with newer ones when they have changed.
func (s *Store) withRules(ctx context.Context, db *sqlx.DB, f func(*sqlx.Tx, *ruleSet) error) error {
	rules, err := s.ruleSet(ctx)
	for range 5 {
		if err != nil {
			return err
		}
		err = tx(ctx, db, func(tx *sqlx.Tx) error { return f(tx, rules) })
		if !errors.Is(err, errOldRules) {
			return err
		}
		rules, err = s.newestRules(ctx)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, errOldRules)
}

// stepAlarms steps the alarms that look at the sensors of the rows that are new, in order of time; nil when there are none.
func (b *batch) stepAlarms(ctx context.Context, tx *sqlx.Tx, rules *ruleSet) (*steps, error) {
	if len(rules.byID) == 0 {
		return nil, nil
	}
	var ids []int64
	var fresh []int
	last := int64(0)
	for _, r := range b.rows {
		i, sensor := r.reading, r.sensor
		if b.outcomes[i] != Stored || len(rules.bySensor[sensor]) == 0 {
			continue
		}
		if fresh = append(fresh, i); sensor != last {
			ids, last = append(ids, rules.bySensor[sensor]...), sensor
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	now := time.Now()
	m, err := lockAlarms(ctx, tx, rules, rules.with(ids), false, now)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(fresh, func(i, j int) int { return b.readings[i].Timestamp.Compare(b.readings[j].Timestamp) })
	for _, i := range fresh {
		if err := m.sample(sample(b.readings[i]), now); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// lockAlarms locks the states of ids, which are in order; those that somebody else has locked are left out when skipLocked is set.
func lockAlarms(ctx context.Context, tx *sqlx.Tx, rules *ruleSet, ids []int64, skipLocked bool, now time.Time) (*steps, error) {
	m := &steps{rules: rules, alarms: make(map[int64]*step, len(ids))}
	q := `SELECT alarm_id, version, rule_version, memory FROM alarm_states WHERE alarm_id = ANY ($1::int[]) ORDER BY alarm_id FOR UPDATE`
	if skipLocked {
		q += ` SKIP LOCKED`
	}
	rows, err := tx.QueryContext(ctx, q, int32s(ids))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id, version, ruleVersion int64
		var memory []byte
		if err := rows.Scan(&id, &version, &ruleVersion, &memory); err != nil {
			return nil, err
		}
		p := &step{rule: rules.byID[id], version: version}
		if err := json.Unmarshal(memory, &p.state); err != nil {
			return nil, err
		}
		if ruleVersion > p.rule.Version {
			return nil, errOldRules
		}
		m.alarms[id] = p
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if err := m.recall(ctx, tx); err != nil {
		return nil, err
	}
	return m, m.follow(now)
}

// recall gives each state the newest readings of its sensors: those before this transaction's.
func (m *steps) recall(ctx context.Context, tx *sqlx.Tx) error {
	ids := make([]int64, 0, len(m.alarms))
	for id := range m.alarms {
		ids = append(ids, id)
	}
	const q = `
		SELECT sensor_id, timestamp, coalesce(value, 'NaN'), quality
		FROM latest
		WHERE sensor_id = ANY ($1::int[])`
	rows, err := tx.QueryContext(ctx, q, int32s(m.rules.sensors(ids)))
	if err != nil {
		return err
	}
	defer rows.Close()
	newest := make(map[int64]alarm.Sample, len(ids))
	for rows.Next() {
		var x alarm.Sample
		if err := rows.Scan(&x.SensorID, &x.At, &x.Value, &x.Quality); err != nil {
			return err
		}
		x.At = x.At.UTC()
		newest[x.SensorID] = x
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, p := range m.alarms {
		for _, sensor := range p.rule.Sensors() {
			if x, ok := newest[sensor]; ok {
				p.state = p.state.Saw(p.rule, x)
			}
		}
		p.before = p.state
	}
	return nil
}

// follow tells those whose rule has changed since.
func (m *steps) follow(now time.Time) error {
	for _, id := range m.ids() {
		if p := m.alarms[id]; p.state.RuleVersion != p.rule.Version {
			if err := m.apply(id, alarm.Command{Kind: alarm.FollowRule}, now); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *steps) ids() []int64 {
	ids := make([]int64, 0, len(m.alarms))
	for id := range m.alarms {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// sample steps all alarms that look at x's sensor. A rule that fails is marked and holds up nothing.
func (m *steps) sample(x alarm.Sample, now time.Time) error {
	for _, id := range m.rules.bySensor[x.SensorID] {
		p := m.alarms[id]
		if p == nil {
			continue // deleted
		}
		next, events, err := alarm.Step(p.rule, p.state, x, now)
		if err := m.move(id, next, events, now); err != nil {
			return err
		}
		if err != nil {
			if err := m.fault(id, err, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// tick fires the timers of an alarm that have ended.
func (m *steps) tick(id int64, now time.Time) error {
	p := m.alarms[id]
	next, events, err := alarm.Tick(p.rule, p.state, now)
	if err := m.move(id, next, events, now); err != nil {
		return err
	}
	if err != nil {
		return m.fault(id, err, now)
	}
	return nil
}

// fault marks an alarm whose rule has failed with err.
func (m *steps) fault(id int64, err error, now time.Time) error {
	reason := strings.ReplaceAll(strings.ToValidUTF8(err.Error(), "?"), "\x00", "?")
	if len(reason) > mostReason {
		reason = strings.ToValidUTF8(reason[:mostReason], "")
	}
	return m.apply(id, alarm.Command{Kind: alarm.MarkFaulted, Comment: reason}, now)
}

// apply carries out a command, at an instant that the columns can keep.
func (m *steps) apply(id int64, c alarm.Command, now time.Time) error {
	p := m.alarms[id]
	next, events, err := alarm.Apply(p.rule, p.state, c, now.UTC().Truncate(time.Microsecond))
	if err != nil {
		return err
	}
	return m.move(id, next, events, now)
}

// move gives an alarm its next state and, when it begins or ends to be a cause, tells those it suppresses.
func (m *steps) move(id int64, next alarm.State, events []alarm.Event, now time.Time) error {
	p := m.alarms[id]
	was := p.state.IsCause()
	p.state = next
	for _, e := range events {
		m.events = append(m.events, AlarmEvent{
			At: e.At, AlarmID: id, SensorID: p.rule.SensorID, GatewayID: m.rules.gateways[id], Occurrence: e.Occurrence,
			Version: e.Version, RuleVersion: e.RuleVersion, Kind: string(e.Kind), Before: e.Before.Name(), After: e.After.Name(),
			Level: string(e.Level), Severity: string(e.Severity), Value: e.Value, Message: e.Message, User: e.User,
			Comment: e.Comment, Quiet: e.Quiet,
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
func (m *steps) write(ctx context.Context, tx *sqlx.Tx) error {
	var changed []int64
	for _, id := range m.ids() {
		if p := m.alarms[id]; p.due || alarm.Changed(&p.before, &p.state) {
			changed = append(changed, id)
		}
	}
	if err := m.writeStates(ctx, tx, changed); err != nil {
		return err
	}
	return addAlarmEvents(ctx, tx, m.events)
}

func sample(r Reading) alarm.Sample {
	return alarm.Sample{SensorID: r.SensorID, At: r.Timestamp.UTC(), Value: r.Value, Quality: alarm.Quality(r.Quality)}
}
