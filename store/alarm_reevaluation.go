package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
)

// evaluateCurrent evaluates the alarm id, which ev has locked, on the current values of its
// sensors; why is the reason in its events. When the newest readings of all its sensors are stale,
// the alarm waits for the next reading.
func (ev *evaluator) evaluateCurrent(
	ctx context.Context, tx *sqlx.Tx, id int64, why string, now time.Time,
) error {
	rule := ev.alarms[id].rule
	current, err := currentSensors(ctx, tx, rule.Sensors(), now)
	if err != nil || len(current) == 0 && rule.Kind != alarm.NoData {
		return err
	}
	return ev.reevaluate(id, why, now)
}

// reevaluate evaluates the alarm id on the newest readings of its sensors, however old they are.
func (ev *evaluator) reevaluate(id int64, why string, now time.Time) error {
	p := ev.alarms[id]
	next, events, err := alarm.Evaluate(p.rule, p.state, now.UTC().Truncate(time.Microsecond), why)
	return ev.advanceOrFault(id, next, events, err, now)
}

// reevaluateSensor evaluates the alarms of a sensor, some of whose readings were deleted, on the
// newest reading that remains, however old it is. ids are these alarms and those that they
// suppress.
func reevaluateSensor(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, sensor int64, ids []int64,
) error {
	now := time.Now()
	ev, err := lockAlarms(ctx, tx, rules, ids, false, now)
	if err != nil {
		return err
	}
	for _, id := range rules.bySensor[sensor] {
		p := ev.alarms[id]
		if p == nil || p.rule.Kind == alarm.NoData { // a deletion is not silence
			continue
		}
		if err := ev.reevaluate(id, "judged after readings were deleted", now); err != nil {
			return err
		}
	}
	return ev.write(ctx, tx)
}

// currentSensors returns those of sensors whose newest reading is not stale at now: it is at most 5
// minutes old, or at most twice the interval between the two newest readings, up to 2 days.
func currentSensors(
	ctx context.Context, tx *sqlx.Tx, sensors []int64, now time.Time,
) ([]int64, error) {
	const q = `
		SELECT sensor_id
		FROM latest
		WHERE sensor_id = ANY ($1::int[])
			AND $2::timestamptz - least(timestamp, received_at) <= greatest('5 minutes',
				least(coalesce(2 * (timestamp - previous), '0'), '2 days'))`
	var current []int64
	err := tx.SelectContext(ctx, &current, q, int32s(sensors), now)
	return current, err
}
