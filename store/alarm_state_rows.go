package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/oei-ms/oei-ms/alarm"
)

// writeStates writes the states of these alarms, if nobody has written them since they were read.
func (m *evaluator) writeStates(ctx context.Context, tx *sqlx.Tx, ids []int64) error {
	n := len(ids)
	if n == 0 {
		return nil
	}
	rows := make([]stateRow, n)
	versions := make([]int64, n)
	for i, id := range ids {
		p := m.alarms[id]
		var err error
		if rows[i], err = stateOf(p.rule, p.state); err != nil {
			return err
		}
		versions[i] = p.version
	}
	const q = `
		UPDATE alarm_states s
		SET version = s.version + 1, due_at = n.due_at, since = coalesce(n.since, s.since),
			occurrence = n.occurrence, rule_version = n.rule_version, rank = n.rank, state = n.state, severity = n.severity,
			memory = n.memory
		FROM unnest($1::int[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::int[], $7::smallint[],
			$8::text[], $9::text[], $10::jsonb[])
			AS n (alarm_id, version, due_at, since, occurrence, rule_version, rank, state, severity, memory)
		WHERE s.alarm_id = n.alarm_id AND s.version = n.version`
	changed := make(map[int64]time.Time, n) // when the state became what it is
	for _, e := range m.events {
		if e.Before != e.After {
			changed[e.AlarmID] = e.At
		}
	}
	since := make([]*time.Time, n)
	for i, id := range ids {
		if at, ok := changed[id]; ok {
			since[i] = &at
		}
	}
	col := columns(rows)
	res, err := tx.ExecContext(ctx, q, int32s(ids), pq.Array(versions), pq.Array(col.due),
		pq.Array(since), pq.Array(col.occurrence), pq.Array(col.ruleVersion),
		pq.Array(col.rank), pq.Array(col.state), pq.Array(col.severity), pq.Array(col.memory))
	if err != nil {
		return err
	}
	written, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if written != int64(n) {
		return errRetry // somebody was faster in spite of the locks
	}
	for _, id := range ids {
		m.alarms[id].written = true
	}
	_, err = tx.ExecContext(ctx, `UPDATE latest SET stamp = $2 WHERE sensor_id = ANY ($1::int[])`,
		int32s(m.rules.sensorsOf(ids)), m.stamp)
	return err
}

// stateRow is a state as it is kept.
type stateRow struct {
	due         *time.Time
	occurrence  int64
	ruleVersion int64
	rank        int64
	state       string
	severity    string
	memory      string
}

func stateOf(r *alarm.Rule, s alarm.State) (stateRow, error) {
	row := stateRow{
		occurrence:  s.Occurrence,
		ruleVersion: s.RuleVersion,
		rank:        int64(s.Severity.Rank()),
		state:       s.Code().Name(),
		severity:    string(s.Severity),
	}
	if row.severity == "" {
		row.rank, row.severity = int64(r.Severity.Rank()), string(r.Severity)
	}
	if due := s.Due(r); !due.IsZero() {
		row.due = &due
	}
	s.Last, s.Others = alarm.Sample{}, nil // latest has them
	memory, err := json.Marshal(s)
	row.memory = string(memory)
	return row, err
}

type stateColumns struct {
	due                           []*time.Time
	occurrence, ruleVersion, rank []int64
	state, severity, memory       []string
}

func columns(rows []stateRow) (c stateColumns) {
	for _, r := range rows {
		c.due, c.occurrence, c.ruleVersion, c.rank = append(c.due, r.due), append(c.occurrence,
			r.occurrence),
			append(c.ruleVersion, r.ruleVersion), append(c.rank, r.rank)
		c.state, c.severity, c.memory = append(c.state, r.state), append(c.severity, r.severity), append(c.memory, r.memory)
	}
	return c
}
