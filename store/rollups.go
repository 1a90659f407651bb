package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
)

// How rollups stay equal to the readings.
//
// The transaction that adds or removes readings marks their hours, one row of rollup_marks for all
// of them: ingest waits for nothing. RollUp takes marks, waits until an hour is over, and makes it
// anew from its readings, in one transaction and the marks first: the readings of a mark that it
// took are there. Whoever asks looks, in one statement,
//
//   - into rollup_1h (and rollup_1m where minutes is true) for hours before rollup_state.through
//   - except those in rollup_due or in a row of rollup_marks with oldest < through
//   - and into sensor_data for all other time: hours that have few readings have no rollup.
//
// Thus an answer is what the readings give at every moment, however far behind RollUp is.

const (
	// rollupGrace is how long an hour is over before it is rolled up: readings that are a little
	// late change it no more then.
	rollupGrace = 2 * time.Minute
	// rollupRest is how long changes of an hour are gathered: a flood into the past makes it anew
	// once in that time.
	rollupRest = 20 * time.Second
	// marksAtOnce is how many transactions' marks are taken at once.
	marksAtOnce = 2000
)

// usable is the condition of readings that count in values. The bound keeps sums of squares within
// float8.
const usable = `quality < 2 AND value BETWEEN -1e140 AND 1e140`

// mark notes the hours of the rows that are new.
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

// markHours says that readings of these sensors in these hours have changed.
func markHours(ctx context.Context, tx *sqlx.Tx, hours []row) error {
	if len(hours) == 0 {
		return nil
	}
	oldest := slices.MinFunc(hours, func(x, y row) int { return cmp.Compare(x.micros, y.micros) })
	const q = `INSERT INTO rollup_marks (oldest, sensors, hours) VALUES ($1, $2::int[], $3::timestamptz[])`
	sensors, times := (&batch{rows: hours}).keys()
	_, err := tx.ExecContext(ctx, q, time.UnixMicro(oldest.micros).UTC(), sensors, times)
	return err
}

// markGone marks the hours of what was deleted, from the first to the last.
func (s *Store) markGone(ctx context.Context, tx *sqlx.Tx, sensor int64, d DataDeletion) error {
	if !s.rollups || d.Readings == 0 {
		return nil
	}
	var hours []row
	for h := hourOf(*d.First); !h.After(*d.Last); h = h.Add(time.Hour) {
		hours = append(hours, row{sensor: sensor, micros: h.UnixMicro()})
	}
	return markHours(ctx, tx, hours)
}

// hourOf is the beginning of t's hour in UTC, also before 1970.
func hourOf(t time.Time) time.Time { return t.UTC().Truncate(time.Hour) }

// KeepRollups has to be called at start, before anything is written. With rollups off it has every
// answer be made of readings, and reports false; with them on after they were off it has all of
// them made anew.
func (s *Store) KeepRollups(ctx context.Context) (on bool, err error) {
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
	s.log.InfoContext(ctx, "rebuilding all rollups: they were off")
	return true, explain("rollups", s.rebuildRollups(ctx))
}

// rebuildRollups has the rollups of all readings made again. When it is cut off it begins again.
func (s *Store) rebuildRollups(ctx context.Context) error {
	const forget = `
		TRUNCATE rollup_1h, rollup_1m, rollup_due, rollup_marks, late_changes;
		UPDATE rollup_state SET forgotten = pg_current_xact_id()`
	if _, err := s.ingest.ExecContext(ctx, forget); err != nil {
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
// first, and returns how many it was and whether more are waiting. Several instances may call it:
// while one works the others have nothing to do.
func (s *Store) RollUp(ctx context.Context, size int) (hours int, more bool, err error) {
	err = tx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		var mine bool
		if err := tx.GetContext(ctx, &mine, `SELECT pg_try_advisory_xact_lock($1)`, rollupLock); err != nil || !mine {
			return err
		}
		through, err := advance(ctx, tx)
		if err != nil {
			return err
		}
		if err := forgetChanges(ctx, tx); err != nil {
			return err
		}
		if more, err = collect(ctx, tx, s.rollupRest); err != nil {
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
		return rollUp(ctx, tx, due, known)
	})
	return hours, more, explain("roll up", err)
}

// advance moves through to the last hour that is over by rollupGrace. Clocks that were set back do
// not move it back.
func advance(ctx context.Context, tx *sqlx.Tx) (through time.Time, err error) {
	const q = `SELECT greatest(through, date_trunc('hour', now() - make_interval(secs => $1), 'UTC')) FROM rollup_state`
	if err := tx.GetContext(ctx, &through, q, rollupGrace.Seconds()); err != nil {
		return through, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE rollup_state SET through = $1 WHERE through < $1`, through)
	return through, err
}

// collect turns marks into hours that are due, each once, keeps those that are late in
// late_changes, and reports whether there may be more marks.
func collect(ctx context.Context, tx *sqlx.Tx, rest time.Duration) (more bool, err error) {
	const q = `
		WITH taken AS (
			DELETE FROM rollup_marks
			WHERE id IN (SELECT id FROM rollup_marks ORDER BY id LIMIT $1)
			RETURNING xid, oldest, sensors, hours),
		late AS (
			INSERT INTO late_changes (xid, sensors, hours)
			SELECT xid, sensors, hours FROM taken WHERE oldest < (SELECT through FROM rollup_state)),
		due AS (
			INSERT INTO rollup_due (sensor_id, hour, ready_at)
			SELECT DISTINCT m.sensor_id, m.hour, now() + make_interval(secs => $2)
			FROM taken
			CROSS JOIN unnest(taken.sensors, taken.hours) AS m (sensor_id, hour)
			ON CONFLICT DO NOTHING)
		SELECT count(*) FROM taken`
	var n int
	err = tx.GetContext(ctx, &n, q, marksAtOnce, rest.Seconds())
	return n == marksAtOnce, err
}

// sensorHour is an hour of one sensor.
type sensorHour struct {
	SensorID int64     `db:"sensor_id"`
	Hour     time.Time `db:"hour"`
}

// takeDue takes out hours that are over, the oldest first.
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

func hourSensors(hours []sensorHour) []byte {
	return int32sOf(len(hours), func(i int) int64 { return hours[i].SensorID })
}

func hourStarts(hours []sensorHour) []byte {
	return timestamps(len(hours), func(i int) time.Time { return hours[i].Hour })
}

// RollupLag is what waits to be rolled up: transactions whose marks were not looked at, and hours
// that are over.
func (s *Store) RollupLag(ctx context.Context) (marks, hours int64, err error) {
	const q = `
		SELECT (SELECT count(*) FROM rollup_marks), (SELECT count(*) FROM rollup_due WHERE hour < (SELECT through FROM rollup_state))`
	err = s.api.QueryRowContext(ctx, q).Scan(&marks, &hours)
	return marks, hours, explain("rollups", err)
}
