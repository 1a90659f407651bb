package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// How partitions are merged.
//
// Small partitions that are over are copied into one table, which then takes their place. Nobody
// waits for the copying: triggers note the keys that change meanwhile, and these are copied again.
// The exchange is one short transaction. Whatever is left of a pass that was cut off is removed by
// the next one, and the old partitions stay until the exchange commits.

const (
	// maxMerged is how many partitions are merged at once, which bounds the locks of the exchange.
	maxMerged = 32
	// changesAtOnce is how many changes are copied with one statement.
	changesAtOnce = 1000
	mergeTable    = "sensor_data_merge"
)

// mergeLevels are the sizes that partitions are merged into once their slot is so long ago.
var mergeLevels = []struct {
	size   string
	age    time.Duration
	length time.Duration
}{{daily, 2 * day, day}, {monthly, monthAge, 31 * day}, {yearly, yearAge, 366 * day}}

// MergedPartitions is what one step of Merge did.
type MergedPartitions struct {
	Partition string // the new one
	Count     int    // of the old ones
	Bytes     int64  // of the new one
	InUse     bool   // the old ones were in use for too long; the next pass tries again
}

// errOverlap means that the partitions to be merged are not those that there are any more.
var errOverlap = errors.New("partitions have changed")

// Merge merges partitions that are over and small at the time now, the oldest first, and calls done
// after each step, which may take its time. Several instances may call it: while one works the
// others have nothing to do.
func (s *Store) MergePartitions(ctx context.Context, now time.Time, done func(MergedPartitions)) error {
	pass := func(ctx context.Context, conn *sqlx.Conn) error {
		failed := map[string]bool{} // in this pass
		for {
			g, err := s.mergeable(ctx, conn, now, failed)
			if err != nil || g == nil {
				return err
			}
			m, err := s.merge(ctx, conn, g)
			if err != nil {
				return errors.Join(err, sweepMerge(ctx, conn))
			}
			failed[m.Partition] = m.InUse
			done(m)
		}
	}
	return explain("merge", s.maintain(ctx, "oei-ms merge", dropPatience, pass))
}

// mergeGroup are partitions to be merged.
type mergeGroup struct {
	partition // the new one
	old       []partition
}

// mergeable returns the partitions to merge next, or nil.
func (s *Store) mergeable(
	ctx context.Context, conn *sqlx.Conn, now time.Time, failed map[string]bool,
) (*mergeGroup, error) {
	list, err := listPartitions(ctx, conn)
	if err != nil || s.partitions.size != auto && len(list) <= fewPartitions {
		return nil, err
	}
	retentions, err := s.partitions.retentions(ctx, conn)
	if err != nil {
		return nil, err
	}
	bytes, err := partitionBytes(ctx, conn, list)
	if err != nil {
		return nil, err
	}
	limits := sizing{now: now, retentions: retentions}
	for _, level := range mergeLevels {
		for from := 0; from < len(list); {
			start, end := slot(level.size, list[from].Start)
			to, sum := from+1, bytes[from]
			for to < len(list) && to-from < maxMerged && list[to].Start.Before(end) &&
				sum+bytes[to] <= s.partitions.full {
				sum += bytes[to]
				to++
			}
			g := newMergeGroup(list, from, to, start, end)
			from = to
			tooEarly := g.End.After(now.Add(-level.age)) || level.length > limits.longest(g.End)
			if len(g.old) > 1 && !tooEarly && !failed[g.Name] {
				return g, nil
			}
		}
	}
	return nil, nil
}

// partitionBytes returns how large each partition of list is, with its key.
func partitionBytes(
	ctx context.Context, q sqlx.QueryerContext, list []partition,
) ([]int64, error) {
	const sizes = `
		SELECT coalesce(pg_total_relation_size(to_regclass(name)), 0)
		FROM unnest($1::text[]) WITH ORDINALITY AS n (name, i)
		ORDER BY i`
	var bytes []int64
	err := sqlx.SelectContext(ctx, q, &bytes, sizes, pq.Array(names(list)))
	return bytes, err
}

// newMergeGroup is of the partitions list[from:to], which begin in [start, end). The new one takes
// what others leave of that.
func newMergeGroup(list []partition, from, to int, start, end time.Time) *mergeGroup {
	g := &mergeGroup{old: slices.Clone(list[from:to])}
	if from > 0 {
		start = later(start, list[from-1].End)
	}
	if to < len(list) {
		end = earlier(end, list[to].Start)
	}
	end = later(end, list[to-1].End)
	g.partition = partition{partitionName(start, end), start, end}
	return g
}

func names(list []partition) []string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.Name
	}
	return names
}

