package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
)

// How rollups stay equal to the readings.
//
// The transaction that adds or removes readings marks their hours, one row of rollup_marks for all of them: ingest waits for
// nothing. RollUp takes marks, waits until an hour is over, and makes it anew from its readings, in one transaction and the marks
// first: the readings of a mark that it took are there. Whoever asks looks, in one statement,
//
//   - into rollup_1h (and rollup_1m where minutes is true) for hours before rollup_state.through
//   - except those in rollup_due or in a row of rollup_marks with oldest < through: these it reads from sensor_data
//   - and into sensor_data for hours from through on.
//
// Thus an answer is what the readings give at every moment, however far behind RollUp is.

const (
	rollupLock = 0x6f65692e // "oei."
	// rollupGrace is how long an hour is over before it is rolled up: readings that are a little late change it no more then.
	rollupGrace = 2 * time.Minute
	// rollupRest is how long changes of an hour are gathered: a flood into the past makes it anew once in that time.
	rollupRest = 20 * time.Second
	// marksAtOnce is how many transactions' marks are taken at once.
	marksAtOnce = 2000
	// denseHour is from how many readings on an hour's minutes are kept: below, they would take more room than the readings.
	denseHour = 240
)

// usable is the condition of readings that count in values. The bound keeps sums of squares within float8.
const usable = `quality < 2 AND value BETWEEN -1e140 AND 1e140`

// mark notes the hours of the rows that are new.
func (b *batch) mark(ctx context.Context, tx *sqlx.Tx) error {
	const hour = int64(time.Hour / time.Microsecond)
	hours := b.rows[:0:0] // their first instants
	for _, r := range b.rows {
		if b.outcomes[r.reading] != Stored {
			continue
		}
		if n := len(hours); n > 0 && hours[n-1].sensor == r.sensor && r.micros-hours[n-1].micros < hour { // rows are in order
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

// KeepRollups has to be called at start, before anything is written. With rollups off it has every answer be made of readings, and
// reports false; with them on after they were off it has all of them made anew.
func (s *Store) KeepRollups(ctx context.Context) (on bool, err error) {
	err = tx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		if !s.rollups {
			_, err := tx.ExecContext(ctx, `UPDATE rollup_state SET marked = false, through = '-infinity'`)
			return err
		}
		res, err := tx.ExecContext(ctx, `UPDATE rollup_state SET marked = true WHERE NOT marked`)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		s.log.InfoContext(ctx, "rollups were off: all of them are made anew")
		const q = `
			TRUNCATE rollup_1h, rollup_1m, rollup_due, rollup_marks;
			INSERT INTO rollup_due (hour, sensor_id) SELECT DISTINCT date_trunc('hour', timestamp, 'UTC'), sensor_id FROM sensor_data`
		_, err = tx.ExecContext(ctx, q)
		return err
	})
	return s.rollups, explain("rollups", err)
}

// RollUp rolls up at most size hours of single sensors that are over and have changed, the oldest first, and returns how many it
// was and whether more are waiting. Several instances may call it: while one works the others have nothing to do.
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
		if more, err = collect(ctx, tx, s.rollupRest); err != nil {
			return err
		}
		due, err := takeDue(ctx, tx, through, size)
		if err != nil || len(due) == 0 {
			return err
		}
		hours, more = len(due), more || len(due) == size
		return rollUp(ctx, tx, due)
	})
	return hours, more, explain("roll up", err)
}

