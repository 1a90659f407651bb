package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
)

// DataDeletion counts the readings that are deleted, or would be.
type DataDeletion struct {
	Readings    int64      `db:"readings"`
	First, Last *time.Time // timestamps of these readings; nil if there are none
}

// deletionBatch is how many readings one transaction deletes at most.
const deletionBatch = 20_000

// DeleteReadings deletes the readings of sensor in [start, end) and makes the newest one that
// remains the latest reading, by which alarms that read the sensor are evaluated. It deletes in
// several transactions, the newest readings first: those that are committed before an error stay
// deleted. With dryRun nothing is changed.
func (s *Store) DeleteReadings(
	ctx context.Context, sensor int64, start, end time.Time, dryRun bool,
) (DataDeletion, error) {
	var d DataDeletion
	if dryRun {
		d, err := s.countReadings(ctx, sensor, start, end)
		return d, explain("readings", err)
	}
	for {
		part, err := withRules(ctx, s, s.ingest,
			func(tx *sqlx.Tx, rules *ruleSet) (DataDeletion, error) {
				return s.deletePart(ctx, tx, rules, sensor, start, end)
			})
		if err != nil || part.Readings == 0 {
			return d, explain("readings", err)
		}
		if d.Last == nil {
			d.Last = part.Last
		}
		d.First = part.First
		d.Readings += part.Readings
		end = *part.First
	}
}

// countReadings counts what DeleteReadings would delete.
func (s *Store) countReadings(
	ctx context.Context, sensor int64, start, end time.Time,
) (DataDeletion, error) {
	var d DataDeletion
	spans, err := s.spansOf(ctx, []int64{sensor}, &start, &end, whole)
	for i := 0; i < len(spans) && err == nil; i++ {
		const q = `
			SELECT count(*), min(timestamp), max(timestamp)
			FROM sensor_data
			WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3`
		var part DataDeletion
		err = s.api.QueryRowContext(ctx, q, sensor, spans[i].start, spans[i].end).Scan(
			&part.Readings, &part.First, &part.Last)
		d.Readings += part.Readings
		d.First, d.Last = cmp.Or(d.First, part.First), cmp.Or(part.Last, d.Last)
	}
	return d, err
}

// deletePart deletes the newest readings of sensor in [start, end): those of one day, and at most
// deletionBatch. After the last part of the range it evaluates the alarms by the latest reading.
func (s *Store) deletePart(
	ctx context.Context, tx *sqlx.Tx, rules *ruleSet, sensor int64, start, end time.Time,
) (d DataDeletion, err error) {
	first := start
	spans, err := s.spans(ctx, tx, start, end, newestFirst)
	if err != nil {
		return d, err
	}
	err = walk(ctx, tx, spans, func(w span) (bool, error) {
		const newest = `
			SELECT (
				SELECT timestamp
				FROM sensor_data
				WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3
				ORDER BY timestamp DESC
				LIMIT 1)`
		err := tx.GetContext(ctx, &d.Last, newest, sensor, w.start, w.end)
		return d.Last != nil, err
	})
	if err != nil || d.Last == nil {
		return d, err
	}
	if midnight := d.Last.UTC().Truncate(day); midnight.After(start) {
		start = midnight
	}
	end = d.Last.Add(time.Microsecond)
	const remove = `
		WITH deleted AS (
			DELETE FROM sensor_data
			WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3 AND timestamp >= coalesce((
				SELECT timestamp
				FROM sensor_data
				WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3
				ORDER BY timestamp DESC
				OFFSET $4
				LIMIT 1), $2)
			RETURNING timestamp)
		SELECT count(*), min(timestamp), max(timestamp) FROM deleted`
	if err := tx.QueryRowContext(ctx, remove, sensor, start, end, deletionBatch-1).Scan(&d.Readings,
		&d.First, &d.Last); err != nil || d.Readings == 0 {
		return d, err
	}
	if err := s.markDeleted(ctx, tx, sensor, d); err != nil {
		return d, err
	}
	// A transaction that inserts or deletes readings of this sensor locks its row of latest after
	// that, as here, so the last of them sees the changes of all.
	alarms := rules.withSuppressed(rules.bySensor[sensor])
	if _, err := lockLatest(ctx, tx, append(rules.sensorsOf(alarms), sensor), false); err != nil {
		return d, err
	}
	var latest time.Time
	err = tx.GetContext(ctx, &latest,
		`SELECT timestamp FROM latest WHERE sensor_id = $1 FOR UPDATE`, sensor)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return d, nil
	case err != nil || latest.Before(*d.First) || latest.After(*d.Last):
		return d, err
	}
	if err := s.moveLatestBack(ctx, tx, []int64{sensor}, *d.Last); err != nil || len(alarms) == 0 {
		return d, err
	}
	var more bool // the next transaction deletes more
	const q = `SELECT EXISTS (SELECT FROM latest WHERE sensor_id = $1 AND timestamp >= $2)`
	if err := tx.GetContext(ctx, &more, q, sensor, first); err != nil || more {
		return d, err
	}
	return d, reevaluateSensor(ctx, tx, rules, sensor, alarms)
}

// moveLatestBack makes the newest remaining reading of each of sensors, at until or before, its
// latest reading. When that one was received is no longer known.
func (s *Store) moveLatestBack(
	ctx context.Context, tx *sqlx.Tx, sensors []int64, until time.Time,
) error {
	spans, err := s.spans(ctx, tx, firstInstant, until.Add(time.Microsecond), newestFirst)
	if err != nil {
		return err
	}
	without := slices.Clone(sensors) // sensors of which no reading was found
	newest := map[span][]int64{}     // the others, by the span of their newest reading
	if err := walk(ctx, tx, spans, func(w span) (bool, error) {
		const q = `
			SELECT i.id
			FROM unnest($1::int[]) AS i (id)
			WHERE EXISTS (
				SELECT
				FROM sensor_data
				WHERE sensor_id = i.id AND timestamp >= $2 AND timestamp < $3)`
		var found []int64
		if err := tx.SelectContext(ctx, &found, q, int32s(without), w.start, w.end); err != nil {
			return false, err
		}
		newest[w] = found
		without = slices.DeleteFunc(without,
			func(id int64) bool { return slices.Contains(found, id) })
		return len(without) == 0, nil
	}); err != nil {
		return err
	}
	const move = `
		UPDATE latest l
		SET timestamp = n.timestamp, received_at = least(n.timestamp, now()),
			heard_at = greatest(l.heard_at, l.received_at), value = n.value,
			status_code = n.status_code, quality = n.quality
		FROM unnest($1::int[]) AS i (id)
		CROSS JOIN LATERAL (
			SELECT timestamp, value, status_code, quality
			FROM sensor_data
			WHERE sensor_id = i.id AND timestamp >= $2 AND timestamp < $3
			ORDER BY timestamp DESC
			LIMIT 1) n
		WHERE l.sensor_id = i.id`
	for w, found := range newest {
		if len(found) == 0 {
			continue
		}
		if _, err := tx.ExecContext(ctx, move, int32s(found), w.start, w.end); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM latest WHERE sensor_id = ANY ($1::int[])`,
		int32s(without))
	return err
}
