package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"
)

// DataDeletion says which readings go; without any, First and Last are nil.
type DataDeletion struct {
	Readings    int64      `db:"readings"`
	First, Last *time.Time // of those that go
}

// deletedAtOnce is how many readings one transaction deletes.
const deletedAtOnce = 20_000

// DeleteReadings deletes the readings of sensor in [start, end), for good, and moves its latest back to the newest that is left. It
// takes some to a transaction, the newest first: what it has deleted when it fails is deleted. With dryRun nothing is changed.
func (s *Store) DeleteReadings(ctx context.Context, sensor int64, start, end time.Time, dryRun bool) (DataDeletion, error) {
	var d DataDeletion
	if dryRun {
		const q = `SELECT count(*), min(timestamp), max(timestamp) FROM sensor_data WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3`
		err := s.api.QueryRowContext(ctx, q, sensor, start, end).Scan(&d.Readings, &d.First, &d.Last)
		return d, explain("readings", err)
	}
	for {
		var some DataDeletion
		err := tx(ctx, s.ingest, func(tx *sqlx.Tx) (err error) {
			some, err = s.deleteSome(ctx, tx, sensor, start, end)
			return err
		})
		if err != nil || some.Readings == 0 {
			return d, explain("readings", err)
		}
		if d.Last == nil {
			d.Last = some.Last
		}
		d.First = some.First
		d.Readings += some.Readings
		end = *some.First
	}
}

// deleteSome deletes the newest readings of sensor in [start, end): those of one day, and deletedAtOnce at most.
func (s *Store) deleteSome(ctx context.Context, tx *sqlx.Tx, sensor int64, start, end time.Time) (d DataDeletion, err error) {
	const newest = `
		SELECT (SELECT timestamp FROM sensor_data WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3 ORDER BY timestamp DESC LIMIT 1)`
	if err := tx.GetContext(ctx, &d.Last, newest, sensor, start, end); err != nil || d.Last == nil {
		return d, err
	}
	if midnight := d.Last.UTC().Truncate(day); midnight.After(start) {
		start = midnight
	}
	const remove = `
		WITH gone AS (
			DELETE FROM sensor_data
			WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3 AND timestamp >= coalesce((
				SELECT timestamp
				FROM sensor_data
				WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3
				ORDER BY timestamp DESC
				OFFSET $4
				LIMIT 1), $2)
			RETURNING timestamp)
		SELECT count(*), min(timestamp), max(timestamp) FROM gone`
	if err := tx.QueryRowContext(ctx, remove, sensor, start, end, deletedAtOnce-1).Scan(&d.Readings, &d.First, &d.Last); err != nil || d.Readings == 0 {
		return d, err
	}
	if err := s.markGone(ctx, tx, sensor, d); err != nil {
		return d, err
	}
	// Whoever has stored or deleted something of this sensor locks its latest behind that, as we do: the last one sees all of it.
	var latest time.Time
	err = tx.GetContext(ctx, &latest, `SELECT timestamp FROM latest WHERE sensor_id = $1 FOR UPDATE`, sensor)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return d, nil
	case err != nil || latest.Before(*d.First) || latest.After(*d.Last):
		return d, err
	}
	return d, moveLatestBack(ctx, tx, []int64{sensor}, *d.Last)
}

// moveLatestBack makes the newest reading that each of sensors still has from until or before its latest. When that one was
// received is not known any more.
func moveLatestBack(ctx context.Context, tx *sqlx.Tx, sensors []int64, until time.Time) error {
	const q = `
		WITH newest AS (
			SELECT i.id, n.timestamp, n.value, n.status_code, n.quality
			FROM unnest($1::int[]) AS i (id)
			LEFT JOIN LATERAL (
				SELECT timestamp, value, status_code, quality
				FROM sensor_data
				WHERE sensor_id = i.id AND timestamp <= $2
				ORDER BY timestamp DESC
				LIMIT 1) n ON true),
		gone AS (
			DELETE FROM latest l USING newest n WHERE l.sensor_id = n.id AND n.timestamp IS NULL)
		UPDATE latest l
		SET timestamp = n.timestamp, received_at = n.timestamp, value = n.value, status_code = n.status_code, quality = n.quality
		FROM newest n
		WHERE l.sensor_id = n.id AND n.timestamp IS NOT NULL`
	_, err := tx.ExecContext(ctx, q, int32s(sensors), until)
	return err
}
