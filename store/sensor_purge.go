package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"
)

// PurgeDeletedSensors removes readings of deleted sensors, a day of one sensor at a time, until none is left.
// Several instances share the work.
func (s *Store) PurgeDeletedSensors(ctx context.Context) error {
	for {
		more, err := s.purgeSome(ctx)
		if err != nil || !more {
			return explain("purge", err)
		}
	}
}

// purgeSome removes the oldest day of a deleted sensor and reports whether there is more to do.
func (s *Store) purgeSome(ctx context.Context) (more bool, err error) {
	err = inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		var sensor int64
		const claim = `SELECT sensor_id FROM purges ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED`
		if err := tx.GetContext(ctx, &sensor, claim); err != nil {
			if errors.Is(err, sql.ErrNoRows) {
				return nil
			}
			return err
		}
		more = true
		var oldest *time.Time
		spans, err := s.spans(ctx, tx, firstInstant, lastInstant, oldestFirst)
		if err != nil {
			return err
		}
		if err := walk(ctx, tx, spans, func(w span) (bool, error) {
			const first = `
				SELECT (
					SELECT timestamp
					FROM sensor_data
					WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3
					ORDER BY timestamp
					LIMIT 1)`
			err := tx.GetContext(ctx, &oldest, first, sensor, w.start, w.end)
			return oldest != nil, err
		}); err != nil {
			return err
		}
		if oldest == nil {
			for _, table := range []string{"latest", "rollup_1h", "rollup_1m", "rollup_due"} {
				if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE sensor_id = $1`,
					sensor); err != nil {
					return err
				}
			}
			_, err := tx.ExecContext(ctx, `DELETE FROM purges WHERE sensor_id = $1`, sensor)
			return err
		}
		const q = `DELETE FROM sensor_data WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3`
		_, err = tx.ExecContext(ctx, q, sensor, *oldest, oldest.Truncate(day).Add(day))
		return err
	})
	return more, err
}
