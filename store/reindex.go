package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// How closed partitions take less space.
//
// Readings arrive in order of time, and the primary key of a partition is in order of sensors: it
// grows by splitting pages in halves, and a third of it stays empty. When a partition is closed and
// has not changed for a while, its key is rebuilt with full pages, concurrently: readings are read
// and written meanwhile. The rebuild waits for others, and no one waits for it. When so many
// readings arrive later that the key has grown by more than a fraction, it is rebuilt once more.
//
// A half-built key that an interruption leaves behind is of no use, and every write has to keep it
// up to date: the next pass drops it.

const (
	// reindexDelay is for how long a partition must have been closed and unchanged before its key
	// is rebuilt.
	reindexDelay = time.Hour
	// maxReindexTime is the maximum duration of a statement. The key of a month with a billion
	// readings takes less.
	maxReindexTime = time.Hour
	// reindexLockTimeout is for how long older transactions are waited for, unless one has been
	// under way for that long already.
	reindexLockTimeout = 30 * time.Second
	// minKeyBytes is the size of the smallest key that is worth it.
	minKeyBytes = 16 * 8192
	// maxIdleQueueBytes is the maximum size of a queue that has no more than maxIdleQueueRows rows.
	maxIdleQueueBytes = 8 << 20
	maxIdleQueueRows  = 10_000
	// minKeyGrowth is by how much a key must have grown since it was rebuilt, for each reading, to
	// be rebuilt again.
	minKeyGrowth = 1.125
)

// Reindexed is the result of one step of ReindexClosed.
type Reindexed struct {
	Partition     string // "" where InUse is of the leftovers of an interrupted pass
	InUse         bool   // others would have been kept waiting: the next pass tries again
	Before, After int64  // bytes of the primary key
}

// ReindexClosed rebuilds the primary keys that are worth it at the time now, the oldest first, and
// calls done after each, which may sleep. Several instances may call it: while one works the others
// do nothing.
func (s *Store) ReindexClosed(ctx context.Context, now time.Time, done func(Reindexed)) error {
	err := s.maintain(ctx, "oei-ms reindex", s.reindexLockTimeout,
		func(ctx context.Context, conn *sqlx.Conn) error {
			return s.reindexClosed(ctx, conn, now, done)
		})
	return explain("reindex", err)
}

