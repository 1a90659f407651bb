package store

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/oei-ms/oei-ms/alarm"
)

// Alarm is a rule on a sensor and its state.
type Alarm struct {
	ID          int64      `db:"id"`
	SensorID    int64      `db:"sensor_id"`
	GatewayID   int64      `db:"gateway_id"`
	RuleVersion int64      `db:"version"`
	CreatedAt   time.Time  `db:"created_at"`
	UpdatedAt   time.Time  `db:"updated_at"`
	StateName   string     `db:"state"`    // see alarm.StateCode.Name
	Severity    string     `db:"severity"` // of the occurrence, else of the rule
	Rank        int64      `db:"rank"`     // of the severity
	Since       time.Time  `db:"since"`    // when the alarm entered the state
	DueAt       *time.Time `db:"due_at"`   // when its next timer fires

	rule, state string // as JSON
}

// Rule returns the alarm's rule, not compiled. Members of a newer program's rule are left out.
func (a Alarm) Rule() (alarm.Rule, error) {
	r := alarm.Rule{ID: a.ID, Version: a.RuleVersion, SensorID: a.SensorID}
	err := json.Unmarshal([]byte(a.rule), &r)
	return r, err
}

// State returns the alarm's state, without the newest readings of its sensors.
func (a Alarm) State() (s alarm.State, err error) {
	err = json.Unmarshal([]byte(a.state), &s)
	return s, err
}

// alarmRow is an alarm as alarmColumns select it.
type alarmRow struct {
	Alarm
	Rule  string `db:"rule"`
	State string `db:"memory"`
}

func (r alarmRow) alarm() Alarm {
	a := r.Alarm
	a.rule, a.state = r.Rule, r.State
	return a
}

// AlarmOrder is how alarms are listed.
type AlarmOrder string

// The orders.
const (
	WorstFirst  AlarmOrder = "severity" // of one severity the newest first
	NewestFirst AlarmOrder = "newest"   // by Since
	OldestFirst AlarmOrder = "oldest"
)

// AlarmFilter selects alarms; what is empty takes all.
type AlarmFilter struct {
	States, Severities  []string
	SensorID, GatewayID *int64
	Labels              map[string]string // it has all of these
	Text                string            // is in its name or message, in any case
	From, To            *time.Time        // Since is in [From, To)
}

// AlarmCursor is the place of an alarm in an order.
type AlarmCursor struct {
	Rank  int64
	Since time.Time
	ID    int64
}

const alarmColumns = `a.id, a.sensor_id, ` + gatewayOf + ` AS gateway_id, a.rule, a.version, a.created_at, a.updated_at, t.state, t.severity, t.rank, t.since,
	t.due_at, t.memory`

const alarmTables = ` FROM alarms a JOIN sensors s ON s.id = a.sensor_id JOIN alarm_states t ON t.alarm_id = a.id`

const selectAlarm = `SELECT ` + alarmColumns + alarmTables + ` WHERE a.id = $1`

const alarmWhere = `
	WHERE (coalesce(cardinality($1::text[]), 0) = 0 OR t.state = ANY ($1)) AND (coalesce(cardinality($2::text[]), 0) = 0 OR t.severity = ANY ($2))
		AND ($3::int IS NULL OR a.sensor_id = $3) AND ($4::int IS NULL OR ` + gatewayOf + ` = $4) AND a.labels @> $5::jsonb
		AND ($6 = '' OR strpos(lower(a.name || ' ' || coalesce(a.rule ->> 'message', '')), $6) > 0)
		AND ($7::timestamptz IS NULL OR t.since >= $7) AND ($8::timestamptz IS NULL OR t.since < $8)`

func (f AlarmFilter) args() []any {
	labels, _ := json.Marshal(f.Labels) // strings can be encoded
	if f.Labels == nil {
		labels = []byte("{}")
	}
	return []any{
		pq.Array(f.States), pq.Array(f.Severities), f.SensorID, f.GatewayID, string(labels),
		strings.ToLower(f.Text), f.From, f.To,
	}
}

