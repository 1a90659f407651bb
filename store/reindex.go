package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// How readings take less room when their time is over.
//
// Readings come in order of time, and the primary key of a partition is in order of sensors: it
// grows by pages that are split in halves, and a third of it stays empty. When a partition's time
// is over and nothing has changed in it for a while, its key is built anew beside the old one, with
// full pages, and put in its place. That waits for others and lets nobody wait: readings are read
// and written meanwhile, also after it. When so much comes later that the key has grown by more
// than a fraction, it is done once more.
//
// A key that is half built when it is cut off stays, is of no use and has to be kept up by whoever
// writes: the next pass drops it.

const (
	// compactRest is for how long a partition's time is over, and nothing has changed in it, before
	// its key is built anew.
	compactRest = time.Hour
	// compactLimit is for how long a key may be built; one of a month with a billion readings takes
	// less.
	compactLimit = time.Hour
	// reindexLockTimeout is for how long transactions that were there before are waited for, unless
	// one is there for that long already.
	reindexLockTimeout = 30 * time.Second
	// leastKey is the size of keys that are not worth it.
	leastKey = 16 * 8192
	// maxIdleQueue is how many bytes a queue may take that has no more than maxIdleRows rows.
	maxIdleQueue = 8 << 20
	maxIdleRows  = 10_000
	// grownKey is how much more than after it was built a key takes, for each reading, when it is
	// built again.
	grownKey = 1.125
)

// Reindexed is what became of one partition.
type Reindexed struct {
	Partition     string // "" where InUse is about what was left of a pass before
	InUse         bool   // somebody would have been waited for too long; the next pass tries again
	Before, After int64  // bytes of its primary key
}

// Compact builds anew the primary keys that are worth it at the time now, the oldest first, and
// calls done after each, which may take its time. Several instances may call it: while one works
// the others have nothing to do.
func (s *Store) ReindexClosed(ctx context.Context, now time.Time, done func(Reindexed)) error {
	err := s.maintain(ctx, "oei-ms compaction", s.reindexLockTimeout,
		func(ctx context.Context, conn *sqlx.Conn) error {
			return s.compact(ctx, conn, now, done)
		})
	return explain("compaction", err)
}

// maintain calls f with a session of its own, which waits for no lock longer than patience, unless
// another session is in maintain.
func (s *Store) maintain(
	ctx context.Context, name string, patience time.Duration,
	f func(context.Context, *sqlx.Conn) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	db, err := openPoolUntil(ctx, s.dsn, 1, compactLimit, map[string]string{
		"application_name":                 name,
		"lock_timeout":                     fmt.Sprint(patience.Milliseconds()),
		"max_parallel_maintenance_workers": "0", // ingest and the API want the processors too
	})
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Connx(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var mine bool
	if err := conn.GetContext(ctx, &mine, `SELECT pg_try_advisory_lock($1)`, maintenanceLock); err != nil || !mine {
		return err
	}
	// else it goes with the session
	defer func() { _, _ = conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, maintenanceLock) }()
	return f(ctx, conn)
}

// compact works on a session of its own, since a key cannot be built in a transaction.
func (s *Store) compact(
	ctx context.Context, conn *sqlx.Conn, now time.Time, done func(Reindexed),
) error {
	if err := sweepKeys(ctx, conn); inTheWay(err) {
		done(Reindexed{InUse: true})
		return nil
	} else if err != nil {
		return err
	}
	if err := s.shrinkQueues(ctx, conn); err != nil {
		return err
	}
	list, err := s.swollen(ctx, conn, now)
	for i := 0; i < len(list) && err == nil; i++ {
		var c Reindexed
		if c, err = s.compactOne(ctx, conn, &list[i], now); err == nil && c != (Reindexed{}) {
			done(c)
		}
	}
	return err
}

// primaryKey is that of a partition.
type primaryKey struct {
	partition
	Key   string `db:"key"` // its name, as SQL has it
	Bytes int64  `db:"bytes"`
}

// swollen returns the keys that are worth to be built anew, and notes what has changed in the
// partitions that are over.
func (s *Store) swollen(ctx context.Context, conn *sqlx.Conn, now time.Time) ([]primaryKey, error) {
	all, err := listPartitions(ctx, conn)
	if err != nil {
		return nil, err
	}
	over := map[string]partition{}
	var names []string
	for _, p := range all {
		if !p.End.After(now.Add(-compactRest)) {
			over[p.Name] = p
			names = append(names, p.Name)
		}
	}
	const gone = `DELETE FROM compactions WHERE to_regclass(partition) IS NULL`
	if _, err := conn.ExecContext(ctx, gone); err != nil {
		return nil, err
	}
	const look = `
		INSERT INTO compactions AS c (partition, writes, quiet_since)
		SELECT p.name, pg_stat_get_tuples_inserted(p.relation) + pg_stat_get_tuples_deleted(p.relation), $2
		FROM (SELECT name, to_regclass(name) AS relation FROM unnest($1::text[]) AS n (name)) p
		WHERE p.relation IS NOT NULL
		ON CONFLICT (partition) DO UPDATE
		SET writes = excluded.writes, quiet_since = excluded.quiet_since
		WHERE c.writes <> excluded.writes`
	if _, err := conn.ExecContext(ctx, look, pq.Array(names), now); err != nil {
		return nil, err
	}
	const worth = `
		SELECT k.name, k.key, k.bytes
		FROM (
			SELECT c.partition AS name, c.key_bytes, r.reltuples, i.indexrelid::regclass::text AS key, pg_relation_size(i.indexrelid) AS bytes
			FROM compactions c
			JOIN pg_class r ON r.oid = to_regclass(c.partition)
			JOIN pg_index i ON i.indrelid = r.oid AND i.indisprimary
			WHERE c.quiet_since <= $1) k
		WHERE k.bytes >= $2 AND (k.key_bytes IS NULL OR k.bytes > $3::float8 * k.key_bytes * greatest(k.reltuples, 1))`
	var keys, list []primaryKey
	if err := conn.SelectContext(ctx, &keys, worth, now.Add(-compactRest), leastKey, grownKey); err != nil {
		return nil, err
	}
	byName := map[string]primaryKey{}
	for _, k := range keys {
		byName[k.Name] = k
	}
	for _, name := range names { // in order of time
		if k, ok := byName[name]; ok {
			k.partition = over[name]
			list = append(list, k)
		}
	}
	return list, nil
}

