package store

import (
	"context"
	"encoding/json"
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

// AlarmOrder is the order of a list of alarms.
type AlarmOrder string

// The orders.
const (
	WorstFirst  AlarmOrder = "severity" // alarms of the same severity: newest first
	NewestFirst AlarmOrder = "newest"   // by Since
	OldestFirst AlarmOrder = "oldest"
)

// AlarmFilter selects alarms; an empty member selects all.
type AlarmFilter struct {
	States, Severities  []string
	SensorID, GatewayID *int64
	Labels              map[string]string // the alarm has all of them
	Text                string            // a part of its name or message, case-insensitive
	From, To            *time.Time        // Since is in [From, To)
}

// AlarmCursor is the position of an alarm in an order.
type AlarmCursor struct {
	Rank  int64
	Since time.Time
	ID    int64
}

const (
	alarmColumns = `
		a.id, a.sensor_id, ` + gatewayOf + ` AS gateway_id, a.rule, a.version, a.created_at,
		a.updated_at, t.state, t.severity, t.rank, t.since, t.due_at, t.memory`

	alarmTables = `
		FROM alarms a
		JOIN sensors s ON s.id = a.sensor_id
		JOIN alarm_states t ON t.alarm_id = a.id`

	alarmWhere = `
		WHERE (coalesce(cardinality($1::text[]), 0) = 0 OR t.state = ANY ($1))
			AND (coalesce(cardinality($2::text[]), 0) = 0 OR t.severity = ANY ($2))
			AND ($3::int IS NULL OR a.sensor_id = $3)
			AND ($4::int IS NULL OR ` + gatewayOf + ` = $4)
			AND a.labels @> $5::jsonb
			AND ($6 = ''
				OR strpos(lower(a.name || ' ' || coalesce(a.rule ->> 'message', '')), $6) > 0)
			AND ($7::timestamptz IS NULL OR t.since >= $7)
			AND ($8::timestamptz IS NULL OR t.since < $8)`

	selectAlarm = `SELECT` + alarmColumns + alarmTables + ` WHERE a.id = $1`
)

// alarmPages continue a list of alarms after a cursor ($10 to $12) unless $9, the first page, is
// set. Each refers to all parameters, so that the orders share their arguments.
var alarmPages = map[AlarmOrder]string{
	WorstFirst: `
			AND ($9 OR (t.rank, t.since, a.id) < ($10::smallint, $11::timestamptz, $12::int))
		ORDER BY t.rank DESC, t.since DESC, a.id DESC`,
	NewestFirst: `
			AND ($9 OR $10::smallint IS NOT NULL
				AND (t.since, a.id) < ($11::timestamptz, $12::int))
		ORDER BY t.since DESC, a.id DESC`,
	OldestFirst: `
			AND ($9 OR $10::smallint IS NOT NULL
				AND (t.since, a.id) > ($11::timestamptz, $12::int))
		ORDER BY t.since, a.id`,
}

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

// Alarms returns at most limit alarms in the given order: those after the cursor, or the first when
// it is nil.
func (s *Store) Alarms(
	ctx context.Context, f AlarmFilter, order AlarmOrder, after *AlarmCursor, limit int,
) ([]Alarm, error) {
	var c AlarmCursor
	if after != nil {
		c = *after
	}
	page, known := alarmPages[order]
	if !known {
		page = alarmPages[WorstFirst]
	}
	var rows []alarmRow
	q := `SELECT` + alarmColumns + alarmTables + alarmWhere + page + ` LIMIT $13`
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

// Alarm returns the alarm id.
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
