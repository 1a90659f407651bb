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

// DeleteReadings deletes the readings of sensor in [start, end), for good, and moves its latest back to the newest that is left. It
// takes a day to a transaction, the newest first: what it has deleted when it fails is deleted. With dryRun nothing is changed.
func (s *Store) DeleteReadings(ctx context.Context, sensor int64, start, end time.Time, dryRun bool) (DataDeletion, error) {
	var d DataDeletion
	if dryRun {
		const q = `SELECT count(*), min(timestamp), max(timestamp) FROM sensor_data WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3`
		err := s.api.QueryRowContext(ctx, q, sensor, start, end).Scan(&d.Readings, &d.First, &d.Last)
		return d, explain("readings", err)
	}
	for {
		day, err := s.deleteDay(ctx, sensor, start, end)
		if err != nil || day.Readings == 0 {
			return d, explain("readings", err)
		}
		if d.Last == nil {
			d.Last = day.Last
		}
		d.First = day.First
		d.Readings += day.Readings
		end = *day.First
	}
}

// deleteDay deletes the readings in [start, end) of the newest day that has any.
func (s *Store) deleteDay(ctx context.Context, sensor int64, start, end time.Time) (DataDeletion, error) {
	var d DataDeletion
	err := tx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		// Ingest moves latest only after this, and then forward of what is left.
		var latest time.Time
		err := tx.GetContext(ctx, &latest, `SELECT timestamp FROM latest WHERE sensor_id = $1 FOR UPDATE`, sensor)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		const newest = `
			SELECT (SELECT timestamp FROM sensor_data WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3 ORDER BY timestamp DESC LIMIT 1)`
		if err := tx.GetContext(ctx, &d.Last, newest, sensor, start, end); err != nil || d.Last == nil {
			return err
		}
		if midnight := d.Last.UTC().Truncate(day); midnight.After(start) {
			start = midnight
		}
		const remove = `
			WITH gone AS (DELETE FROM sensor_data WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3 RETURNING timestamp)
			SELECT count(*), min(timestamp), max(timestamp) FROM gone`
		if err := tx.QueryRowContext(ctx, remove, sensor, start, end).Scan(&d.Readings, &d.First, &d.Last); err != nil {
			return err
		}
		if err := s.markGone(ctx, tx, sensor, d); err != nil {
			return err
		}
		if latest.Before(start) || !latest.Before(end) {
			return nil
		}
		return moveLatestBack(ctx, tx, sensor)
	})
	return d, err
}

// moveLatestBack makes the newest reading that sensor still has its latest. When that one was received is not known any more.
func moveLatestBack(ctx context.Context, tx *sqlx.Tx, sensor int64) error {
	const q = `
		WITH newest AS (
			SELECT timestamp, value, status_code, quality FROM sensor_data WHERE sensor_id = $1 ORDER BY timestamp DESC LIMIT 1
		), gone AS (
			DELETE FROM latest WHERE sensor_id = $1 AND NOT EXISTS (SELECT FROM newest)
		)
		UPDATE latest l
		SET timestamp = n.timestamp, received_at = n.timestamp, value = n.value, status_code = n.status_code, quality = n.quality
		FROM newest n
		WHERE l.sensor_id = $1`
	_, err := tx.ExecContext(ctx, q, sensor)
	return err
}
