package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/series"
)

// How it is known what has changed of hours that are over.
//
// Marks say so (see rollups.go), and of these late_changes keeps the ones of hours before
// rollup_state.through when RollUp takes them: what comes in as it is measured is never among them.
// A row may go when it has been there for a while and every transaction before its own is over too;
// rollup_state.forgotten is then the last of those whose changes have gone. Transactions are known
// by their ids, which are not those of another database, nor of a server that took over from the
// one that gave them out.

// keptChanges is how long changes can be read by whoever does so again and again.
const keptChanges = time.Minute

// Change says that readings of a sensor in an hour are not what they were.
type Change struct {
	Transaction uint64
	SensorID    int64     // 0: every sensor
	Hour        time.Time // zero: all hours
}

// Changes are what transactions have changed of hours before Through, and when.
type Changes struct {
	Database string // whose transactions they are
	Marked   bool   // false: what changes is not noted
	Through  time.Time
	// every transaction before this one is over, and a statement that begins from now on sees what
	// it did
	Over      uint64
	Next      uint64 // has not begun
	Forgotten uint64 // changes of transactions up to this one may be missing
	List      []Change
	More      bool // there are more than were asked for
}

// Changes returns at most limit of the changes by transaction since and those behind it. Called
// again and again, since being Over of the call before, it leaves out no change, unless more than
// limit came or since is not behind Forgotten.
func (s *Store) Changes(ctx context.Context, since uint64, limit int) (Changes, error) {
	const q = `
		WITH head AS MATERIALIZED (
			SELECT marked, forgotten, greatest(through, '0001-01-01 00:00:00Z') AS through
			FROM rollup_state),
		marks AS (
			SELECT k.xid, k.sensors, k.hours
			FROM head
			JOIN rollup_marks k ON k.xid >= $1::xid8 AND k.oldest < head.through
			UNION ALL
			SELECT xid, sensors, hours
			FROM late_changes
			WHERE xid >= $1::xid8),
		changes AS (
			SELECT marks.xid, m.sensor_id, m.hour
			FROM head
			CROSS JOIN marks
			CROSS JOIN unnest(marks.sensors, marks.hours) AS m (sensor_id, hour)
			WHERE m.hour < head.through
			LIMIT $2)
		SELECT
			concat_ws('.', (SELECT system_identifier FROM pg_control_system()), (SELECT oid FROM pg_database WHERE datname = current_database()),
				left(pg_walfile_name(pg_current_wal_lsn()), 8)),
			marked, through, pg_snapshot_xmin(pg_current_snapshot())::text, pg_snapshot_xmax(pg_current_snapshot())::text, forgotten::text,
			(SELECT coalesce(string_agg(xid8send(xid) || int4send(sensor_id) || timestamptz_send(hour), ''), '') FROM changes)
		FROM head`
	var c Changes
	var packed []byte
	err := s.ingest.QueryRowContext(ctx, q, since, limit+1).Scan(&c.Database, &c.Marked, &c.Through,
		&c.Over, &c.Next, &c.Forgotten, &packed)
	if err == nil {
		c.List, err = unpackChanges(packed)
	}
	if len(c.List) > limit {
		c.List, c.More = c.List[:limit], true
	}
	return c, explain("changes", err)
}

func unpackChanges(b []byte) ([]Change, error) {
	u := series.NewUnpacker(b)
	list := make([]Change, 0, len(b)/20)
	for u.More() {
		c := Change{Transaction: u.Uint64(), SensorID: u.Int32()}
		if hour := u.Instant(); hour != series.Never {
			c.Hour = hour.Time()
		}
		list = append(list, c)
	}
	return list, u.Err()
}

// deleteOldChanges deletes changes that have been there for long enough.
func deleteOldChanges(ctx context.Context, tx *sqlx.Tx) error {
	const q = `
		WITH gone AS (
			DELETE FROM late_changes
			WHERE at < now() - make_interval(secs => $1) AND xid < pg_snapshot_xmin(pg_current_snapshot())
			RETURNING xid)
		UPDATE rollup_state s
		SET forgotten = g.xid
		FROM (SELECT xid FROM gone ORDER BY xid DESC LIMIT 1) g
		WHERE s.forgotten < g.xid`
	_, err := tx.ExecContext(ctx, q, keptChanges.Seconds())
	return err
}

// changedSensors says that everything about these sensors has changed.
func changedSensors(ctx context.Context, tx *sqlx.Tx, sensors []int64) error {
	const q = `
		INSERT INTO late_changes (sensors, hours)
		SELECT array_agg(id), array_agg('-infinity'::timestamptz)
		FROM unnest($1::int[]) AS i (id)
		HAVING count(*) > 0`
	_, err := tx.ExecContext(ctx, q, int32s(sensors))
	return err
}

// changedHours says that readings of any sensor in [start, end) have changed.
func changedHours(ctx context.Context, tx *sqlx.Tx, start, end time.Time) error {
	const q = `
		INSERT INTO late_changes (sensors, hours)
		SELECT array_agg(0), array_agg(h)
		FROM generate_series($1::timestamptz, $2::timestamptz - interval '1 microsecond', interval '1 hour') AS h`
	_, err := tx.ExecContext(ctx, q, series.HourOf(start), end)
	return err
}
