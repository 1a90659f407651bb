package store

import (
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
)

// lockAlarmsOf locks the alarms that look at these sensors, so that restOrResume may be called for them.
func lockAlarmsOf(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, sensors []int64, now time.Time,
) (m *evaluator, ids []int64, err error) {
	const q = `SELECT DISTINCT alarm_id FROM alarm_inputs WHERE sensor_id = ANY ($1::int[]) ORDER BY alarm_id`
	if err := tx.SelectContext(ctx, &ids, q, int32s(sensors)); err != nil {
		return nil, nil, err
	}
	ids = slices.DeleteFunc(ids, func(id int64) bool { return rules.unusable[id] })
	m, err = lockToCommand(ctx, tx, rules, ids, now)
	return m, ids, err
}

// restOrResume has the alarms ids rest while one of their sensors, or its gateway, is not in use, and
// judges those that resume on the current values.
func (m *evaluator) restOrResume(ctx context.Context, tx *sqlx.Tx, ids []int64, now time.Time) error {
	var unused []struct {
		Alarm int64  `db:"alarm_id"`
		What  string `db:"what"`
	}
	const q = `
		SELECT i.alarm_id, min(CASE
			WHEN s.is_active THEN format('gateway %s (%s) is not in use', g.id, g.name)
			ELSE format('sensor %s (%s) is not in use', s.id, s.name) END) AS what
		FROM alarm_inputs i
		JOIN sensors s ON s.id = i.sensor_id
		JOIN gateways g ON g.id = ` + gatewayOf + `
		WHERE i.alarm_id = ANY ($1::int[]) AND NOT (s.is_active AND g.is_active)
		GROUP BY i.alarm_id`
	if err := tx.SelectContext(ctx, &unused, q, int32s(ids)); err != nil {
		return err
	}
	what := make(map[int64]string, len(unused))
	for _, u := range unused {
		what[u.Alarm] = u.What
	}
	for _, id := range ids {
		p := m.alarms[id]
		if p == nil || p.state.Resting == what[id] {
			continue
		}
		if what[id] != "" {
			if err := m.apply(id, alarm.Command{Kind: alarm.Rest, Comment: what[id]}, now); err != nil {
				return err
			}
			continue
		}
		if err := m.apply(id, alarm.Command{Kind: alarm.Resume, Comment: "in use again"}, now); err != nil {
			return err
		}
		if err := m.evaluateCurrent(ctx, tx, id, "judged when it was in use again", now); err != nil {
			return err
		}
	}
	return nil
}