// compactOne builds k anew. Nothing at all became of one whose partition has gone or is about to.
func (s *Store) compactOne(
	ctx context.Context, conn *sqlx.Conn, k *primaryKey, now time.Time,
) (Reindexed, error) {
	if kept, err := s.keptIn(ctx, conn, &k.partition, now); dropped(err) || err == nil && !kept {
		return Reindexed{}, nil
	} else if err != nil {
		return Reindexed{}, err
	}
	c := Reindexed{Partition: k.Name, Before: k.Bytes}
	// It would wait for whoever looks at what was before it, a backup that takes hours, say.
	const busy = `
		SELECT EXISTS (
			SELECT
			FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
				AND backend_xmin IS NOT NULL AND xact_start < now() - make_interval(secs => $1))`
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
	case inTheWay(err):
		c.InUse, err = true, nil
	case dropped(err):
		c, err = Reindexed{}, nil
	}
	if swept := sweepKeys(ctx, conn); !inTheWay(swept) { // else the next pass does it
		err = errors.Join(err, swept)
	}
	return c, err
}

// inTheWay reports whether a statement failed because it would have waited for others, or taken,
// too long.
func inTheWay(err error) bool {
	var pqErr *pq.Error
	if !errors.As(err, &pqErr) {
		return false
	}
	// lock_not_available, deadlock_detected, query_canceled
	return pqErr.Code == "55P03" || pqErr.Code == "40P01" || pqErr.Code == "57014"
}

// rebuild builds k anew, and notes what it takes now.
func (k *primaryKey) rebuild(ctx context.Context, conn *sqlx.Conn) error {
	for _, q := range []string{
		`ALTER INDEX ` + k.Key + ` SET (fillfactor = 100)`, `REINDEX INDEX CONCURRENTLY ` + k.Key,
	} {
		if _, err := conn.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	const built = `
		UPDATE compactions c
		SET key_bytes = k.bytes / greatest(r.reltuples, 1)
		FROM pg_class r, pg_relation_size($2::text::regclass) AS k (bytes)
		WHERE c.partition = $1 AND r.oid = to_regclass(c.partition)
		RETURNING k.bytes`
	return conn.GetContext(ctx, &k.Bytes, built, k.Name, k.Key)
}

// sweepKeys drops what is left of keys that were cut off while they were built.
func sweepKeys(ctx context.Context, conn *sqlx.Conn) error {
	const left = `
		SELECT i.indexrelid::regclass::text
		FROM pg_inherits p
		JOIN pg_index i ON i.indrelid = p.inhrelid
		JOIN pg_class c ON c.oid = i.indexrelid
		WHERE p.inhparent = 'sensor_data'::regclass AND NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'`
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

// shrinkQueues gives back what tables take whose rows come and go, when they are nearly empty and
// still large.
func (s *Store) shrinkQueues(ctx context.Context, conn *sqlx.Conn) error {
	for _, table := range []string{"rollup_marks", "rollup_due", "late_changes"} {
		var large, full bool
		const size = `SELECT pg_total_relation_size($1::regclass) > $2`
		if err := conn.GetContext(ctx, &large, size, table, maxIdleQueue); err != nil || !large {
			if err != nil {
				return err
			}
			continue
		}
		const rows = `SELECT EXISTS (SELECT FROM %s OFFSET %d)`
		if err := conn.GetContext(ctx, &full, fmt.Sprintf(rows, table, maxIdleRows)); err != nil {
			return err
		}
		if full {
			continue
		}
		// it takes milliseconds, and others wait for it
		err := s.withPatience(ctx, conn, dropPatience, `VACUUM (FULL) `+table)
		if err != nil && !inTheWay(err) {
			return err
		}
	}
	return nil
}

// withPatience runs a statement that waits for locks no longer than patience.
func (s *Store) withPatience(
	ctx context.Context, conn *sqlx.Conn, patience time.Duration, statement string,
) error {
	set := func(d time.Duration) error {
		_, err := conn.ExecContext(ctx, fmt.Sprintf(`SET lock_timeout = %d`, d.Milliseconds()))
		return err
	}
	if err := set(patience); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, statement)
	return errors.Join(err, set(s.reindexLockTimeout))
}
