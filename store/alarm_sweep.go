package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"
)

// mostDue is how many alarms are swept in one transaction.
const mostDue = 200

// SweepAlarms fires what is due at now without a reading: delays that have ended, silence, shelves,
// reminders. Several instances share the work. It returns how many events that made.
func (s *Store) SweepAlarms(ctx context.Context, now time.Time) (made int, err error) {
	for after := int64(0); ; {
		events, last, err := s.sweepSome(ctx, now, after)
		if err != nil {
			return made, explain("sweep alarms", err)
		}
		made += events
		if last == 0 {
			return made, nil
		}
		after = last
	}
}

// sweepSome sweeps alarms with an id above after and returns the last one's; 0 when none is left.
// An alarm that is held by somebody, or suppresses one that is, is left for the next time.
func (s *Store) sweepSome(
	ctx context.Context, now time.Time, after int64,
) (events int, last int64, err error) {
	err = s.withRules(ctx, s.ingest, func(tx *sqlx.Tx, rules *ruleSet) error {
		events, last = 0, 0
		var due []int64
		const q = `
			SELECT alarm_id
			FROM alarm_states
			WHERE due_at <= $1 AND alarm_id > $2
			ORDER BY alarm_id
			LIMIT $3
			FOR UPDATE SKIP LOCKED`
		if err := tx.SelectContext(ctx, &due, q, now, after, mostDue); err != nil || len(due) == 0 {
			return err
		}
		last = due[len(due)-1]
		ids := rules.with(due)
		m, err := lockAlarms(ctx, tx, rules, ids, true, now)
		if err != nil {
			return err
		}
		for _, id := range due {
			if !m.hasAll(rules.with([]int64{id})) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			p := m.alarms[id]
			p.state, p.due = s.away().excuse(p.rule, p.state), true
			if err := m.tick(id, now); err != nil {
				return err
			}
		}
		events = len(m.events)
		return m.write(ctx, tx)
	})
	return events, last, err
}

func (m *steps) hasAll(ids []int64) bool {
	for _, id := range ids {
		if m.alarms[id] == nil {
			return false
		}
	}
	return len(ids) > 0
}
