package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/series"
)

// How caches learn what has changed in hours that are over.
//
// Marks say so (see rollup_queue.go). When RollUp takes them it copies those of hours before
// rollup_state.through into late_changes; readings that arrive as they are measured are never among
// them. A row may be deleted once it is keepChanges old and every transaction before its own is
// over; rollup_state.forgotten is then the last transaction whose changes were deleted. Transaction
// ids are comparable only within one database and one server: not after a failover.

// keepChanges is how long changes can be read at least.
const keepChanges = time.Minute

// Change says that readings of a sensor in an hour have changed.
type Change struct {
	Transaction uint64
	SensorID    int64     // 0: every sensor
	Hour        time.Time // zero: all hours
}

// Changes are the changes by transactions of hours before Through, and the snapshot in which they
// were read.
type Changes struct {
	Database string // identifies the server and database that the transaction ids are of
	Marked   bool   // false: changes are not recorded
	Through  time.Time
	// Xmin is the first transaction that may still be under way: what those before it did is seen
	// by every statement that begins from now on.
	Xmin uint64
	Xmax uint64 // the first transaction that has not begun
	// DeletedThrough is the last transaction whose changes may be missing from List.
	DeletedThrough uint64
	List           []Change
	More           bool // there are more than were asked for
}

// Changes returns at most limit of the changes by transaction since and later ones. A caller that
// passes the Xmin of the call before as since misses no change, unless there are More or since is
// not after DeletedThrough.
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
			concat_ws('.',
				(SELECT system_identifier FROM pg_control_system()),
				(SELECT oid FROM pg_database WHERE datname = current_database()),
				left(pg_walfile_name(pg_current_wal_lsn()), 8)),
			marked,
			through,
			pg_snapshot_xmin(pg_current_snapshot())::text,
			pg_snapshot_xmax(pg_current_snapshot())::text,
			forgotten::text,
			(
				SELECT coalesce(string_agg(
					xid8send(xid) || int4send(sensor_id) || timestamptz_send(hour), ''), '')
				FROM changes)
		FROM head`
	var c Changes
	var packed []byte
	err := s.ingest.QueryRowContext(ctx, q, since, limit+1).Scan(&c.Database, &c.Marked, &c.Through,
		&c.Xmin, &c.Xmax, &c.DeletedThrough, &packed)
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

// deleteOldChanges deletes changes that are keepChanges old.
func deleteOldChanges(ctx context.Context, tx *sqlx.Tx) error {
	const q = `
		WITH deleted AS (
			DELETE FROM late_changes
			WHERE at < now() - make_interval(secs => $1)
				AND xid < pg_snapshot_xmin(pg_current_snapshot())
			RETURNING xid)
		UPDATE rollup_state s
		SET forgotten = d.xid
		FROM (
			SELECT xid
			FROM deleted
			ORDER BY xid DESC
			LIMIT 1) d
		WHERE s.forgotten < d.xid`
	_, err := tx.ExecContext(ctx, q, keepChanges.Seconds())
	return err
}

// addSensorChanges records that everything about these sensors has changed.
func addSensorChanges(ctx context.Context, tx *sqlx.Tx, sensors []int64) error {
	const q = `
		INSERT INTO late_changes (sensors, hours)
		SELECT array_agg(id), array_agg('-infinity'::timestamptz)
		FROM unnest($1::int[]) AS i (id)
		HAVING count(*) > 0`
	_, err := tx.ExecContext(ctx, q, int32s(sensors))
	return err
}

// addHourChanges records that readings of any sensor in [start, end) have changed.
func addHourChanges(ctx context.Context, tx *sqlx.Tx, start, end time.Time) error {
	const q = `
		INSERT INTO late_changes (sensors, hours)
		SELECT array_agg(0), array_agg(h)
		FROM generate_series(
			$1::timestamptz,
			$2::timestamptz - interval '1 microsecond',
			interval '1 hour') AS h`
	_, err := tx.ExecContext(ctx, q, series.HourOf(start), end)
	return err
}