// Alarms returns at most limit alarms behind after, nil for the first, in the order that is asked
// for.
func (s *Store) Alarms(
	ctx context.Context, f AlarmFilter, order AlarmOrder, after *AlarmCursor, limit int,
) ([]Alarm, error) {
	var c AlarmCursor
	if after != nil {
		c = *after
	}
	behind, by := ` AND ($9 OR (t.rank, t.since, a.id) < ($10::smallint, $11::timestamptz, $12::int))`, ` ORDER BY t.rank DESC, t.since DESC, a.id DESC`
	switch order {
	case NewestFirst:
		behind, by = ` AND ($9 OR $10::smallint IS NOT NULL AND (t.since, a.id) < ($11::timestamptz, $12::int))`, ` ORDER BY t.since DESC, a.id DESC`
	case OldestFirst:
		behind, by = ` AND ($9 OR $10::smallint IS NOT NULL AND (t.since, a.id) > ($11::timestamptz, $12::int))`, ` ORDER BY t.since, a.id`
	}
	var rows []alarmRow
	q := `SELECT ` + alarmColumns + alarmTables + alarmWhere + behind + by + ` LIMIT $13`
	err := s.api.SelectContext(ctx, &rows, q,
		append(f.args(), after == nil, c.Rank, c.Since, c.ID, limit)...)
	list := make([]Alarm, len(rows))
	for i, row := range rows {
		list[i] = row.alarm()
	}
	return list, explain("alarms", err)
}

// CountAlarms returns how many alarms f selects.
func (s *Store) CountAlarms(ctx context.Context, f AlarmFilter) (int64, error) {
	var n int64
	err := s.api.GetContext(ctx, &n, `SELECT count(*)`+alarmTables+alarmWhere, f.args()...)
	return n, explain("alarms", err)
}

// Alarm returns the alarm id, or ErrNotFound.
func (s *Store) Alarm(ctx context.Context, id int64) (Alarm, error) {
	var row alarmRow
	err := s.api.GetContext(ctx, &row, selectAlarm, id)
	return row.alarm(), explain("alarm", err)
}

// alarmIn reads the alarm id in a transaction.
func alarmIn(ctx context.Context, tx *sqlx.Tx, id int64) (Alarm, error) {
	var row alarmRow
	err := tx.GetContext(ctx, &row, selectAlarm, id)
	return row.alarm(), err
}

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
	definition, labels, err := encodeRule(r)
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
	if err := tx.QueryRowContext(ctx, q, r.SensorID, r.Name, r.Severity, definition, labels).Scan(
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
		INSERT INTO alarm_states (due_at, since, alarm_id, rule_version, rank, state, severity, memory)
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

func (s *Store) replaceRule(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, r *alarm.Rule, user string, now time.Time,
) error {
	definition, labels, err := encodeRule(r)
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
	if err := tx.QueryRowContext(ctx, q, r.ID, r.Name, r.Severity, definition, labels).Scan(
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

func encodeRule(r *alarm.Rule) (definition, labels string, err error) {
	d, err := json.Marshal(r)
	if err != nil {
		return "", "", err
	}
	if r.Labels == nil {
		return string(d), "{}", nil
	}
	l, err := json.Marshal(r.Labels)
	return string(d), string(l), err
}

// startRule brings an alarm with a new rule up to it, to the causes that stand by now, and to
// the current values.
func startRule(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, r *alarm.Rule, user, why string,
	now time.Time,
) error {
	m, err := lockAlarms(ctx, tx, rules, rules.withSuppressed(append(slices.Clone(r.SuppressedBy), r.ID)),
		false, now)
	if err != nil {
		return err
	}
	own := m.alarms[r.ID]
	if own == nil {
		return ErrNotFound
	}
	for _, cause := range r.SuppressedBy {
		c := m.alarms[cause]
		if c == nil || !c.state.IsCause() || slices.Contains(own.state.Causes, cause) {
			continue
		}
		if err := m.apply(r.ID, alarm.Command{Kind: alarm.Suppress, Cause: cause}, now); err != nil {
			return err
		}
	}
	if err := m.restOrResume(ctx, tx, []int64{r.ID}, now); err != nil {
		return err
	}
	if err := m.evaluateCurrent(ctx, tx, r.ID, why, now); err != nil {
		return err
	}
	for i := range m.events {
		if m.events[i].Kind == string(alarm.RuleChanged) {
			m.events[i].User = user
		}
	}
	return m.write(ctx, tx)
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
