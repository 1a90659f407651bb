package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"
)

// maxSwept is how many alarms one transaction sweeps.
const maxSwept = 200

// SweepAlarms fires the timers that are due at now: delays that have ended, silence, shelves and
// re-alarms. Several instances share the work. It returns how many events the timers made.
func (s *Store) SweepAlarms(ctx context.Context, now time.Time) (events int, err error) {
	for after := int64(0); ; {
		swept, err := withRules(ctx, s, s.ingest, func(tx *sqlx.Tx, rules *ruleSet) (swept, error) {
			return s.sweepAfter(ctx, tx, rules, after, now)
		})
		if err != nil {
			return events, explain("sweep alarms", err)
		}
		events += swept.events
		if swept.last == 0 {
			return events, nil
		}
		after = swept.last
	}
}

// swept is the result of one transaction of a sweep.
type swept struct {
	events int
	last   int64 // id of the last alarm that was due; 0: no alarm is left
}

// sweepAfter sweeps due alarms with an id above after. An alarm that another transaction has locked
// is left to the next sweep, and so is one that suppresses a locked alarm.
func (s *Store) sweepAfter(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, after int64, now time.Time,
) (swept, error) {
	var due []int64
	const q = `
		SELECT alarm_id
		FROM alarm_states
		WHERE due_at <= $1 AND alarm_id > $2
		ORDER BY alarm_id
		LIMIT $3
		FOR UPDATE SKIP LOCKED`
	err := tx.SelectContext(ctx, &due, q, now, after, maxSwept)
	if err != nil || len(due) == 0 {
		return swept{}, err
	}
	ev, err := lockAlarms(ctx, tx, rules, rules.withSuppressed(due), true, now)
	if err != nil {
		return swept{}, err
	}
	for _, id := range due {
		if !ev.hasAll(rules.withSuppressed([]int64{id})) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return swept{}, err
		}
		p := ev.alarms[id]
		p.state, p.due = s.knownAbsences().exclude(p.rule, p.state), true
		if err := ev.fireTimers(id, now); err != nil {
			return swept{}, err
		}
	}
	return swept{events: len(ev.events), last: due[len(due)-1]}, ev.write(ctx, tx)
}

// hasAll reports whether all of ids are loaded. It is false for no ids: the rule of an alarm that
// is not in the rule set cannot be used.
func (ev *evaluator) hasAll(ids []int64) bool {
	for _, id := range ids {
		if ev.alarms[id] == nil {
			return false
		}
	}
	return len(ids) > 0
}
