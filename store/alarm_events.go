package store

import (
	"context"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"
)

// AlarmEvent is a transition of an alarm. It remains when the alarm is deleted.
type AlarmEvent struct {
	Epoch        string    `db:"epoch"`  // of the database
	Offset       int64     `db:"offset"` // from 1, without gaps, in the order of commits
	At           time.Time `db:"at"`     // event time
	RecordedAt   time.Time `db:"recorded_at"`
	AlarmID      int64     `db:"alarm_id"`
	SensorID     int64     `db:"sensor_id"`
	GatewayID    int64     `db:"gateway_id"`
	Occurrence   int64     `db:"occurrence"` // of the alarm, from 1; 0: before the first
	StateVersion int64     `db:"version"`    // after the event
	RuleVersion  int64     `db:"rule_version"`
	Kind         string    `db:"kind"`     // raised, escalated, cleared, acknowledged, …
	Before       string    `db:"before"`   // state, such as active_unacknowledged
	After        string    `db:"after"`    // state
	Level        string    `db:"level"`    // the limit, such as high_high; empty: none
	Severity     string    `db:"severity"` // critical, major, minor or warning
	Value        *float64  `db:"value"`    // nil: none
	Message      string    `db:"message"`
	User         string    `db:"username"` // empty: the event was not made by a user
	Comment      string    `db:"comment"`
	// for the journal only: the alarm is shelved, suppressed or out of service
	Quiet bool `db:"quiet"`
}

// AlarmEventFilter selects events; a nil member selects all.
type AlarmEventFilter struct {
	AlarmID, SensorID, GatewayID *int64
	Kind, Severity               *string
	From, To                     *time.Time // event time in [From, To)
}

const eventColumns = `
		l.epoch, e."offset", e.at, e.recorded_at, e.alarm_id, e.sensor_id, e.gateway_id,
		e.occurrence, e.version, e.rule_version, e.kind, e.before, e.after, e.level, e.severity,
		e.value, e.message, e.username, e.comment, e.quiet`

// AlarmEvents returns at most limit events with an offset above after, in order. All of them are
// committed, and no event with a lower offset will be committed later.
func (s *Store) AlarmEvents(ctx context.Context, after int64, limit int) ([]AlarmEvent, error) {
	return s.FilterAlarmEvents(ctx, AlarmEventFilter{}, after, limit)
}

// FilterAlarmEvents returns what AlarmEvents returns, of the events that f selects.
func (s *Store) FilterAlarmEvents(
	ctx context.Context, f AlarmEventFilter, after int64, limit int,
) ([]AlarmEvent, error) {
	const q = `
		SELECT` + eventColumns + `
		FROM alarm_events e
		CROSS JOIN alarm_log l
		WHERE e."offset" > $1
			AND ($2::int IS NULL OR e.alarm_id = $2)
			AND ($3::int IS NULL OR e.sensor_id = $3)
			AND ($4::int IS NULL OR e.gateway_id = $4)
			AND ($5::text IS NULL OR e.kind = $5)
			AND ($6::text IS NULL OR e.severity = $6)
			AND ($7::timestamptz IS NULL OR e.at >= $7)
			AND ($8::timestamptz IS NULL OR e.at < $8)
		ORDER BY e."offset"
		LIMIT $9`
	events := []AlarmEvent{}
	err := s.api.SelectContext(ctx, &events, q, after, f.AlarmID, f.SensorID, f.GatewayID, f.Kind,
		f.Severity, f.From, f.To, limit)
	return events, explain("alarm events", err)
}

// AlarmLog returns the epoch of the database and the offset of its last alarm event; 0 when there
// is none.
func (s *Store) AlarmLog(ctx context.Context) (epoch string, last int64, err error) {
	err = s.api.QueryRowContext(ctx, `SELECT epoch, last FROM alarm_log`).Scan(&epoch, &last)
	return epoch, last, explain("alarm log", err)
}

