package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// PurgeDeletedSensors deletes the readings of deleted sensors, a day of one sensor in each
// transaction. Several instances may call it: they share the work.
func (s *Store) PurgeDeletedSensors(ctx context.Context) error {
	for {
		more, err := s.purgeDay(ctx)
		if err != nil || !more {
			return explain("purge", err)
		}
	}
}

// purgeDay deletes the oldest day of a deleted sensor and reports whether more may be left.
func (s *Store) purgeDay(ctx context.Context) (more bool, err error) {
	err = inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		var sensor int64
		const claim = `
			SELECT sensor_id
			FROM purges
			ORDER BY created_at
			LIMIT 1
			FOR UPDATE SKIP LOCKED`
		err := tx.GetContext(ctx, &sensor, claim)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		more = true
		oldest, err := s.oldestReading(ctx, tx, sensor)
		if err != nil {
			return err
		}
		if oldest == nil {
			return finishPurge(ctx, tx, sensor)
		}
		const q = `
			DELETE FROM sensor_data
			WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3`
		_, err = tx.ExecContext(ctx, q, sensor, *oldest, oldest.Truncate(day).Add(day))
		return err
	})
	return more, err
}

// oldestReading returns the timestamp of a sensor's oldest reading; nil if it has none.
func (s *Store) oldestReading(
	ctx context.Context, tx *sqlx.Tx, sensor int64,
) (oldest *time.Time, err error) {
	spans, err := s.spans(ctx, tx, firstInstant, lastInstant, oldestFirst)
	if err != nil {
		return nil, err
	}
	err = walk(ctx, tx, spans, func(w span) (bool, error) {
		const q = `
			SELECT (
				SELECT timestamp
				FROM sensor_data
				WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3
				ORDER BY timestamp
				LIMIT 1)`
		err := tx.GetContext(ctx, &oldest, q, sensor, w.start, w.end)
		return oldest != nil, err
	})
	return oldest, err
}

// finishPurge deletes everything else about a sensor whose readings are deleted.
func finishPurge(ctx context.Context, tx *sqlx.Tx, sensor int64) error {
	for _, table := range []string{"latest", "rollup_1h", "rollup_1m", "rollup_due", "purges"} {
		const q = `DELETE FROM %s WHERE sensor_id = $1`
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(q, table), sensor); err != nil {
			return err
		}
	}
	return nil
}
