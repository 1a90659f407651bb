package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/series"
)

// How rollups stay equal to the readings.
//
// The transaction that adds or removes readings marks their hours, with one row of rollup_marks for
// all of them: ingest waits for nothing. RollUp takes marks, waits until an hour is over, and
// rebuilds its rollups from its readings. It does so in one transaction and takes the marks first,
// so that it sees the readings of every mark that it took. A query reads, in one statement,
//
//   - rollup_1h (and rollup_1m where minutes is true) for hours before rollup_state.through,
//   - except those in rollup_due or in a row of rollup_marks with oldest < through,
//   - and sensor_data for all other time: hours that have few readings have no rollup.
//
// So an answer equals that of the readings at every moment, however late RollUp is.

const (
	// rollupGrace is how long an hour is over before it is rolled up, so that readings that are a
	// little late do not change it afterwards.
	rollupGrace = 2 * time.Minute
	// rollupDelay is how long changes of an hour are collected, so that many late readings rebuild
	// it once in that time.
	rollupDelay = 20 * time.Second
	// maxMarks is how many rows of marks are taken at once.
	maxMarks = 2000
)

// mark marks the hours of the rows that are new.
func (b *batch) mark(ctx context.Context, tx *sqlx.Tx) error {
	const hour = int64(time.Hour / time.Microsecond)
	hours := b.rows[:0:0] // their first instants
	for _, r := range b.rows {
		if b.outcomes[r.reading] != Stored {
			continue
		}
		// rows are in order
		if n := len(hours); n > 0 && hours[n-1].sensor == r.sensor &&
			r.micros-hours[n-1].micros < hour {
			continue
		}
		r.micros -= ((r.micros % hour) + hour) % hour
		hours = append(hours, r)
	}
	return markHours(ctx, tx, hours)
}

// markHours marks hours, each row's sensor and time: its readings have changed.
func markHours(ctx context.Context, tx *sqlx.Tx, hours []row) error {
	if len(hours) == 0 {
		return nil
	}
	oldest := slices.MinFunc(hours, func(x, y row) int { return cmp.Compare(x.micros, y.micros) })
	const q = `
		INSERT INTO rollup_marks (oldest, sensors, hours)
		VALUES ($1, $2::int[], $3::timestamptz[])`
	_, err := tx.ExecContext(ctx, q, time.UnixMicro(oldest.micros).UTC(),
		column(hours, asInt4, func(h row) int64 { return h.sensor }),
		column(hours, asInstant, row.instant))
	return err
}

// markDeleted marks the hours of deleted readings, from the first to the last.
func (s *Store) markDeleted(ctx context.Context, tx *sqlx.Tx, sensor int64, d DataDeletion) error {
	if !s.rollups || d.Readings == 0 {
		return nil
	}
	var hours []row
	for h := series.HourOf(*d.First); !h.After(*d.Last); h = h.Add(time.Hour) {
		hours = append(hours, row{sensor: sensor, micros: h.UnixMicro()})
	}
	return markHours(ctx, tx, hours)
}

// PrepareRollups must be called at start, before anything is written. With rollups off it makes
// every query read readings, and returns false. With rollups on after they were off it queues all
// hours.
func (s *Store) PrepareRollups(ctx context.Context) (on bool, err error) {
	if !s.rollups {
		_, err := s.ingest.ExecContext(ctx,
			`UPDATE rollup_state SET marked = false, through = '-infinity'`)
		return false, explain("rollups", err)
	}
	var marked bool
	err = s.ingest.GetContext(ctx, &marked, `SELECT marked FROM rollup_state`)
	if err != nil || marked {
		return true, explain("rollups", err)
	}
	s.log.InfoContext(ctx, "rebuilding all rollups", "reason", "rollups were off")
	return true, explain("rollups", s.queueAllHours(ctx))
}

// queueAllHours discards all rollups and queues the hours of all readings. Interrupted, it starts
// over with the next PrepareRollups.
func (s *Store) queueAllHours(ctx context.Context) error {
	const reset = `
		TRUNCATE rollup_1h, rollup_1m, rollup_due, rollup_marks, late_changes;
		UPDATE rollup_state SET forgotten = pg_current_xact_id()`
	if _, err := s.ingest.ExecContext(ctx, reset); err != nil {
		return err
	}
	spans, err := s.spans(ctx, s.ingest, firstInstant, lastInstant, whole)
	if err != nil {
		return err
	}
	for _, w := range spans {
		const q = `
			INSERT INTO rollup_due (hour, sensor_id)
			SELECT DISTINCT date_trunc('hour', timestamp, 'UTC'), sensor_id
			FROM sensor_data
			WHERE timestamp >= $1 AND timestamp < $2
			ON CONFLICT DO NOTHING`
		if _, err := s.ingest.ExecContext(ctx, q, w.start, w.end); err != nil {
			return err
		}
	}
	_, err = s.ingest.ExecContext(ctx, `UPDATE rollup_state SET marked = true`)
	return err
}