// advance moves through to the last hour that is over by rollupGrace. Clocks that were set back do not move it back.
func advance(ctx context.Context, tx *sqlx.Tx) (through time.Time, err error) {
	const q = `SELECT greatest(through, date_trunc('hour', now() - make_interval(secs => $1), 'UTC')) FROM rollup_state`
	if err := tx.GetContext(ctx, &through, q, rollupGrace.Seconds()); err != nil {
		return through, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE rollup_state SET through = $1 WHERE through < $1`, through)
	return through, err
}

// collect turns marks into hours that are due, each once, and reports whether there may be more marks.
func collect(ctx context.Context, tx *sqlx.Tx, rest time.Duration) (more bool, err error) {
	const q = `
		WITH taken AS (
			DELETE FROM rollup_marks
			WHERE id IN (SELECT id FROM rollup_marks ORDER BY id LIMIT $1)
			RETURNING sensors, hours),
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

// rollUp makes the rollups of hours anew. An hour without readings has none.
func rollUp(ctx context.Context, tx *sqlx.Tx, hours []sensorHour) error {
	sensors := make([]int64, len(hours))
	first, last := hours[0].Hour, hours[0].Hour
	for i, h := range hours {
		sensors[i] = h.SensorID
		if h.Hour.Before(first) {
			first = h.Hour
		}
		if h.Hour.After(last) {
			last = h.Hour
		}
	}
	starts := timestamps(len(hours), func(i int) time.Time { return hours[i].Hour })
	for _, q := range []string{
		`DELETE FROM rollup_1h r USING unnest($1::int[], $2::timestamptz[]) AS d (sensor_id, hour)
			WHERE r.sensor_id = d.sensor_id AND r.bucket = d.hour`,
		`DELETE FROM rollup_1m r USING unnest($1::int[], $2::timestamptz[]) AS d (sensor_id, hour)
			WHERE r.sensor_id = d.sensor_id AND r.bucket >= d.hour AND r.bucket < d.hour + interval '1 hour'`,
	} {
		if _, err := tx.ExecContext(ctx, q, int32s(sensors), starts); err != nil {
			return err
		}
	}
	// $3 and $4 let the planner leave out partitions. A neighbour is the next usable reading of the same hour.
	q := fmt.Sprintf(`
		WITH due AS (SELECT * FROM unnest($1::int[], $2::timestamptz[]) AS d (sensor_id, hour)),
		readings AS (
			SELECT d.sensor_id, d.hour, r.timestamp, r.quality, CASE WHEN %[1]s THEN r.value END AS value
			FROM due d
			CROSS JOIN LATERAL (
				SELECT timestamp, value, quality
				FROM sensor_data
				WHERE sensor_id = d.sensor_id AND timestamp >= d.hour AND timestamp < d.hour + interval '1 hour'
					AND timestamp >= $3 AND timestamp < $4) r),
		neighbours AS MATERIALIZED (
			SELECT sensor_id, hour, date_trunc('minute', timestamp, 'UTC') AS minute, timestamp, quality, value,
				lag(timestamp) OVER w AS before, lead(timestamp) OVER w AS next
			FROM readings
			WINDOW w AS (PARTITION BY sensor_id, hour, value IS NULL ORDER BY timestamp)),
		hours AS (
			INSERT INTO rollup_1h (sensor_id, bucket, %[2]s, minutes)
			SELECT sensor_id, hour, %[3]s, count(*) >= $5
			FROM (SELECT *, before IS NULL AS is_first, next IS NULL AS is_last FROM neighbours) n
			GROUP BY sensor_id, hour
			RETURNING sensor_id, bucket, minutes)
		INSERT INTO rollup_1m (sensor_id, bucket, %[2]s)
		SELECT sensor_id, minute, %[3]s
		FROM (
			SELECT n.sensor_id, n.minute, n.timestamp, n.quality, n.value, CASE WHEN n.next < n.minute + interval '1 minute' THEN n.next END AS next,
				n.before IS NULL OR n.before < n.minute AS is_first, n.next IS NULL OR n.next >= n.minute + interval '1 minute' AS is_last
			FROM neighbours n
			JOIN hours h ON h.sensor_id = n.sensor_id AND h.bucket = n.hour AND h.minutes) n
		GROUP BY sensor_id, minute`, usable, rollupColumns, rollupAggregates)
	_, err := tx.ExecContext(ctx, q, int32s(sensors), starts, first, last.Add(time.Hour), denseHour)
	return err
}

// rollupColumns are what a rollup says of its readings, and rollupAggregates how: over rows with timestamp, quality, value (NULL
// where it is not usable), next (the instant of the next usable one in the bucket), is_first and is_last.
const (
	rollupColumns    = `count, usable, good, first_at, last_at, sum, m2, min, max, first, last, integral`
	rollupAggregates = `
		count(*), count(value), count(*) FILTER (WHERE quality = 0),
		min(timestamp) FILTER (WHERE value IS NOT NULL), max(timestamp) FILTER (WHERE value IS NOT NULL),
		sum(value), var_pop(value) * count(value), min(value), max(value),
		max(value) FILTER (WHERE is_first), max(value) FILTER (WHERE is_last),
		CASE WHEN count(value) > 0 THEN coalesce(sum(value * date_part('epoch', next - timestamp)), 0) END`
)

// RollupLag is what waits to be rolled up: transactions whose marks were not looked at, and hours that are over.
func (s *Store) RollupLag(ctx context.Context) (marks, hours int64, err error) {
	const q = `
		SELECT (SELECT count(*) FROM rollup_marks), (SELECT count(*) FROM rollup_due WHERE hour < (SELECT through FROM rollup_state))`
	err = s.api.QueryRowContext(ctx, q).Scan(&marks, &hours)
	return marks, hours, explain("rollups", err)
}
