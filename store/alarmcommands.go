package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
)

// Ack acknowledges what somebody saw of an alarm.
type Ack struct{ AlarmID, Occurrence, Version int64 }

// CommandAlarm carries out c and returns the alarm as it is then. What alarm.Apply refuses is returned as it is.
func (s *Store) CommandAlarm(ctx context.Context, id int64, c alarm.Command, now time.Time) (Alarm, []AlarmEvent, error) {
	var events []AlarmEvent
	err := s.withRules(ctx, s.api, func(tx *sqlx.Tx, rules *ruleSet) error {
		m, err := lockToCommand(ctx, tx, rules, []int64{id}, now)
		if err != nil {
			return err
		}
		if err := m.command(id, c, now); err != nil {
			return err
		}
		events = m.events
		return m.write(ctx, tx)
	})
	if err != nil {
		return Alarm{}, nil, explain("alarm", err)
	}
	a, err := s.Alarm(ctx, id)
	return a, events, err
}

// AcknowledgeAlarms acknowledges several alarms at once and returns one error for each, in order: nil, ErrNotFound, or what
// alarm.Apply refuses it with.
func (s *Store) AcknowledgeAlarms(ctx context.Context, acks []Ack, user, comment string, now time.Time) ([]error, []AlarmEvent, error) {
	errs := make([]error, len(acks))
	var events []AlarmEvent
	ids := make([]int64, len(acks))
	for i, a := range acks {
		ids[i] = a.AlarmID
	}
	err := s.withRules(ctx, s.api, func(tx *sqlx.Tx, rules *ruleSet) error {
		clear(errs)
		m, err := lockToCommand(ctx, tx, rules, ids, now)
		if err != nil {
			return err
		}
		for i, a := range acks {
			errs[i] = m.command(a.AlarmID, alarm.Command{
				Kind: alarm.Acknowledge, User: user, Comment: comment, Occurrence: a.Occurrence, Version: a.Version,
			}, now)
		}
		events = m.events
		return m.write(ctx, tx)
	})
	return errs, events, explain("alarms", err)
}

func lockToCommand(ctx context.Context, tx *sqlx.Tx, rules *ruleSet, ids []int64, now time.Time) (*steps, error) {
	for _, id := range ids {
		if rules.byID[id] != nil {
			continue
		}
		var exists bool // made by another instance a moment ago?
		if err := tx.GetContext(ctx, &exists, `SELECT EXISTS (SELECT FROM alarms WHERE id = $1)`, id); err != nil {
			return nil, err
		}
		if exists {
			return nil, errOldRules
		}
	}
	return lockAlarms(ctx, tx, rules, rules.with(ids), false, now)
}

// command carries c out. One that is refused changes nothing.
func (m *steps) command(id int64, c alarm.Command, now time.Time) error {
	if m.alarms[id] == nil {
		return fmt.Errorf("alarm %d: %w", id, ErrNotFound)
	}
	return m.apply(id, c, now)
}

// checkDrop is ErrInUse when alarms that stay need one of these, and locks their states.
func checkDrop(ctx context.Context, tx *sqlx.Tx, ids []int64) error {
	const lock = `SELECT alarm_id FROM alarm_states WHERE alarm_id = ANY ($1::int[]) ORDER BY alarm_id FOR UPDATE`
	if _, err := tx.ExecContext(ctx, lock, int32s(ids)); err != nil {
		return err
	}
	var dependents []int64
	const q = `
		SELECT id
		FROM alarms
		WHERE id <> ALL ($1::int[]) AND jsonb_typeof(rule -> 'suppressed_by') = 'array'
			AND EXISTS (SELECT FROM jsonb_array_elements_text(rule -> 'suppressed_by') c WHERE c::bigint = ANY ($1::int[]))
		ORDER BY id
		LIMIT 10`
	if err := tx.SelectContext(ctx, &dependents, q, int32s(ids)); err != nil {
		return err
	}
	if len(dependents) > 0 {
		return fmt.Errorf("%w: alarms %v are suppressed by it", ErrInUse, dependents)
	}
	return nil
}

// dropAlarms deletes alarms that checkDrop has let go, and returns their last events, which the caller adds at the end.
func dropAlarms(ctx context.Context, tx *sqlx.Tx, ids []int64, user string, now time.Time) ([]AlarmEvent, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var events []AlarmEvent
	const q = `
		DELETE FROM alarms a
		USING alarm_states t, sensors s
		WHERE a.id = ANY ($1::int[]) AND t.alarm_id = a.id AND s.id = a.sensor_id
		RETURNING a.id AS alarm_id, a.sensor_id, s.gateway_id, t.occurrence, (t.memory ->> 'version')::bigint AS version,
			a.version AS rule_version, 'deleted' AS kind, t.state AS before, 'normal' AS after, t.severity`
	if err := tx.SelectContext(ctx, &events, q, int32s(ids)); err != nil {
		return nil, err
	}
	for i := range events {
		events[i].At, events[i].User = now.UTC().Truncate(time.Microsecond), user
	}
	return events, nil
}

// alarmsOf returns the alarms of sensors. When others look at one of these sensors it is ErrInUse.
func alarmsOf(ctx context.Context, tx *sqlx.Tx, sensors []int64) ([]int64, error) {
	var rows []struct {
		ID  int64 `db:"id"`
		Own bool  `db:"own"`
	}
	const q = `
		SELECT DISTINCT a.id, a.sensor_id = ANY ($1::int[]) AS own
		FROM alarm_inputs i
		JOIN alarms a ON a.id = i.alarm_id
		WHERE i.sensor_id = ANY ($1::int[])
		ORDER BY a.id`
	if err := tx.SelectContext(ctx, &rows, q, int32s(sensors)); err != nil {
		return nil, err
	}
	var own, others []int64
	for _, r := range rows {
		if r.Own {
			own = append(own, r.ID)
		} else {
			others = append(others, r.ID)
		}
	}
	if len(others) > 0 {
		return nil, fmt.Errorf("%w: alarms %v of other sensors look at it", ErrInUse, others)
	}
	return own, checkDrop(ctx, tx, own)
}