// ActiveAlarms returns the last event of each alarm that is not normal, at most limit, worst first,
// together with the epoch and the last offset of the log at the same moment.
func (s *Store) ActiveAlarms(
	ctx context.Context, limit int,
) (epoch string, last int64, events []AlarmEvent, err error) {
	// one statement, which sees one snapshot of all tables
	const q = `
		SELECT` + eventColumns + `, l.last
		FROM alarm_log l
		CROSS JOIN alarm_states s
		CROSS JOIN LATERAL (
			SELECT max("offset") AS "offset"
			FROM alarm_events
			WHERE alarm_id = s.alarm_id) newest
		JOIN alarm_events e ON e."offset" = newest."offset"
		WHERE s.state <> 'normal'
		ORDER BY s.rank DESC, s.alarm_id
		LIMIT $1`
	var rows []struct {
		AlarmEvent
		Last int64 `db:"last"`
	}
	if epoch, last, err = s.AlarmLog(ctx); err != nil {
		return "", 0, nil, err
	}
	if err := s.api.SelectContext(ctx, &rows, q, limit); err != nil {
		return "", 0, nil, explain("active alarms", err)
	}
	events = make([]AlarmEvent, len(rows))
	for i, row := range rows {
		epoch, last, events[i] = row.Epoch, row.Last, row.AlarmEvent
	}
	return epoch, last, events, nil
}

// ListenAlarmEvents calls changed whenever there may be new alarm events of any instance, until ctx
// ends.
func (s *Store) ListenAlarmEvents(ctx context.Context, changed func()) error {
	return s.listen(ctx, "alarm_events", func(string) { changed() })
}

// addAlarmEvents stores events, which it gives their offsets. It locks the log, so it must be the
// last to take a lock in the transaction.
func addAlarmEvents(ctx context.Context, tx *sqlx.Tx, events []AlarmEvent) error {
	if len(events) == 0 {
		return nil
	}
	const count = `
		UPDATE alarm_log
		SET last = last + $1
		RETURNING last - $1, clock_timestamp()`
	var last int64
	var now time.Time
	if err := tx.QueryRowContext(ctx, count, len(events)).Scan(&last, &now); err != nil {
		return err
	}
	for i := range events {
		last++
		events[i].Offset = last
	}
	const q = `
		INSERT INTO alarm_events ("offset", at, recorded_at, alarm_id, sensor_id, gateway_id,
			occurrence, rule_version, kind, before, after, severity, value, message, username,
			comment, quiet, version, level)
		SELECT o, at, $3, alarm_id, sensor_id, gateway_id, occurrence, rule_version, kind, before,
			after, severity, value, message, username, comment, quiet, version, level
		FROM unnest($1::bigint[], $2::timestamptz[], $4::int[], $5::int[], $6::int[], $7::bigint[],
			$8::int[], $9::text[], $10::text[], $11::text[], $12::text[], $13::float8[],
			$14::text[], $15::text[], $16::text[], $17::boolean[], $18::bigint[], $19::text[])
			AS e (o, at, alarm_id, sensor_id, gateway_id, occurrence, rule_version, kind, before,
				after, severity, value, message, username, comment, quiet, version, level)`
	_, err := tx.ExecContext(ctx, q,
		column(events, asInt8, func(e AlarmEvent) int64 { return e.Offset }),
		column(events, asTimestamptz, func(e AlarmEvent) time.Time { return e.At }),
		now,
		column(events, asInt4, func(e AlarmEvent) int64 { return e.AlarmID }),
		column(events, asInt4, func(e AlarmEvent) int64 { return e.SensorID }),
		column(events, asInt4, func(e AlarmEvent) int64 { return e.GatewayID }),
		column(events, asInt8, func(e AlarmEvent) int64 { return e.Occurrence }),
		column(events, asInt4, func(e AlarmEvent) int64 { return e.RuleVersion }),
		column(events, asText, func(e AlarmEvent) string { return e.Kind }),
		column(events, asText, func(e AlarmEvent) string { return e.Before }),
		column(events, asText, func(e AlarmEvent) string { return e.After }),
		column(events, asText, func(e AlarmEvent) string { return e.Severity }),
		column(events, orNull(asFloat8), func(e AlarmEvent) *float64 { return e.Value }),
		column(events, asText, func(e AlarmEvent) string { return e.Message }),
		column(events, asText, func(e AlarmEvent) string { return e.User }),
		column(events, asText, func(e AlarmEvent) string { return e.Comment }),
		column(events, asBool, func(e AlarmEvent) bool { return e.Quiet }),
		column(events, asInt8, func(e AlarmEvent) int64 { return e.StateVersion }),
		column(events, asText, func(e AlarmEvent) string { return e.Level }))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `SELECT pg_notify('alarm_events', $1)`,
		strconv.FormatInt(last, 10))
	return err
}
