package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
)

// maxAlarmsPerSensor is the highest limit that the setting may ask for.
const maxAlarmsPerSensor = 1000

// ErrAlarmLimit is the kind of an AlarmLimitError.
var ErrAlarmLimit = errors.New("too many alarms on one sensor")

// AlarmLimitError refuses a rule that refers to a sensor with as many alarms as a sensor may have.
type AlarmLimitError struct {
	SensorID int64
	Limit    int
}

func (e *AlarmLimitError) Error() string {
	return fmt.Sprintf("%v: sensor %d has %d", ErrAlarmLimit, e.SensorID, e.Limit)
}

// Unwrap is ErrAlarmLimit.
func (e *AlarmLimitError) Unwrap() error { return ErrAlarmLimit }

// setInputs stores the sensors that r refers to. A sensor that r did not refer to before must have room for one more alarm. The
// transaction has inserted or updated r in alarms, which locks alarm_rules, so no other rule can take the room meanwhile.
func (s *Store) setInputs(ctx context.Context, tx *sqlx.Tx, r *alarm.Rule) error {
	const remove = `DELETE FROM alarm_inputs WHERE alarm_id = $1 AND sensor_id <> ALL ($2::int[])`
	sensors := int32s(r.Sensors())
	if _, err := tx.ExecContext(ctx, remove, r.ID, sensors); err != nil {
		return err
	}
	const add = `
		INSERT INTO alarm_inputs (sensor_id, alarm_id)
		SELECT i, $1
		FROM unnest($2::int[]) i
		ON CONFLICT DO NOTHING
		RETURNING sensor_id`
	var added []int64
	if err := tx.SelectContext(ctx, &added, add, r.ID, sensors); err != nil {
		return err
	}
	const full = `
		SELECT sensor_id
		FROM alarm_inputs
		WHERE sensor_id = ANY ($1::int[])
		GROUP BY sensor_id
		HAVING count(*) > $2
		ORDER BY sensor_id
		LIMIT 1`
	var over []int64
	if err := tx.SelectContext(ctx, &over, full, int32s(added), s.alarmsPerSensor); err != nil {
		return err
	}
	if len(over) > 0 {
		return &AlarmLimitError{SensorID: over[0], Limit: s.alarmsPerSensor}
	}
	return nil
}
