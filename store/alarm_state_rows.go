package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
)

// stateRow is the state of an alarm as alarm_states stores it.
type stateRow struct {
	alarmID     int64
	rowVersion  int64 // that the row has had so far
	due         *time.Time
	since       *time.Time // nil: the state's name stays
	occurrence  int64
	ruleVersion int64
	rank        int16
	state       string
	severity    string
	memory      string // the state as JSON
}

// stateRowOf returns the columns that follow from s, the state of an alarm with the rule r.
func stateRowOf(r *alarm.Rule, s alarm.State) (stateRow, error) {
	row := stateRow{
		alarmID:     r.ID,
		occurrence:  s.Occurrence,
		ruleVersion: s.RuleVersion,
		rank:        int16(s.Severity.Rank()),
		state:       s.Code().Name(),
		severity:    string(s.Severity),
	}
	if row.severity == "" {
		row.rank, row.severity = int16(r.Severity.Rank()), string(r.Severity)
	}
	if due := s.Due(r); !due.IsZero() {
		row.due = &due
	}
	s.Last, s.Others = alarm.Sample{}, nil // latest has them
	memory, err := json.Marshal(s)
	row.memory = string(memory)
	return row, err
}

// writeStates writes the states of the alarms ids and gives latest of their sensors the new stamp.
// When a row has changed since it was read, in spite of the locks, the error is errRetry.
func (ev *evaluator) writeStates(ctx context.Context, tx *sqlx.Tx, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	rows, err := ev.stateRows(ids)
	if err != nil {
		return err
	}
	const q = `
		UPDATE alarm_states s
		SET version = s.version + 1, due_at = n.due_at, since = coalesce(n.since, s.since),
			occurrence = n.occurrence, rule_version = n.rule_version, rank = n.rank,
			state = n.state, severity = n.severity, memory = n.memory
		FROM unnest($1::int[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::bigint[],
			$6::int[], $7::smallint[], $8::text[], $9::text[], $10::jsonb[])
			AS n (alarm_id, version, due_at, since, occurrence, rule_version, rank, state,
				severity, memory)
		WHERE s.alarm_id = n.alarm_id AND s.version = n.version`
	res, err := tx.ExecContext(ctx, q,
		column(rows, asInt4, func(r stateRow) int64 { return r.alarmID }),
		column(rows, asInt8, func(r stateRow) int64 { return r.rowVersion }),
		column(rows, orNull(asTimestamptz), func(r stateRow) *time.Time { return r.due }),
		column(rows, orNull(asTimestamptz), func(r stateRow) *time.Time { return r.since }),
		column(rows, asInt8, func(r stateRow) int64 { return r.occurrence }),
		column(rows, asInt4, func(r stateRow) int64 { return r.ruleVersion }),
		column(rows, asInt2, func(r stateRow) int16 { return r.rank }),
		column(rows, asText, func(r stateRow) string { return r.state }),
		column(rows, asText, func(r stateRow) string { return r.severity }),
		column(rows, asJSONB, func(r stateRow) string { return r.memory }))
	if err != nil {
		return err
	}
	written, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if written != int64(len(rows)) {
		return errRetry
	}
	for _, id := range ids {
		ev.alarms[id].written = true
	}
	const stamp = `UPDATE latest SET stamp = $2 WHERE sensor_id = ANY ($1::int[])`
	_, err = tx.ExecContext(ctx, stamp, int32s(ev.rules.sensorsOf(ids)), ev.stamp)
	return err
}

// stateRows returns the rows of the alarms ids.
func (ev *evaluator) stateRows(ids []int64) ([]stateRow, error) {
	since := map[int64]time.Time{} // when each alarm entered its state
	for _, e := range ev.events {
		if e.Before != e.After {
			since[e.AlarmID] = e.At
		}
	}
	rows := make([]stateRow, len(ids))
	for i, id := range ids {
		p := ev.alarms[id]
		row, err := stateRowOf(p.rule, p.state)
		if err != nil {
			return nil, err
		}
		row.rowVersion = p.rowVersion
		if at, ok := since[id]; ok {
			row.since = &at
		}
		rows[i] = row
	}
	return rows, nil
}
