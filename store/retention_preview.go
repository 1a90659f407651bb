package store

import (
	"context"
	"time"
)

// ExpiringPartition is a partition from which EnforceRetention would remove something.
type ExpiringPartition struct {
	partition
	Dropped  bool   // all of it would be removed
	Readings *int64 // an estimate; nil without rollups
	Bytes    *int64 // an estimate, unless all of it would be removed
	Sensors  []ExpiringSensor
}

// ExpiringSensor is a sensor whose readings would be removed.
type ExpiringSensor struct {
	ID        int64         `db:"id"`
	Retention time.Duration `db:"retention"`
	Readings  *int64        `db:"readings"` // by the rollups; nil without them
}

// maxPreviewed is how many partitions one preview examines.
const maxPreviewed = 366

// PreviewRetention returns at most limit partitions from which EnforceRetention would remove
// something at the time now, the oldest first, of those that end after after. When more is true
// there may be more of them, after next.
func (s *Store) PreviewRetention(
	ctx context.Context, now, after time.Time, limit int,
) (found []ExpiringPartition, next time.Time, more bool, err error) {
	list, err := s.expired(ctx, s.api, now)
	if err != nil {
		return nil, next, false, explain("retention", err)
	}
	examined := 0
	for i := range list {
		p := &list[i]
		if !p.End.After(after) {
			continue
		}
		if len(found) == limit || examined == maxPreviewed {
			return found, next, true, nil
		}
		examined++
		next = p.End
		e, err := s.preview(ctx, p, now)
		if err != nil && !isGone(err) {
			return nil, next, false, explain("retention", err)
		}
		if err == nil && (e.Dropped || len(e.Sensors) > 0) {
			found = append(found, e)
		}
	}
	return found, next, false, nil
}

// preview returns what EnforceRetention would remove from p.
func (s *Store) preview(
	ctx context.Context, p *expiredRange, now time.Time,
) (ExpiringPartition, error) {
	e := ExpiringPartition{partition: p.partition}
	kept, err := s.isKept(ctx, s.api, &p.partition, now)
	if err != nil {
		return e, err
	}
	if e.Dropped = !kept && !p.isPartial; !e.Dropped {
		e.partition = *p.own()
	}
	q := render(previewTemplate, s.partitionClauses(&p.partition))
	if err := s.api.SelectContext(ctx, &e.Sensors, q, e.End, now, e.Start); err != nil {
		return e, err
	}
	return e, s.previewSizes(ctx, &e)
}

// previewTemplate has the sensors whose readings of [$3, $1) are expired at the time $2. With
// rollups it counts them: by the hours that have a rollup, and in the readings of all other time.
var previewTemplate = parseSQL(`
		WITH expiring AS (
			SELECT s.id, {{.Retention}} AS retention
			FROM sensors s
			` + hasReadings + `
			WHERE NOT ` + keepsReadings + `)
		{{- if .Rollups}},
		hours AS (
			SELECT r.sensor_id, r.bucket, r.count
			FROM expiring e
			JOIN rollup_1h r ON r.sensor_id = e.id AND r.bucket >= $3 AND r.bucket < $1),` +
	uncoveredBy("expiring", "$3::timestamptz", "$1::timestamptz") + `,
		counted AS (
			SELECT sensor_id, count
			FROM hours
			UNION ALL
			SELECT u.sensor_id, d.count
			FROM uncovered u
			CROSS JOIN LATERAL (
				SELECT count(*) AS count
				FROM {{.Partition}}
				WHERE sensor_id = u.sensor_id
					AND timestamp >= u.begin
					AND timestamp < u.until) d)
		SELECT e.id, e.retention, sum(c.count)::bigint AS readings
		FROM expiring e
		JOIN counted c ON c.sensor_id = e.id
		GROUP BY e.id, e.retention
		ORDER BY e.id
		{{- else}}
		SELECT id, retention
		FROM expiring
		ORDER BY id
		{{- end}}`)

// previewSizes sets how many readings and bytes of e would be removed.
func (s *Store) previewSizes(ctx context.Context, e *ExpiringPartition) error {
	// rows are as many as the last ANALYZE has counted, or as would fill the table
	const size = `
		SELECT
			pg_total_relation_size(oid),
			CASE WHEN reltuples > 0 THEN reltuples ELSE pg_relation_size(oid) / 60 END::bigint
		FROM pg_class
		WHERE oid = to_regclass($1)`
	var bytes, rows int64
	if err := s.api.QueryRowContext(ctx, size, e.Name).Scan(&bytes, &rows); err != nil {
		return err
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
		share := float64(*e.Readings) / float64(max(rows, 1))
		e.Bytes = new(min(int64(float64(bytes)*share), bytes))
	}
	return nil
}
