package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
)

// evaluate judges the alarm id, which m has locked, on the current values of its sensors. An alarm
// whose newest value is stale is left to the next reading.
func (m *evaluator) evaluateCurrent(
	ctx context.Context, tx *sqlx.Tx, id int64, why string, now time.Time,
) error {
	current, err := currentSensors(ctx, tx, m.alarms[id].rule.Sensors(), now)
	if err != nil || len(current) == 0 && m.alarms[id].rule.Kind != alarm.NoData {
		return err
	}
	return m.reevaluate(id, why, now)
}

// judge judges the alarm id on the newest values of its sensors, however old they are.
func (m *evaluator) reevaluate(id int64, why string, now time.Time) error {
	p := m.alarms[id]
	next, events, err := alarm.Evaluate(p.rule, p.state, now.UTC().Truncate(time.Microsecond), why)
	if err := m.advance(id, next, events, now); err != nil {
		return err
	}
	if err != nil {
		return m.markFaulted(id, err, now)
	}
	return nil
}

// reevaluateSensor judges the alarms that look at a sensor, some of whose readings were deleted, on the
// newest that is left, however old it is. alarms are these and those that they suppress.
func reevaluateSensor(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, sensor int64, alarms []int64,
) error {
	now := time.Now()
	m, err := lockAlarms(ctx, tx, rules, alarms, false, now)
	if err != nil {
		return err
	}
	for _, id := range rules.bySensor[sensor] {
		if p := m.alarms[id]; p == nil || p.rule.Kind == alarm.NoData { // a deletion is no silence
			continue
		}
		if err := m.reevaluate(id, "judged after readings were deleted", now); err != nil {
			return err
		}
	}
	return m.write(ctx, tx)
}

// currentSensors returns those of sensors whose newest reading is not stale at now: it is at most 5
// minutes old, or twice as old as the reading before it was then, but never more than 2 days.
func currentSensors(
	ctx context.Context, tx *sqlx.Tx, sensors []int64, now time.Time,
) ([]int64, error) {
	const q = `
		SELECT sensor_id
		FROM latest
		WHERE sensor_id = ANY ($1::int[]) AND $2::timestamptz - least(timestamp, received_at) <=
			greatest('5 minutes', least(coalesce(2 * (timestamp - previous), '0'), '2 days'))`
	var current []int64
	err := tx.SelectContext(ctx, &current, q, int32s(sensors), now)
	return current, err
}
