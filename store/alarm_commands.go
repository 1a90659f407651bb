package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
)

// Ack acknowledges an alarm in the state that the operator saw.
type Ack struct{ AlarmID, Occurrence, StateVersion int64 }

// CommandAlarm carries out c and returns the alarm as the transaction has written it. A command
// that alarm.Apply refuses changes nothing and returns the error of alarm.Apply.
func (s *Store) CommandAlarm(
	ctx context.Context, id int64, c alarm.Command, now time.Time,
) (Alarm, error) {
	a, err := withRules(ctx, s, s.api, func(tx *sqlx.Tx, rules *ruleSet) (Alarm, error) {
		m, err := lockToCommand(ctx, tx, rules, []int64{id}, now)
		if err != nil {
			return Alarm{}, err
		}
		if err := m.command(id, c, now); err != nil {
			return Alarm{}, err
		}
		if err := m.write(ctx, tx); err != nil {
			return Alarm{}, err
		}
		return alarmIn(ctx, tx, id)
	})
	return a, explain("alarm", err)
}

// AcknowledgeAlarms acknowledges several alarms in one transaction and returns one error for each,
// in order: nil, ErrNotFound, or the error of alarm.Apply.
func (s *Store) AcknowledgeAlarms(
	ctx context.Context, acks []Ack, user, comment string, now time.Time,
) ([]error, error) {
	ids := make([]int64, len(acks))
	for i, a := range acks {
		ids[i] = a.AlarmID
	}
	errs, err := withRules(ctx, s, s.api, func(tx *sqlx.Tx, rules *ruleSet) ([]error, error) {
		m, err := lockToCommand(ctx, tx, rules, ids, now)
		if err != nil {
			return nil, err
		}
		errs := make([]error, len(acks))
		for i, a := range acks {
			errs[i] = m.command(a.AlarmID, alarm.Command{
				Kind:         alarm.Acknowledge,
				User:         user,
				Comment:      comment,
				Occurrence:   a.Occurrence,
				StateVersion: a.StateVersion,
			}, now)
		}
		return errs, m.write(ctx, tx)
	})
	return errs, explain("alarms", err)
}

func lockToCommand(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, ids []int64, now time.Time,
) (*evaluator, error) {
	for _, id := range ids {
		if rules.byID[id] != nil {
			continue
		}
		var exists bool // made by another instance a moment ago?
		if err := tx.GetContext(ctx, &exists, `SELECT EXISTS (SELECT FROM alarms WHERE id = $1)`,
			id); err != nil {
			return nil, err
		}
		if exists {
			return nil, errRetry
		}
	}
	return lockAlarms(ctx, tx, rules, rules.withSuppressed(ids), false, now)
}

// command carries c out. One that is refused changes nothing.
func (m *evaluator) command(id int64, c alarm.Command, now time.Time) error {
	if m.alarms[id] == nil {
		return fmt.Errorf("alarm %d: %w", id, ErrNotFound)
	}
	return m.apply(id, c, now)
}

// checkNotCauses is ErrInUse when alarms that stay need one of these, and locks their states.
func checkNotCauses(ctx context.Context, tx *sqlx.Tx, ids []int64) error {
	const lock = `SELECT alarm_id FROM alarm_states WHERE alarm_id = ANY ($1::int[]) ORDER BY alarm_id FOR UPDATE`
	if _, err := tx.ExecContext(ctx, lock, int32s(ids)); err != nil {
		return err
	}
	var dependents []AlarmName
	const q = `
		SELECT id, name
		FROM alarms
		WHERE id <> ALL ($1::int[]) AND jsonb_typeof(rule -> 'suppressed_by') = 'array'
			AND EXISTS (SELECT FROM jsonb_array_elements_text(rule -> 'suppressed_by') c WHERE c::bigint = ANY ($1::int[]))
		ORDER BY id`
	if err := tx.SelectContext(ctx, &dependents, q, int32s(ids)); err != nil {
		return err
	}
	if len(dependents) > 0 {
		return &InUseError{Suppressed: dependents}
	}
	return nil
}

// deleteAlarms deletes alarms that checkNotCauses has let go, and returns their last events, which the
// caller adds at the end.
func deleteAlarms(
	ctx context.Context, tx *sqlx.Tx, ids []int64, user string, now time.Time,
) ([]AlarmEvent, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var events []AlarmEvent
	const q = `
		DELETE FROM alarms a
		USING alarm_states t, sensors s
		WHERE a.id = ANY ($1::int[]) AND t.alarm_id = a.id AND s.id = a.sensor_id
		RETURNING a.id AS alarm_id, a.sensor_id, ` + gatewayOf + ` AS gateway_id, t.occurrence, (t.memory ->> 'version')::bigint AS version,
			a.version AS rule_version, 'deleted' AS kind, t.state AS before, 'normal' AS after, t.severity`
	if err := tx.SelectContext(ctx, &events, q, int32s(ids)); err != nil {
		return nil, err
	}
	for i := range events {
		events[i].At, events[i].User = now.UTC().Truncate(time.Microsecond), user
	}
	return events, nil
}

func alarmIDs(list []AlarmName) []int64 {
	ids := make([]int64, len(list))
	for i, a := range list {
		ids[i] = a.ID
	}
	return ids
}

// alarmsOf locks latest of sensors, which are to be deleted, and returns their alarms. When others
// look at one of these sensors it is ErrInUse.
func lockAlarmsToDelete(ctx context.Context, tx *sqlx.Tx, sensors []int64) ([]AlarmName, error) {
	if _, err := lockLatest(ctx, tx, sensors, false); err != nil {
		return nil, err
	}
	var rows []struct {
		AlarmName
		Own bool `db:"own"`
	}
	const q = `
		SELECT DISTINCT a.id, a.name, a.sensor_id = ANY ($1::int[]) AS own
		FROM alarm_inputs i
		JOIN alarms a ON a.id = i.alarm_id
		WHERE i.sensor_id = ANY ($1::int[])
		ORDER BY a.id`
	if err := tx.SelectContext(ctx, &rows, q, int32s(sensors)); err != nil {
		return nil, err
	}
	var own, others []AlarmName
	for _, r := range rows {
		if r.Own {
			own = append(own, r.AlarmName)
		} else {
			others = append(others, r.AlarmName)
		}
	}
	if len(others) > 0 {
		return nil, &InUseError{Reading: others}
	}
	return own, checkNotCauses(ctx, tx, alarmIDs(own))
}
