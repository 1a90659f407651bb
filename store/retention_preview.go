package store

import (
	"context"
	"fmt"
	"time"
)

// ExpiringPartition is a partition from which EnforceRetention would remove something.
type ExpiringPartition struct {
	partition
	Dropped  bool   // all of it would go
	Readings *int64 // an estimate; nil without rollups
	Bytes    *int64 // an estimate, unless all of it would go
	Sensors  []ExpiringSensor
}

// ExpiringSensor is a sensor whose readings would go.
type ExpiringSensor struct {
	ID        int64         `db:"id"`
	Retention time.Duration `db:"retention"`
	Readings  *int64        `db:"readings"` // by the rollups, without which it is nil
}

// lookedAt is how many partitions are looked at for one answer.
const lookedAt = 366

// ExpiringPartition returns at most limit partitions from which EnforceRetention would remove something at the time
// now, the oldest first, of those that end after after. There may be more unless more is false,
// after next.
func (s *Store) PreviewRetention(
	ctx context.Context, now, after time.Time, limit int,
) (found []ExpiringPartition, next time.Time, more bool, err error) {
	list, err := s.expired(ctx, s.api, now)
	if err != nil {
		return nil, next, false, explain("retention", err)
	}
	looked := 0
	for i := range list {
		p := &list[i]
		if !p.End.After(after) {
			continue
		}
		if len(found) == limit || looked == lookedAt {
			return found, next, true, nil
		}
		looked++
		next = p.End
		e, err := s.expiring(ctx, p, now)
		if err != nil && !dropped(err) {
			return nil, next, false, explain("retention", err)
		}
		if err == nil && (e.Dropped || len(e.Sensors) > 0) {
			found = append(found, e)
		}
	}
	return found, next, false, nil
}

func (s *Store) expiring(ctx context.Context, p *expiry, now time.Time) (ExpiringPartition, error) {
	e := ExpiringPartition{partition: p.partition}
	kept, err := s.keptIn(ctx, s.api, &p.partition, now)
	if err != nil {
		return e, err
	}
	if e.Dropped = !kept && !p.part; !e.Dropped {
		e.partition = *p.rest()
	}
	q := fmt.Sprintf(`
		WITH expiring AS (
			SELECT s.id, %s AS retention
			FROM sensors s
			CROSS JOIN LATERAL (SELECT FROM %s d WHERE d.sensor_id = s.id AND d.timestamp >= $3 AND d.timestamp < $1 LIMIT 1) d
			WHERE NOT %s)`, s.retentionOf(), p.Name, s.keeps())
	if s.rollups {
		q += fmt.Sprintf(`,
		hours AS (
			SELECT r.sensor_id, r.bucket, r.count
			FROM expiring e
			JOIN rollup_1h r ON r.sensor_id = e.id AND r.bucket >= $3 AND r.bucket < $1),
		%s,
		counted AS (
			SELECT sensor_id, count FROM hours
			UNION ALL
			SELECT g.sensor_id, d.count
			FROM uncovered g
			CROSS JOIN LATERAL (
				SELECT count(*) AS count
				FROM %s
				WHERE sensor_id = g.sensor_id AND timestamp >= g.begin AND timestamp < g.until) d)
		SELECT e.id, e.retention, sum(c.count)::bigint AS readings
		FROM expiring e
		JOIN counted c ON c.sensor_id = e.id
		GROUP BY e.id, e.retention
		ORDER BY e.id`, uncoveredBy("expiring", "$3::timestamptz", "$1::timestamptz"), p.Name)
	} else {
		q += `
		SELECT id, retention FROM expiring ORDER BY id`
	}
	if err := s.api.SelectContext(ctx, &e.Sensors, q, e.End, now, e.Start); err != nil {
		return e, err
	}
	// rows are as many as the last ANALYZE has seen, or as would fill the table
	var bytes, rows int64
	const size = `
		SELECT pg_total_relation_size(oid), CASE WHEN reltuples > 0 THEN reltuples ELSE pg_relation_size(oid) / 60 END::bigint
		FROM pg_class
		WHERE oid = to_regclass($1)`
	if err := s.api.QueryRowContext(ctx, size, p.Name).Scan(&bytes, &rows); err != nil {
		return e, err
	}
	if s.rollups {
		e.Readings = new(int64(0))
		for _, v := range e.Sensors {
			*e.Readings += *v.Readings
		}
	}
	switch {
	case e.Dropped:
		e.Bytes = &bytes
	case e.Readings != nil:
		e.Bytes = new(min(int64(float64(bytes)*float64(*e.Readings)/float64(max(rows, 1))), bytes))
	}
	return e, nil
}