// merge copies the partitions of g, and puts the copy in their place.
func (s *Store) merge(ctx context.Context, conn *sqlx.Conn, g *mergeGroup) (MergedPartitions, error) {
	m := MergedPartitions{Partition: g.Name, Count: len(g.old)}
	if err := sweepMerge(ctx, conn); err != nil {
		return m, err
	}
	var copied time.Time
	err := g.copy(ctx, conn, &copied)
	for try := 0; err == nil && try < dropTries; try++ {
		if err = g.catchUp(ctx, conn); err != nil {
			break
		}
		if err = s.exchange(ctx, conn, g, copied, &m.Bytes); err == nil {
			s.partitions.forget()
			return m, nil
		}
		if !inTheWay(err) {
			break
		}
		select {
		case <-ctx.Done():
			return m, ctx.Err()
		case <-time.After(dropPause):
			err = nil
		}
	}
	if err == nil || inTheWay(err) || dropped(err) || errors.Is(err, errOverlap) {
		m.InUse = true
		return m, sweepMerge(ctx, conn)
	}
	return m, err
}

// copy has changes of the old partitions noted from now on, and copies what they have, each in
// order of its key.
func (g *mergeGroup) copy(ctx context.Context, conn *sqlx.Conn, copied *time.Time) error {
	var triggers strings.Builder
	for _, p := range g.old {
		fmt.Fprintf(&triggers, `
			CREATE TRIGGER note_merge_change AFTER INSERT OR UPDATE OR DELETE ON %s
			FOR EACH ROW EXECUTE FUNCTION note_merge_change();`, p.Name)
	}
	// It waits for transactions that have written without the triggers.
	err := onConn(ctx, conn, func(tx *sqlx.Tx) error {
		return within(ctx, tx, dropPatience, triggers.String()+`
			CREATE TABLE `+mergeTable+` (LIKE sensor_data INCLUDING DEFAULTS INCLUDING CONSTRAINTS)`)
	})
	if err != nil {
		return err
	}
	for _, p := range g.old {
		q := fmt.Sprintf(`
			INSERT INTO %s (timestamp, value, sensor_id, status_code, quality)
			SELECT timestamp, value, sensor_id, status_code, quality
			FROM %s
			ORDER BY sensor_id, timestamp`, mergeTable, p.Name)
		if _, err := conn.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	_, err = conn.ExecContext(ctx, fmt.Sprintf(`
		ALTER TABLE %[1]s
			ADD CONSTRAINT %[2]s_pkey PRIMARY KEY (sensor_id, timestamp) WITH (fillfactor = 100),
			ADD CONSTRAINT merge_range CHECK (timestamp >= '%[3]s' AND timestamp < '%[4]s')`,
		mergeTable, g.Name, g.Start.Format(time.RFC3339), g.End.Format(time.RFC3339)))
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, `ANALYZE `+mergeTable); err != nil {
		return err
	}
	return conn.GetContext(ctx, copied, `SELECT clock_timestamp()`)
}

