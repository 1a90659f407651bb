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

// withRules runs f in a transaction of db with the newest rules and returns its result. Every
// instance reads the rules anew for each transaction, so that a reading that arrives after the
// answer to a change of a rule is evaluated by the changed rule. The transaction is repeated when
// it fails with errRetry; f must not keep anything from one run to the next.
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

// lockAlarms locks and reads the alarms ids, which are in order. Those that somebody else holds are
// left out when skipLocked is set.
func lockAlarms(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, ids []int64, skipLocked bool, now time.Time,
) (*evaluator, error) {
	m := newEvaluator(rules)
	return m, m.lock(ctx, tx, ids, nil, skipLocked, now)
}

// lockLinked locks and reads the alarms of the rows that are new that do not stand alone, and
// latest of all these rows, in order.
func (b *batch) lockLinked(ctx context.Context, tx *sqlx.Tx, m *evaluator, now time.Time) error {
	if !m.rules.hasLinked {
		return nil
	}
	var ids, sensors []int64
	for _, r := range b.rows {
		if b.outcomes[r.reading] != Stored || len(sensors) > 0 &&
			sensors[len(sensors)-1] == r.sensor {
			continue
		}
		sensors = append(sensors, r.sensor)
		if all := m.rules.bySensor[r.sensor]; len(m.rules.unlinked[r.sensor]) < len(all) {
			for _, id := range all {
				if m.rules.isLinked(m.rules.byID[id]) {
					ids = append(ids, id)
				}
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return m.lock(ctx, tx, m.rules.withSuppressed(ids), sensors, false, now)
}

func (m *evaluator) lock(
	ctx context.Context, tx *sqlx.Tx, ids, sensors []int64, skipLocked bool, now time.Time,
) error {
	held, err := lockLatest(ctx, tx, append(m.rules.sensorsOf(ids), sensors...), skipLocked)
	if err != nil {
		return err
	}
	if err := m.loadStates(ctx, tx, ids, skipLocked); err != nil {
		return err
	}
	if err := m.addNewest(ctx, tx, held, skipLocked); err != nil {
		return err
	}
	return m.followRules(ids, now)
}

// lockLatest locks what sensors have of latest, and returns which have.
func lockLatest(
	ctx context.Context, tx *sqlx.Tx, sensors []int64, skipLocked bool,
) (map[int64]bool, error) {
	q := `SELECT sensor_id FROM latest WHERE sensor_id = ANY ($1::int[]) ORDER BY sensor_id FOR NO KEY UPDATE`
	if skipLocked {
		q += ` SKIP LOCKED`
	}
	var list []int64
	if err := tx.SelectContext(ctx, &list, q, int32s(sensors)); err != nil {
		return nil, err
	}
	held := make(map[int64]bool, len(list))
	for _, id := range list {
		held[id] = true
	}
	return held, nil
}

// load locks and reads states, without the readings that they have seen.
func (m *evaluator) loadStates(ctx context.Context, tx *sqlx.Tx, ids []int64, skipLocked bool) error {
	q := `SELECT alarm_id, version, rule_version, memory FROM alarm_states WHERE alarm_id = ANY ($1::int[]) ORDER BY alarm_id FOR UPDATE`
	if skipLocked {
		q += ` SKIP LOCKED`
	}
	rows, err := tx.QueryContext(ctx, q, int32s(ids))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, version, ruleVersion int64
		var memory []byte
		if err := rows.Scan(&id, &version, &ruleVersion, &memory); err != nil {
			return err
		}
		p := &evaluation{rule: m.rules.byID[id], version: version}
		if err := json.Unmarshal(memory, &p.state); err != nil {
			return err
		}
		if ruleVersion > p.rule.Version {
			return errRetry
		}
		m.alarms[id] = p
	}
	return rows.Err()
}

// loadUnlinked reads the alarms that stand alone of sensors that this transaction has moved, and gives
// them the instants of the readings before: more of these they do not need.
func (m *evaluator) loadUnlinked(
	ctx context.Context, tx *sqlx.Tx, moved []movedSensor, now time.Time,
) error {
	if len(moved) == 0 {
		return nil
	}
	var ids []int64
	for _, v := range moved {
		ids = append(ids, m.rules.unlinked[v.sensor]...)
	}
	slices.Sort(ids)
	if err := m.loadStates(ctx, tx, ids, false); err != nil {
		return err
	}
	for _, v := range moved {
		for _, id := range m.rules.unlinked[v.sensor] {
			if p := m.alarms[id]; p != nil {
				if v.previous != series.Never {
					p.state.Last = v.before(p.rule)
				}
				p.before = p.state
			}
		}
	}
	return m.followRules(ids, now)
}

// recall gives each state the newest readings of its sensors: those before this transaction's. held
// are the sensors of which latest is locked; one that has it since then, or that somebody else
// holds, is not to be relied on.
func (m *evaluator) addNewest(
	ctx context.Context, tx *sqlx.Tx, held map[int64]bool, skipLocked bool,
) error {
	ids := m.alarmIDs()
	found, err := readNewest(ctx, tx, m.rules.sensorsOf(ids))
	if err != nil {
		return err
	}
	for sensor := range found {
		if !held[sensor] && !skipLocked {
			return errRetry
		}
	}
	for _, id := range ids {
		p := m.alarms[id]
		for _, sensor := range p.rule.Sensors() {
			if _, there := found[sensor]; there && !held[sensor] {
				delete(m.alarms, id)
			}
		}
		p.state = found.tell(p.rule, p.state)
		p.before = p.state
	}
	return nil
}

// follow tells those of ids whose rule has changed since.
func (m *evaluator) followRules(ids []int64, now time.Time) error {
	for _, id := range ids {
		if p := m.alarms[id]; p != nil && p.state.RuleVersion != p.rule.Version {
			if err := m.apply(id, alarm.Command{Kind: alarm.FollowRule}, now); err != nil {
				return err
			}
		}
	}
	return nil
}
