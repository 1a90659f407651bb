package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
)

// maxAlarmsPerSensor is the highest limit that the setting may ask for.
const maxAlarmsPerSensor = 1000

const (
	// MaxEvaluations bounds a transaction of several readings: each is evaluated by every alarm
	// that refers to its sensor, and an event counts as eventCost evaluations.
	MaxEvaluations = 500_000
	eventCost      = 20
	// evaluationTimeout is well below the timeout of a transaction, so that slow alarms can be told
	// from a slow database.
	evaluationTimeout = 10 * time.Second
)

// ErrOverload means that the alarms of a batch take more evaluations or time than one transaction
// may. Nothing of the batch was stored; write it in parts.
var ErrOverload = errors.New("too many alarm evaluations for one transaction")

// spend counts n evaluations. It returns an error when the transaction may make no more, or when
// ctx has ended.
func (ev *evaluator) spend(ctx context.Context, n int) error {
	const interval = 1024 // between checks of ctx
	before := ev.evaluations
	ev.evaluations += n
	switch {
	case ev.evaluations > ev.maxEvaluations:
		return ErrOverload
	case ev.evaluations/interval != before/interval:
		return context.Cause(ctx) // nil unless ctx has ended
	}
	return nil
}

// evaluations returns the maximum of evaluations that the rows take, apart from events.
func (b *batch) evaluations(rules *ruleSet) int {
	n := 0
	for i, alarms := 0, 0; i < len(b.rows); i++ {
		if i == 0 || b.rows[i].sensor != b.rows[i-1].sensor {
			alarms = len(rules.bySensor[b.rows[i].sensor])
		}
		n += alarms
	}
	return n
}

// ErrAlarmLimit is the kind of an AlarmLimitError.
var ErrAlarmLimit = errors.New("too many alarms on one sensor")

// AlarmLimitError refuses a rule because one of its sensors already has the maximum of alarms.
type AlarmLimitError struct {
	SensorID int64
	Limit    int
}

func (e *AlarmLimitError) Error() string {
	return fmt.Sprintf("%v: sensor %d has %d", ErrAlarmLimit, e.SensorID, e.Limit)
}

// Unwrap returns ErrAlarmLimit.
func (e *AlarmLimitError) Unwrap() error { return ErrAlarmLimit }

// setInputs stores the sensors that r refers to. A sensor that r did not refer to before must not
// have the maximum of alarms. The transaction has inserted or updated r in alarms, which locks
// alarm_rules, so that no other rule can be added meanwhile.
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
	const exceeded = `
		SELECT sensor_id
		FROM alarm_inputs
		WHERE sensor_id = ANY ($1::int[])
		GROUP BY sensor_id
		HAVING count(*) > $2
		ORDER BY sensor_id
		LIMIT 1`
	var over []int64
	if err := tx.SelectContext(ctx, &over, exceeded, int32s(added), s.alarmsPerSensor); err != nil {
		return err
	}
	if len(over) > 0 {
		return &AlarmLimitError{SensorID: over[0], Limit: s.alarmsPerSensor}
	}
	return nil
}
