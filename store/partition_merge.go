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
	"github.com/lib/pq/pqerror"
)

// How partitions are merged.
//
// Small closed partitions are copied into one table, which then replaces them. Readers and writers
// do not wait for the copy: triggers record the keys that change meanwhile, and these are copied
// again. The replacement is one short transaction, until whose commit the old partitions stay. What
// an interrupted pass leaves behind is removed by the next one.

const (
	// maxMerged is the maximum number of partitions merged at once, which bounds the locks of the
	// replacement.
	maxMerged = 32
	// maxCopiedChanges is the maximum number of changes that one statement copies.
	maxCopiedChanges = 1000
	mergeTable       = "sensor_data_merge"
)

// mergeLevels are the sizes that partitions are merged into, once their slot has reached an age.
var mergeLevels = []struct {
	size   string
	age    time.Duration
	length time.Duration
}{
	{daily, 2 * day, day},
	{monthly, monthAge, 31 * day},
	{yearly, yearAge, 366 * day},
}

// MergedPartitions is the result of one step of MergePartitions.
type MergedPartitions struct {
	Partition string // the new one
	Count     int    // of the old ones
	Bytes     int64  // of the new one
	InUse     bool   // the old ones were in use for too long: the next pass tries again
}

// errPartitionsChanged reports that the partitions to be merged do not exist any more as they were.
var errPartitionsChanged = errors.New("partitions have changed")

// MergePartitions merges small partitions that are closed at the time now, the oldest first, and
// calls done after each step, which may sleep. Several instances may call it: while one works the
// others do nothing.
func (s *Store) MergePartitions(
	ctx context.Context, now time.Time, done func(MergedPartitions),
) error {
	pass := func(ctx context.Context, conn *sqlx.Conn) error {
		failed := map[string]bool{} // in this pass
		for {
			g, err := s.nextMerge(ctx, conn, now, failed)
			if err != nil || g == nil {
				return err
			}
			m, err := s.merge(ctx, conn, g)
			if err != nil {
				return errors.Join(err, removeMerge(ctx, conn))
			}
			failed[m.Partition] = m.InUse
			done(m)
		}
	}
	return explain("merge", s.maintain(ctx, "oei-ms merge", dropLockTimeout, pass))
}

// mergeGroup are partitions to be merged.
type mergeGroup struct {
	partition // the new one
	old       []partition
}

// nextMerge returns the partitions to merge next, or nil.
func (s *Store) nextMerge(
	ctx context.Context, conn *sqlx.Conn, now time.Time, failed map[string]bool,
) (*mergeGroup, error) {
	list, err := listPartitions(ctx, conn)
	if err != nil || s.partitions.size != auto && len(list) <= maxSmallPartitions {
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
				sum+bytes[to] <= s.partitions.maxBytes {
				sum += bytes[to]
				to++
			}
			g := newMergeGroup(list, from, to, start, end)
			from = to
			tooEarly := g.End.After(now.Add(-level.age)) || level.length > limits.maxLength(g.End)
			if len(g.old) > 1 && !tooEarly && !failed[g.Name] {
				return g, nil
			}
		}
	}
	return nil, nil
}

// partitionBytes returns the size of each partition of list, with its key.
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

// newMergeGroup returns the group of the partitions list[from:to], which begin in [start, end). The
// new partition has what the others leave of that.
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

// merge copies the partitions of g, and replaces them by the copy.
func (s *Store) merge(
	ctx context.Context, conn *sqlx.Conn, g *mergeGroup,
) (MergedPartitions, error) {
	m := MergedPartitions{Partition: g.Name, Count: len(g.old)}
	if err := removeMerge(ctx, conn); err != nil {
		return m, err
	}
	var copied time.Time
	err := g.copy(ctx, conn, &copied)
	for try := 0; err == nil && try < maxDropTries; try++ {
		if err = g.copyAllChanges(ctx, conn); err != nil {
			break
		}
		if err = s.exchange(ctx, conn, g, copied, &m.Bytes); err == nil {
			s.partitions.forget()
			return m, nil
		}
		if !isBlocked(err) {
			break
		}
		select {
		case <-ctx.Done():
			return m, ctx.Err()
		case <-time.After(dropRetryDelay):
			err = nil
		}
	}
	if err == nil || isBlocked(err) || isGone(err) || errors.Is(err, errPartitionsChanged) {
		m.InUse = true
		return m, removeMerge(ctx, conn)
	}
	return m, err
}

