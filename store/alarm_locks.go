package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/series"
)

// errRetry means that the transaction must be repeated with newer rules: it met a rule or a state
// that another transaction has changed since the rules were read.
var errRetry = errors.New("an alarm has changed meanwhile")

// maxRetries is how often withRules repeats a transaction.
const maxRetries = 4

// withRules runs f in a transaction of db with the newest rules and returns its result. Each
// transaction checks that its rules are the newest, so that a reading that arrives after the answer
// to a change of a rule is evaluated by the changed rule, at every instance. The transaction is
// repeated when it fails with errRetry; f must not keep anything from one run to the next.
func withRules[T any](
	ctx context.Context, s *Store, db *sqlx.DB, f func(*sqlx.Tx, *ruleSet) (T, error),
) (result T, err error) {
	for retry := 0; ; retry++ {
		rules, err := s.newestRules(ctx)
		if err != nil {
			return result, err
		}
		t, err := db.BeginTxx(ctx, nil)
		if err != nil {
			return result, err
		}
		result, err = f(t, rules)
		err = finish(t, err)
		if !errors.Is(err, errRetry) {
			return result, err
		}
		if retry == maxRetries {
			return result, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

// lockAlarms locks and loads the alarms ids, which are in order. With skipLocked it leaves out the
// alarms that another transaction has locked.
func lockAlarms(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, ids []int64, skipLocked bool, now time.Time,
) (*evaluator, error) {
	ev := newEvaluator(rules)
	return ev, ev.lock(ctx, tx, ids, nil, skipLocked, now)
}

// lockLinked locks and loads the linked alarms of the new rows, and locks latest of all new rows,
// in order. Without linked alarms it does nothing.
func (b *batch) lockLinked(ctx context.Context, tx *sqlx.Tx, ev *evaluator, now time.Time) error {
	if !ev.rules.hasLinked {
		return nil
	}
	var ids, sensors []int64
	for _, r := range b.rows {
		isRepeated := len(sensors) > 0 && sensors[len(sensors)-1] == r.sensor
		if b.outcomes[r.reading] != Stored || isRepeated {
			continue
		}
		sensors = append(sensors, r.sensor)
		all := ev.rules.bySensor[r.sensor]
		if len(ev.rules.unlinked[r.sensor]) == len(all) {
			continue
		}
		for _, id := range all {
			if ev.rules.isLinked(ev.rules.byID[id]) {
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return ev.lock(ctx, tx, ev.rules.withSuppressed(ids), sensors, false, now)
}

// lock locks latest of the sensors of the alarms ids and of sensors, and locks and loads the
// alarms.
func (ev *evaluator) lock(
	ctx context.Context, tx *sqlx.Tx, ids, sensors []int64, skipLocked bool, now time.Time,
) error {
	locked, err := lockLatest(ctx, tx, append(ev.rules.sensorsOf(ids), sensors...), skipLocked)
	if err != nil {
		return err
	}
	if err := ev.loadStates(ctx, tx, ids, skipLocked); err != nil {
		return err
	}
	if err := ev.addNewest(ctx, tx, locked, skipLocked); err != nil {
		return err
	}
	return ev.followRules(ids, now)
}

// lockLatest locks the rows that sensors have in latest, and returns the sensors that have one.
func lockLatest(
	ctx context.Context, tx *sqlx.Tx, sensors []int64, skipLocked bool,
) (map[int64]bool, error) {
	q := `
		SELECT sensor_id
		FROM latest
		WHERE sensor_id = ANY ($1::int[])
		ORDER BY sensor_id
		FOR NO KEY UPDATE`
	if skipLocked {
		q += ` SKIP LOCKED`
	}
	var ids []int64
	if err := tx.SelectContext(ctx, &ids, q, int32s(sensors)); err != nil {
		return nil, err
	}
	locked := make(map[int64]bool, len(ids))
	for _, id := range ids {
		locked[id] = true
	}
	return locked, nil
}

// loadStates locks and reads the states of the alarms ids, which lack the newest readings.
func (ev *evaluator) loadStates(
	ctx context.Context, tx *sqlx.Tx, ids []int64, skipLocked bool,
) error {
	q := `
		SELECT alarm_id, version, rule_version, memory
		FROM alarm_states
		WHERE alarm_id = ANY ($1::int[])
		ORDER BY alarm_id
		FOR UPDATE`
	if skipLocked {
		q += ` SKIP LOCKED`
	}
	rows, err := tx.QueryContext(ctx, q, int32s(ids))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, rowVersion, ruleVersion int64
		var state []byte
		if err := rows.Scan(&id, &rowVersion, &ruleVersion, &state); err != nil {
			return err
		}
		p := &evaluation{rule: ev.rules.byID[id], rowVersion: rowVersion}
		if err := json.Unmarshal(state, &p.state); err != nil {
			return err
		}
		if ruleVersion > p.rule.Version {
			return errRetry
		}
		ev.alarms[id] = p
	}
	return rows.Err()
}

// loadUnlinked loads the unlinked alarms of sensors that this transaction has moved. Of the
// previous newest readings they need only the instants.
func (ev *evaluator) loadUnlinked(
	ctx context.Context, tx *sqlx.Tx, moved []movedSensor, now time.Time,
) error {
	if len(moved) == 0 {
		return nil
	}
	var ids []int64
	for _, v := range moved {
		ids = append(ids, ev.rules.unlinked[v.sensor]...)
	}
	slices.Sort(ids)
	if err := ev.loadStates(ctx, tx, ids, false); err != nil {
		return err
	}
	for _, v := range moved {
		for _, id := range ev.rules.unlinked[v.sensor] {
			p := ev.alarms[id]
			if p == nil {
				continue
			}
			if v.previous != series.Never {
				p.state.Last = v.previousSample(p.rule)
			}
			p.before = p.state
		}
	}
	return ev.followRules(ids, now)
}

// addNewest gives each state the newest readings of its sensors before this transaction's. locked
// are the sensors whose latest is locked. A sensor that has a row which is not locked got it after
// the locks were taken, or another transaction holds it: then the transaction is repeated or, with
// skipLocked, the alarm left out.
func (ev *evaluator) addNewest(
	ctx context.Context, tx *sqlx.Tx, locked map[int64]bool, skipLocked bool,
) error {
	ids := ev.alarmIDs()
	newest, err := readNewest(ctx, tx, ev.rules.sensorsOf(ids))
	if err != nil {
		return err
	}
	for sensor := range newest {
		if !locked[sensor] && !skipLocked {
			return errRetry
		}
	}
	for _, id := range ids {
		p := ev.alarms[id]
		for _, sensor := range p.rule.Sensors() {
			if _, exists := newest[sensor]; exists && !locked[sensor] {
				delete(ev.alarms, id)
			}
		}
		p.state = newest.addTo(p.state, p.rule)
		p.before = p.state
	}
	return nil
}

// followRules carries those of the alarms ids over to their rule whose state was made by an earlier
// version of it.
func (ev *evaluator) followRules(ids []int64, now time.Time) error {
	for _, id := range ids {
		if p := ev.alarms[id]; p != nil && p.state.RuleVersion != p.rule.Version {
			if err := ev.apply(id, alarm.Command{Kind: alarm.FollowRule}, now); err != nil {
				return err
			}
		}
	}
	return nil
}
