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
		ev, err := lockToCommand(ctx, tx, rules, []int64{id}, now)
		if err != nil {
			return Alarm{}, err
		}
		if err := ev.command(id, c, now); err != nil {
			return Alarm{}, err
		}
		if err := ev.write(ctx, tx); err != nil {
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
		ev, err := lockToCommand(ctx, tx, rules, ids, now)
		if err != nil {
			return nil, err
		}
		errs := make([]error, len(acks))
		for i, a := range acks {
			errs[i] = ev.command(a.AlarmID, alarm.Command{
				Kind:         alarm.Acknowledge,
				User:         user,
				Comment:      comment,
				Occurrence:   a.Occurrence,
				StateVersion: a.StateVersion,
			}, now)
		}
		return errs, ev.write(ctx, tx)
	})
	return errs, explain("alarms", err)
}

// lockToCommand locks and loads the alarms ids and the alarms that they suppress. Unknown ids are
// left out. An alarm that is newer than rules is errRetry.
func lockToCommand(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, ids []int64, now time.Time,
) (*evaluator, error) {
	for _, id := range ids {
		if rules.byID[id] != nil {
			continue
		}
		var exists bool
		const q = `SELECT EXISTS (SELECT FROM alarms WHERE id = $1)`
		if err := tx.GetContext(ctx, &exists, q, id); err != nil {
			return nil, err
		}
		if exists {
			return nil, errRetry
		}
	}
	return lockAlarms(ctx, tx, rules, rules.withSuppressed(ids), false, now)
}

// command carries out c. A command that is refused changes nothing.
func (ev *evaluator) command(id int64, c alarm.Command, now time.Time) error {
	if ev.alarms[id] == nil {
		return fmt.Errorf("alarm %d: %w", id, ErrNotFound)
	}
	return ev.apply(id, c, now)
}