// exchange replaces the old partitions by the copy, which was complete at the time copied.
func (s *Store) exchange(
	ctx context.Context, conn *sqlx.Conn, g *mergeGroup, copied time.Time, bytes *int64,
) error {
	return inTxOn(ctx, conn, func(tx *sqlx.Tx) error {
		if err := checkSnapshots(ctx, tx, copied); err != nil {
			return err
		}
		lock := fmt.Sprintf(`
			SELECT pg_advisory_xact_lock(%d);
			LOCK TABLE ONLY sensor_data IN ACCESS EXCLUSIVE MODE`, partitionLock)
		if err := withLockTimeout(ctx, tx, dropLockTimeout, lock); err != nil {
			return err
		}
		list, err := listPartitions(ctx, tx)
		if err != nil {
			return err
		}
		if !g.isUnchanged(list) {
			return errPartitionsChanged
		}
		for n := 1; n > 0; {
			if n, err = g.copyChanges(ctx, tx); err != nil {
				return err
			}
		}
		statements := render(exchangeTemplate, exchangeClauses{
			partition: g.partition,
			Old:       strings.Join(names(g.old), ", "),
		})
		if err := withLockTimeout(ctx, tx, dropLockTimeout, statements); err != nil {
			return err
		}
		return tx.GetContext(ctx, bytes, `SELECT pg_total_relation_size($1::regclass)`, g.Name)
	})
}

// isUnchanged reports whether the old partitions are still all partitions of the new one's range.
func (g *mergeGroup) isUnchanged(list []partition) bool {
	current := slices.DeleteFunc(list, func(p partition) bool {
		return !p.End.After(g.Start) || !p.Start.Before(g.End)
	})
	return slices.EqualFunc(current, g.old, func(a, b partition) bool {
		return a.Name == b.Name && a.Start.Equal(b.Start) && a.End.Equal(b.End)
	})
}

// exchangeClauses are the new partition and the names of the old ones.
type exchangeClauses struct {
	partition
	Old string
}

// exchangeTemplate also records the size of the new key, which is not worth rebuilding.
var exchangeTemplate = parseSQL(`
		DROP TABLE {{.Old}};
		ALTER TABLE ` + mergeTable + ` RENAME TO {{.Name}};
		ALTER TABLE sensor_data
			ATTACH PARTITION {{.Name}} FOR VALUES FROM ('{{.From}}') TO ('{{.To}}');
		ALTER TABLE {{.Name}} DROP CONSTRAINT merge_range;
		INSERT INTO compactions (partition, writes, quiet_since, key_bytes)
		SELECT
			'{{.Name}}', 0, now(),
			pg_relation_size('{{.Name}}_pkey') / greatest(reltuples, 1)
		FROM pg_class
		WHERE oid = '{{.Name}}'::regclass
		ON CONFLICT (partition) DO UPDATE
		SET writes = 0, quiet_since = now(), key_bytes = excluded.key_bytes`)

// checkSnapshots returns an error that isBlocked when a transaction that began before the copy was
// complete may still read with a snapshot in which the copy is empty.
func checkSnapshots(ctx context.Context, tx *sqlx.Tx, copied time.Time) error {
	const q = `
		SELECT EXISTS (
			SELECT
			FROM pg_stat_activity
			WHERE datname = current_database()
				AND pid <> pg_backend_pid()
				AND backend_type = 'client backend'
				AND backend_xmin IS NOT NULL
				AND xact_start < $1)`
	var busy bool
	if err := tx.GetContext(ctx, &busy, q, copied); err != nil || !busy {
		return err
	}
	return &pq.Error{
		Code:    pqerror.LockNotAvailable,
		Message: "a transaction is older than the copy",
	}
}

// removeMerge removes what an interrupted pass has left.
func removeMerge(ctx context.Context, conn *sqlx.Conn) error {
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
		if err != nil && !isGone(err) {
			return err
		}
	}
	_, err := conn.ExecContext(ctx, `DROP TABLE IF EXISTS `+mergeTable+`; TRUNCATE merge_changes`)
	return err
}

// inTxOn runs f in a transaction of conn, as inTx does.
func inTxOn(ctx context.Context, conn *sqlx.Conn, f func(*sqlx.Tx) error) error {
	t, err := conn.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(t); err != nil {
		return errors.Join(err, ignoreDone(t.Rollback()))
	}
	return t.Commit()
}