// RollUp rolls up at most size hours of single sensors that are over and have changed, the oldest
// first, and returns how many they were and whether more are waiting. Several instances may call
// it: while one works the others do nothing.
func (s *Store) RollUp(ctx context.Context, size int) (hours int, more bool, err error) {
	err = inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		if locked, err := tryLock(ctx, tx, rollupLock); err != nil || !locked {
			return err
		}
		through, err := advanceThrough(ctx, tx)
		if err != nil {
			return err
		}
		if err := deleteOldChanges(ctx, tx); err != nil {
			return err
		}
		if more, err = takeMarks(ctx, tx, s.rollupDelay); err != nil {
			return err
		}
		due, err := takeDue(ctx, tx, through, size)
		if err != nil || len(due) == 0 {
			return err
		}
		hours, more = len(due), more || len(due) == size
		known, err := s.partitions.list(ctx, tx)
		if err != nil {
			return err
		}
		return rebuildRollups(ctx, tx, due, known)
	})
	return hours, more, explain("roll up", err)
}

// advanceThrough moves rollup_state.through to the end of the last hour that has been over for
// rollupGrace. A clock that is set back does not move it back.
func advanceThrough(ctx context.Context, tx *sqlx.Tx) (through time.Time, err error) {
	const q = `
		SELECT greatest(through, date_trunc('hour', now() - make_interval(secs => $1), 'UTC'))
		FROM rollup_state`
	if err := tx.GetContext(ctx, &through, q, rollupGrace.Seconds()); err != nil {
		return through, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE rollup_state SET through = $1 WHERE through < $1`, through)
	return through, err
}

// takeMarks turns marks into hours that are due after delay, each once, copies the late ones into
// late_changes, and reports whether there may be more marks.
func takeMarks(ctx context.Context, tx *sqlx.Tx, delay time.Duration) (more bool, err error) {
	const q = `
		WITH taken AS (
			DELETE FROM rollup_marks
			WHERE id IN (SELECT id FROM rollup_marks ORDER BY id LIMIT $1)
			RETURNING xid, oldest, sensors, hours),
		late AS (
			INSERT INTO late_changes (xid, sensors, hours)
			SELECT xid, sensors, hours
			FROM taken
			WHERE oldest < (SELECT through FROM rollup_state)),
		due AS (
			INSERT INTO rollup_due (sensor_id, hour, ready_at)
			SELECT DISTINCT m.sensor_id, m.hour, now() + make_interval(secs => $2)
			FROM taken
			CROSS JOIN unnest(taken.sensors, taken.hours) AS m (sensor_id, hour)
			ON CONFLICT DO NOTHING)
		SELECT count(*) FROM taken`
	var n int
	err = tx.GetContext(ctx, &n, q, maxMarks, delay.Seconds())
	return n == maxMarks, err
}

// sensorHour is an hour of a sensor.
type sensorHour struct {
	SensorID int64     `db:"sensor_id"`
	Hour     time.Time `db:"hour"`
}

// takeDue removes at most size hours that are over and due from the queue, the oldest first.
func takeDue(ctx context.Context, tx *sqlx.Tx, through time.Time, size int) ([]sensorHour, error) {
	const q = `
		DELETE FROM rollup_due
		WHERE (sensor_id, hour) IN (
			SELECT sensor_id, hour
			FROM rollup_due
			WHERE hour < $1 AND ready_at <= now()
			ORDER BY hour, sensor_id
			LIMIT $2)
		RETURNING sensor_id, hour`
	var due []sensorHour
	return due, tx.SelectContext(ctx, &due, q, through, size)
}

func sensorsOf(hours []sensorHour) []byte {
	return column(hours, asInt4, func(h sensorHour) int64 { return h.SensorID })
}

func startsOf(hours []sensorHour) []byte {
	return column(hours, asTimestamptz, func(h sensorHour) time.Time { return h.Hour })
}

// RollupLag returns what waits to be rolled up: rows of marks, and hours that are over.
func (s *Store) RollupLag(ctx context.Context) (marks, hours int64, err error) {
	const q = `
		SELECT
			(SELECT count(*) FROM rollup_marks),
			(SELECT count(*) FROM rollup_due WHERE hour < (SELECT through FROM rollup_state))`
	err = s.api.QueryRowContext(ctx, q).Scan(&marks, &hours)
	return marks, hours, explain("rollups", err)
}
