package store

import (
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
)

// lockAlarmsOf locks and loads the alarms that refer to sensors, for restOrResume.
func lockAlarmsOf(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, sensors []int64, now time.Time,
) (ev *evaluator, ids []int64, err error) {
	const q = `
		SELECT DISTINCT alarm_id
		FROM alarm_inputs
		WHERE sensor_id = ANY ($1::int[])
		ORDER BY alarm_id`
	if err := tx.SelectContext(ctx, &ids, q, int32s(sensors)); err != nil {
		return nil, nil, err
	}
	ids = slices.DeleteFunc(ids, func(id int64) bool { return rules.unusable[id] })
	ev, err = lockToCommand(ctx, tx, rules, ids, now)
	return ev, ids, err
}

// restOrResume lets those of the alarms ids rest that refer to a sensor which is not in use, or
// whose gateway is not. It resumes the others that have rested, and evaluates them on the current
// values.
func (ev *evaluator) restOrResume(
	ctx context.Context, tx *sqlx.Tx, ids []int64, now time.Time,
) error {
	reasons, err := restReasons(ctx, tx, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		p := ev.alarms[id]
		if p == nil || p.state.Resting == reasons[id] {
			continue
		}
		c := alarm.Command{Kind: alarm.Rest, Comment: reasons[id]}
		if c.Comment == "" {
			c = alarm.Command{Kind: alarm.Resume, Comment: "in use again"}
		}
		if err := ev.apply(id, c, now); err != nil {
			return err
		}
		if c.Kind == alarm.Rest {
			continue
		}
		err := ev.evaluateCurrent(ctx, tx, id, "judged when it was in use again", now)
		if err != nil {
			return err
		}
	}
	return nil
}

// restReasons returns what is not in use of the alarms ids that have to rest.
func restReasons(ctx context.Context, tx *sqlx.Tx, ids []int64) (map[int64]string, error) {
	var rows []struct {
		AlarmID int64  `db:"alarm_id"`
		Reason  string `db:"reason"`
	}
	const q = `
		SELECT i.alarm_id, min(CASE
			WHEN s.is_active THEN format('gateway %s (%s) is not in use', g.id, g.name)
			ELSE format('sensor %s (%s) is not in use', s.id, s.name) END) AS reason
		FROM alarm_inputs i
		JOIN sensors s ON s.id = i.sensor_id
		JOIN gateways g ON g.id = ` + gatewayOf + `
		WHERE i.alarm_id = ANY ($1::int[]) AND NOT (s.is_active AND g.is_active)
		GROUP BY i.alarm_id`
	if err := tx.SelectContext(ctx, &rows, q, int32s(ids)); err != nil {
		return nil, err
	}
	reasons := make(map[int64]string, len(rows))
	for _, r := range rows {
		reasons[r.AlarmID] = r.Reason
	}
	return reasons, nil
}