// maintain calls f with a session of its own, unless another instance is in maintain. The session
// waits for no lock longer than lockTimeout.
func (s *Store) maintain(
	ctx context.Context, name string, lockTimeout time.Duration,
	f func(context.Context, *sqlx.Conn) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	db, err := openPoolUntil(ctx, s.dsn, 1, maxReindexTime, map[string]string{
		"application_name":                 name,
		"lock_timeout":                     fmt.Sprint(lockTimeout.Milliseconds()),
		"max_parallel_maintenance_workers": "0", // ingest and the API need the processors
	}, s.statements)
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Connx(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var locked bool
	const lock, unlock = `SELECT pg_try_advisory_lock($1)`, `SELECT pg_advisory_unlock($1)`
	if err := conn.GetContext(ctx, &locked, lock, maintenanceLock); err != nil || !locked {
		return err
	}
	// if this fails, the lock ends with the session
	defer func() { _, _ = conn.ExecContext(ctx, unlock, maintenanceLock) }()
	return f(ctx, conn)
}

// reindexClosed works outside of transactions, in which a key cannot be rebuilt concurrently.
func (s *Store) reindexClosed(
	ctx context.Context, conn *sqlx.Conn, now time.Time, done func(Reindexed),
) error {
	if err := dropHalfBuiltKeys(ctx, conn); isBlocked(err) {
		done(Reindexed{InUse: true})
		return nil
	} else if err != nil {
		return err
	}
	if err := s.shrinkQueues(ctx, conn); err != nil {
		return err
	}
	list, err := s.keysToRebuild(ctx, conn, now)
	for i := 0; i < len(list) && err == nil; i++ {
		var c Reindexed
		if c, err = s.reindex(ctx, conn, &list[i], now); err == nil && c != (Reindexed{}) {
			done(c)
		}
	}
	return err
}

// primaryKey is the primary key of a partition.
type primaryKey struct {
	partition
	Key   string `db:"key"` // its name, quoted where SQL needs it
	Bytes int64  `db:"bytes"`
}

// keysToRebuild returns the keys that are worth rebuilding, in order of time.
func (s *Store) keysToRebuild(
	ctx context.Context, conn *sqlx.Conn, now time.Time,
) ([]primaryKey, error) {
	all, err := listPartitions(ctx, conn)
	if err != nil {
		return nil, err
	}
	closed := slices.DeleteFunc(all, func(p partition) bool {
		return p.End.After(now.Add(-reindexDelay))
	})
	if err := recordWrites(ctx, conn, closed, now); err != nil {
		return nil, err
	}
	const grown = `
		SELECT k.name, k.key, k.bytes
		FROM (
			SELECT
				c.partition AS name,
				c.key_bytes,
				r.reltuples,
				i.indexrelid::regclass::text AS key,
				pg_relation_size(i.indexrelid) AS bytes
			FROM compactions c
			JOIN pg_class r ON r.oid = to_regclass(c.partition)
			JOIN pg_index i ON i.indrelid = r.oid AND i.indisprimary
			WHERE c.quiet_since <= $1) k
		WHERE k.bytes >= $2
			AND (k.key_bytes IS NULL
				OR k.bytes > $3::float8 * k.key_bytes * greatest(k.reltuples, 1))`
	var keys, list []primaryKey
	err = conn.SelectContext(ctx, &keys, grown, now.Add(-reindexDelay), minKeyBytes, minKeyGrowth)
	if err != nil {
		return nil, err
	}
	byName := map[string]primaryKey{}
	for _, k := range keys {
		byName[k.Name] = k
	}
	for _, p := range closed {
		if k, ok := byName[p.Name]; ok {
			k.partition = p
			list = append(list, k)
		}
	}
	return list, nil
}

// recordWrites records which closed partitions have changed since the last pass.
func recordWrites(
	ctx context.Context, conn *sqlx.Conn, closed []partition, now time.Time,
) error {
	const forget = `
		DELETE FROM compactions
		WHERE to_regclass(partition) IS NULL`
	if _, err := conn.ExecContext(ctx, forget); err != nil {
		return err
	}
	const record = `
		INSERT INTO compactions AS c (partition, writes, quiet_since)
		SELECT
			p.name,
			pg_stat_get_tuples_inserted(p.relation) + pg_stat_get_tuples_deleted(p.relation),
			$2
		FROM (
			SELECT name, to_regclass(name) AS relation
			FROM unnest($1::text[]) AS n (name)) p
		WHERE p.relation IS NOT NULL
		ON CONFLICT (partition) DO UPDATE
		SET writes = excluded.writes, quiet_since = excluded.quiet_since
		WHERE c.writes <> excluded.writes`
	_, err := conn.ExecContext(ctx, record, pq.Array(names(closed)), now)
	return err
}

// reindex rebuilds k. The result is zero when its partition was dropped, or is about to be.
func (s *Store) reindex(
	ctx context.Context, conn *sqlx.Conn, k *primaryKey, now time.Time,
) (Reindexed, error) {
	if kept, err := s.isKept(ctx, conn, &k.partition, now); isGone(err) || err == nil && !kept {
		return Reindexed{}, nil
	} else if err != nil {
		return Reindexed{}, err
	}
	c := Reindexed{Partition: k.Name, Before: k.Bytes}
	// The rebuild would wait for every older snapshot, such as that of a backup that takes hours.
	const busy = `
		SELECT EXISTS (
			SELECT
			FROM pg_stat_activity
			WHERE datname = current_database()
				AND pid <> pg_backend_pid()
				AND backend_type = 'client backend'
				AND backend_xmin IS NOT NULL
				AND xact_start < now() - make_interval(secs => $1))`
	err := conn.GetContext(ctx, &c.InUse, busy, s.reindexLockTimeout.Seconds())
	if err != nil || c.InUse {
		return c, err
	}
	if err = k.rebuild(ctx, conn); err == nil {
		c.After = k.Bytes
		return c, nil
	}
	switch {
	case ctx.Err() != nil:
		return c, err
	case isBlocked(err):
		c.InUse, err = true, nil
	case isGone(err):
		c, err = Reindexed{}, nil
	}
	if swept := dropHalfBuiltKeys(ctx, conn); !isBlocked(swept) { // else the next pass does it
		err = errors.Join(err, swept)
	}
	return c, err
}

// rebuild rebuilds the index of k, and records its new size.
func (k *primaryKey) rebuild(ctx context.Context, conn *sqlx.Conn) error {
	for _, q := range []string{
		`ALTER INDEX ` + k.Key + ` SET (fillfactor = 100)`,
		`REINDEX INDEX CONCURRENTLY ` + k.Key,
	} {
		if _, err := conn.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	const record = `
		UPDATE compactions c
		SET key_bytes = k.bytes / greatest(r.reltuples, 1)
		FROM pg_class r, pg_relation_size($2::text::regclass) AS k (bytes)
		WHERE c.partition = $1 AND r.oid = to_regclass(c.partition)
		RETURNING k.bytes`
	return conn.GetContext(ctx, &k.Bytes, record, k.Name, k.Key)
}

// dropHalfBuiltKeys drops the indexes that interrupted rebuilds have left.
func dropHalfBuiltKeys(ctx context.Context, conn *sqlx.Conn) error {
	const left = `
		SELECT i.indexrelid::regclass::text
		FROM pg_inherits p
		JOIN pg_index i ON i.indrelid = p.inhrelid
		JOIN pg_class c ON c.oid = i.indexrelid
		WHERE p.inhparent = 'sensor_data'::regclass
			AND NOT i.indisvalid
			AND c.relname ~ '_cc(new|old)[0-9]*$'`
	var names []string
	if err := conn.SelectContext(ctx, &names, left); err != nil {
		return err
	}
	for _, name := range names {
		if _, err := conn.ExecContext(ctx, `DROP INDEX CONCURRENTLY IF EXISTS `+name); err != nil {
			return err
		}
	}
	return nil
}

// shrinkQueues shrinks tables that queue rows when they are nearly empty and still large.
func (s *Store) shrinkQueues(ctx context.Context, conn *sqlx.Conn) error {
	for _, table := range []string{"rollup_marks", "rollup_due", "late_changes"} {
		isIdle, err := isIdleQueue(ctx, conn, table)
		if err != nil {
			return err
		}
		if !isIdle {
			continue
		}
		// it takes milliseconds, for which others wait
		err = s.execWithLockTimeout(ctx, conn, dropLockTimeout, `VACUUM (FULL) `+table)
		if err != nil && !isBlocked(err) {
			return err
		}
	}
	return nil
}

// isIdleQueue reports whether a table is large and nearly empty.
func isIdleQueue(ctx context.Context, conn *sqlx.Conn, table string) (bool, error) {
	const size = `SELECT pg_total_relation_size($1::regclass) > $2`
	var isLarge, isFull bool
	err := conn.GetContext(ctx, &isLarge, size, table, maxIdleQueueBytes)
	if err != nil || !isLarge {
		return false, err
	}
	rows := fmt.Sprintf(`SELECT EXISTS (SELECT FROM %s OFFSET %d)`, table, maxIdleQueueRows)
	err = conn.GetContext(ctx, &isFull, rows)
	return !isFull, err
}

// execWithLockTimeout runs a statement that waits for locks no longer than timeout.
func (s *Store) execWithLockTimeout(
	ctx context.Context, conn *sqlx.Conn, timeout time.Duration, statement string,
) error {
	set := func(d time.Duration) error {
		_, err := conn.ExecContext(ctx, fmt.Sprintf(`SET lock_timeout = %d`, d.Milliseconds()))
		return err
	}
	if err := set(timeout); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, statement)
	return errors.Join(err, set(s.reindexLockTimeout))
}