// catchUp copies what has changed until little is left.
func (g *mergeGroup) catchUp(ctx context.Context, conn *sqlx.Conn) error {
	for n := changesAtOnce; n >= changesAtOnce; {
		err := onConn(ctx, conn, func(tx *sqlx.Tx) (err error) {
			n, err = g.copyChanges(ctx, tx)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// copyChanges copies again what some of the changes are about, and returns how many they are.
func (g *mergeGroup) copyChanges(ctx context.Context, tx *sqlx.Tx) (n int, err error) {
	var changes []sensorHour // here of any instant
	const take = `
		DELETE FROM merge_changes
		WHERE ctid = ANY (ARRAY(SELECT ctid FROM merge_changes LIMIT $1))
		RETURNING sensor_id, timestamp AS hour`
	err = tx.SelectContext(ctx, &changes, take, changesAtOnce)
	if err != nil || len(changes) == 0 {
		return 0, err
	}
	sensors, times := sensorsOf(changes), startsOf(changes)
	const remove = `
		DELETE FROM ` + mergeTable + ` m
		USING unnest($1::int[], $2::timestamptz[]) AS c (sensor_id, timestamp)
		WHERE m.sensor_id = c.sensor_id AND m.timestamp = c.timestamp`
	if _, err := tx.ExecContext(ctx, remove, sensors, times); err != nil {
		return 0, err
	}
	const add = `
		INSERT INTO ` + mergeTable + ` (timestamp, value, sensor_id, status_code, quality)
		SELECT d.timestamp, d.value, d.sensor_id, d.status_code, d.quality
		FROM (SELECT DISTINCT * FROM unnest($1::int[], $2::timestamptz[])) AS c (sensor_id, timestamp)
		CROSS JOIN LATERAL (
			SELECT timestamp, value, sensor_id, status_code, quality
			FROM sensor_data
			WHERE sensor_id = c.sensor_id AND timestamp = c.timestamp
				AND timestamp >= $3 AND timestamp < $4
			LIMIT 1) d` // by the key, not all of the partitions
	_, err = tx.ExecContext(ctx, add, sensors, times, g.Start, g.End)
	return len(changes), err
}

// exchange puts the copy, which was complete at the time copied, in the place of the old
// partitions.
func (s *Store) exchange(
	ctx context.Context, conn *sqlx.Conn, g *mergeGroup, copied time.Time, bytes *int64,
) error {
	return onConn(ctx, conn, func(tx *sqlx.Tx) error {
		if err := g.waitForNobody(ctx, tx, copied); err != nil {
			return err
		}
		const lock = `
			SELECT pg_advisory_xact_lock(%d);
			LOCK TABLE ONLY sensor_data IN ACCESS EXCLUSIVE MODE`
		if err := within(ctx, tx, dropPatience, fmt.Sprintf(lock, partitionLock)); err != nil {
			return err
		}
		list, err := listPartitions(ctx, tx)
		if err != nil {
			return err
		}
		there := slices.DeleteFunc(list, func(p partition) bool {
			return !p.End.After(g.Start) || !p.Start.Before(g.End)
		})
		if !slices.EqualFunc(there, g.old, func(a, b partition) bool {
			return a.Name == b.Name && a.Start.Equal(b.Start) && a.End.Equal(b.End)
		}) {
			return errOverlap
		}
		for n := 1; n > 0; {
			if n, err = g.copyChanges(ctx, tx); err != nil {
				return err
			}
		}
		const exchange = `
			DROP TABLE %[1]s;
			ALTER TABLE %[2]s RENAME TO %[3]s;
			ALTER TABLE sensor_data ATTACH PARTITION %[3]s FOR VALUES FROM ('%[4]s') TO ('%[5]s');
			ALTER TABLE %[3]s DROP CONSTRAINT merge_range;
			INSERT INTO compactions (partition, writes, quiet_since, key_bytes)
			SELECT '%[3]s', 0, now(), pg_relation_size('%[3]s_pkey') / greatest(reltuples, 1)
			FROM pg_class
			WHERE oid = '%[3]s'::regclass
			ON CONFLICT (partition) DO UPDATE
			SET writes = 0, quiet_since = now(), key_bytes = excluded.key_bytes`
		statements := fmt.Sprintf(exchange, strings.Join(names(g.old), ", "), mergeTable, g.Name,
			g.Start.Format(time.RFC3339), g.End.Format(time.RFC3339))
		if err := within(ctx, tx, dropPatience, statements); err != nil {
			return err
		}
		return tx.GetContext(ctx, bytes, `SELECT pg_total_relation_size($1::regclass)`, g.Name)
	})
}

// waitForNobody is an error that is in the way when a transaction that began before the copy was
// complete may still read with a snapshot in which it is empty.
func (g *mergeGroup) waitForNobody(ctx context.Context, tx *sqlx.Tx, copied time.Time) error {
	const q = `
		SELECT EXISTS (
			SELECT
			FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()
				AND backend_type = 'client backend' AND backend_xmin IS NOT NULL AND xact_start < $1)`
	var busy bool
	if err := tx.GetContext(ctx, &busy, q, copied); err != nil || !busy {
		return err
	}
	return &pq.Error{Code: "55P03", Message: "a transaction is older than the copy"}
}

// sweepMerge removes what a pass that was cut off has left.
func sweepMerge(ctx context.Context, conn *sqlx.Conn) error {
	const left = `
		SELECT t.tgrelid::regclass::text
		FROM pg_trigger t
		WHERE t.tgname = 'note_merge_change' AND NOT t.tgisinternal`
	var names []string
	if err := conn.SelectContext(ctx, &names, left); err != nil {
		return err
	}
	for _, name := range names {
		_, err := conn.ExecContext(ctx, `DROP TRIGGER IF EXISTS note_merge_change ON `+name)
		if err != nil && !dropped(err) {
			return err
		}
	}
	_, err := conn.ExecContext(ctx, `DROP TABLE IF EXISTS `+mergeTable+`; TRUNCATE merge_changes`)
	return err
}

// onConn runs f in a transaction of conn.
func onConn(ctx context.Context, conn *sqlx.Conn, f func(*sqlx.Tx) error) error {
	t, err := conn.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(t); err != nil {
		return errors.Join(err, ignoreDone(t.Rollback()))
	}
	return t.Commit()
}
