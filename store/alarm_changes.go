package store

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
)

// CreateAlarm adds an alarm with the rule r, which CheckRule has accepted, and returns it as the
// transaction has written it. It fills in r.ID and r.Version. When one of the rule's sensors
// already has as many alarms as a sensor may have, the error is an AlarmLimitError.
func (s *Store) CreateAlarm(ctx context.Context, r *alarm.Rule, now time.Time) (Alarm, error) {
	now = now.UTC().Truncate(time.Microsecond)
	a, err := withRules(ctx, s, s.api, func(tx *sqlx.Tx, rules *ruleSet) (Alarm, error) {
		if err := s.addAlarm(ctx, tx, rules, r, false, now); err != nil {
			return Alarm{}, err
		}
		return alarmIn(ctx, tx, r.ID)
	})
	return a, explain("alarm", err)
}

// addAlarm adds an alarm with the rule r, whose ID and Version it fills in. With system the alarm
// gets an id of the server's own alarms.
func (s *Store) addAlarm(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, r *alarm.Rule, system bool, now time.Time,
) error {
	rule, labels, err := encodeRule(r)
	if err != nil {
		return err
	}
	ids := `pg_get_serial_sequence('alarms', 'id')`
	if system {
		ids = `'system_ids'`
	}
	q := `
		INSERT INTO alarms (id, sensor_id, name, severity, rule, labels)
		OVERRIDING SYSTEM VALUE
		VALUES (nextval(` + ids + `), $1, $2, $3, $4, $5)
		RETURNING id, version, (SELECT ` + gatewayOf + ` FROM sensors s WHERE s.id = sensor_id)`
	var gateway int64
	if err := tx.QueryRowContext(ctx, q, r.SensorID, r.Name, r.Severity, rule, labels).Scan(
		&r.ID, &r.Version, &gateway,
	); err != nil {
		return err
	}
	if err := r.Compile(); err != nil {
		return err
	}
	if err := s.setInputs(ctx, tx, r); err != nil {
		return err
	}
	row, err := stateRowOf(r, alarm.New(r, now))
	if err != nil {
		return err
	}
	const state = `
		INSERT INTO alarm_states (due_at, since, alarm_id, rule_version, rank, state, severity,
			memory)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	if _, err := tx.ExecContext(ctx, state, row.due, now, r.ID, r.Version, row.rank, row.state,
		row.severity, row.memory); err != nil {
		return err
	}
	return startRule(ctx, tx, rules.withRule(r, gateway), r, "", "judged when the alarm was made",
		now)
}

// UpdateAlarm replaces the rule of the alarm r.ID by r, which CheckRule has accepted, and returns
// the alarm as the transaction has written it. When the rule no longer has version, the error is
// ErrStale; 0 accepts any version. An alarm keeps its sensor. The limit of CreateAlarm applies to
// the sensors that the rule did not refer to before.
func (s *Store) UpdateAlarm(
	ctx context.Context, r *alarm.Rule, version int64, user string, now time.Time,
) (Alarm, error) {
	a, err := withRules(ctx, s, s.api, func(tx *sqlx.Tx, rules *ruleSet) (Alarm, error) {
		if err := lockVersion(ctx, tx, "alarms", r.ID, version); err != nil {
			return Alarm{}, err
		}
		if err := s.replaceRule(ctx, tx, rules, r, user, now); err != nil {
			return Alarm{}, err
		}
		return alarmIn(ctx, tx, r.ID)
	})
	return a, explain("alarm", err)
}

// replaceRule gives the alarm r.ID the rule r and fills in r.Version.
func (s *Store) replaceRule(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, r *alarm.Rule, user string, now time.Time,
) error {
	rule, labels, err := encodeRule(r)
	if err != nil {
		return err
	}
	const q = `
		UPDATE alarms
		SET name = $2, severity = $3, rule = $4, labels = $5, version = version + 1,
			updated_at = now()
		WHERE id = $1
		RETURNING version, (SELECT ` + gatewayOf + ` FROM sensors s WHERE s.id = sensor_id)`
	var gateway int64
	if err := tx.QueryRowContext(ctx, q, r.ID, r.Name, r.Severity, rule, labels).Scan(
		&r.Version, &gateway,
	); err != nil {
		return err
	}
	if err := r.Compile(); err != nil {
		return err
	}
	if err := s.setInputs(ctx, tx, r); err != nil {
		return err
	}
	return startRule(ctx, tx, rules.withRule(r, gateway), r, user,
		"judged when the rule was changed", now)
}

func encodeRule(r *alarm.Rule) (rule, labels string, err error) {
	b, err := json.Marshal(r)
	if err != nil || r.Labels == nil {
		return string(b), "{}", err
	}
	l, err := json.Marshal(r.Labels)
	return string(b), string(l), err
}

// startRule carries the alarm r.ID over to its new rule r, suppresses it while its causes stand,
// and evaluates it on the current values; why is the reason in its events.
func startRule(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, r *alarm.Rule, user, why string,
	now time.Time,
) error {
	ids := rules.withSuppressed(append(slices.Clone(r.SuppressedBy), r.ID))
	ev, err := lockAlarms(ctx, tx, rules, ids, false, now)
	if err != nil {
		return err
	}
	own := ev.alarms[r.ID]
	if own == nil {
		return ErrNotFound
	}
	for _, cause := range r.SuppressedBy {
		c := ev.alarms[cause]
		if c == nil || !c.state.IsCause() || slices.Contains(own.state.Causes, cause) {
			continue
		}
		suppress := alarm.Command{Kind: alarm.Suppress, Cause: cause}
		if err := ev.apply(r.ID, suppress, now); err != nil {
			return err
		}
	}
	if err := ev.restOrResume(ctx, tx, []int64{r.ID}, now); err != nil {
		return err
	}
	if err := ev.evaluateCurrent(ctx, tx, r.ID, why, now); err != nil {
		return err
	}
	for i := range ev.events {
		if ev.events[i].Kind == string(alarm.RuleChanged) {
			ev.events[i].User = user
		}
	}
	return ev.write(ctx, tx)
}

// DeleteAlarm deletes the alarm id if its rule still has version; 0 accepts any version. Its events
// stay. An alarm that suppresses others is ErrInUse. With dryRun nothing is changed.
func (s *Store) DeleteAlarm(
	ctx context.Context, id, version int64, user string, dryRun bool, now time.Time,
) (Deletion, error) {
	err := inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		if err := lockVersion(ctx, tx, "alarms", id, version); err != nil {
			return err
		}
		if err := checkNotCauses(ctx, tx, []int64{id}); err != nil || dryRun {
			return err
		}
		events, err := deleteAlarms(ctx, tx, []int64{id}, user, now)
		if err != nil {
			return err
		}
		return addAlarmEvents(ctx, tx, events)
	})
	return Deletion{Alarms: 1}, explain("alarm", err)
}

// checkNotCauses locks the states of the alarms ids. Alarms that remain and name one of them in
// suppressed_by are an InUseError.
func checkNotCauses(ctx context.Context, tx *sqlx.Tx, ids []int64) error {
	const lock = `
		SELECT alarm_id
		FROM alarm_states
		WHERE alarm_id = ANY ($1::int[])
		ORDER BY alarm_id
		FOR UPDATE`
	if _, err := tx.ExecContext(ctx, lock, int32s(ids)); err != nil {
		return err
	}
	var suppressed []AlarmName
	const q = `
		SELECT id, name
		FROM alarms
		WHERE id <> ALL ($1::int[]) AND jsonb_typeof(rule -> 'suppressed_by') = 'array'
			AND EXISTS (
				SELECT
				FROM jsonb_array_elements_text(rule -> 'suppressed_by') c
				WHERE c::bigint = ANY ($1::int[]))
		ORDER BY id`
	if err := tx.SelectContext(ctx, &suppressed, q, int32s(ids)); err != nil {
		return err
	}
	if len(suppressed) > 0 {
		return &InUseError{Suppressed: suppressed}
	}
	return nil
}

// deleteAlarms deletes alarms that checkNotCauses has passed. It returns their last events, which
// the caller adds to the log at the end of the transaction.
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
		RETURNING a.id AS alarm_id, a.sensor_id, ` + gatewayOf + ` AS gateway_id, t.occurrence,
			(t.memory ->> 'version')::bigint AS version, a.version AS rule_version,
			'deleted' AS kind, t.state AS before, 'normal' AS after, t.severity`
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

// lockAlarmsToDelete locks latest of sensors that are to be deleted, and returns their alarms.
// Alarms of other sensors that refer to them are an InUseError.
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
