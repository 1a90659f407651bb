package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
)

const (
	day = 24 * time.Hour
	// attachedAtOnce is how many partitions one transaction makes.
	attachedAtOnce = 64
)

// partitions makes the partitions of sensor_data, and remembers which there are. Those that were
// made with another size stay as they are: one that is made takes what they leave of its stretch of
// time.
type partitions struct {
	size      string
	full      int64         // bytes that a merged partition has at most
	retention time.Duration // the default of sensors; 0: for ever
	mu        sync.Mutex    // of those who make some
	known     atomic.Pointer[knownPartitions]
}

// knownPartitions are those that there were at a time.
type knownPartitions struct {
	list []partition // in order of time
	at   time.Time
}

// last returns what is known, for those who write.
func (p *partitions) last() []partition {
	if k := p.known.Load(); k != nil {
		return k.list
	}
	return nil
}

// partition is one of sensor_data, with the readings of [Start, End).
type partition struct {
	Name  string    `db:"name"` // as SQL has it
	Start time.Time `db:"start_at"`
	End   time.Time `db:"end_at"`
}

func (p *partition) has(at time.Time) bool { return !at.Before(p.Start) && at.Before(p.End) }

// EnsurePartitions makes the partitions of today and the days ahead. Call it at start and every
// hour.
func (s *Store) EnsurePartitions(ctx context.Context) error {
	back, ahead := day, 7*day
	if s.partitions.size == hourly {
		back, ahead = time.Hour, 12*time.Hour
	}
	now := time.Now().UTC()
	for at := now.Add(-back); at.Before(now.Add(ahead)); {
		p, err := s.partitions.at(ctx, s.ingest, at)
		if err != nil {
			return explain("partition", err)
		}
		at = p.End
	}
	return nil
}

// at returns the partition of an instant, and makes it when there is none.
func (p *partitions) at(ctx context.Context, db *sqlx.DB, at time.Time) (partition, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.last()
	n, found := find(known, at)
	if !found {
		var err error
		if known, err = p.attach(ctx, db, []time.Time{at}); err != nil {
			return partition{}, err
		}
		n, _ = find(known, at)
	}
	return known[n], nil
}

// ensure makes the partitions that rs need. They are attached, not created in place: that waits for
// no query.
func (p *partitions) ensure(ctx context.Context, db *sqlx.DB, rs []Reading) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	// a day may have several gaps
	for missing := p.missing(rs); len(missing) > 0; missing = p.missing(rs) {
		if _, err := p.attach(ctx, db, missing[:min(len(missing), attachedAtOnce)]); err != nil {
			return err
		}
	}
	return nil
}

// missing returns an instant of each hour or day of rs that is not in a partition that is known.
func (p *partitions) missing(rs []Reading) []time.Time {
	var list []time.Time
	var last partition
	known := p.last()
	unit := day
	if p.size == hourly {
		unit = time.Hour
	}
	seen := map[time.Time]bool{}
	for i := range rs {
		at := rs[i].Timestamp
		if last.has(at) {
			continue
		}
		if n, found := find(known, at); found {
			last = known[n]
			continue
		}
		if start := at.UTC().Truncate(unit); !seen[start] {
			seen[start] = true
			list = append(list, at)
		}
	}
	return list
}

// forget makes the next ensure look again.
func (p *partitions) forget() { p.known.Store(nil) }

// attach makes the partitions of these instants that are not there, and remembers and returns all
// there are.
func (p *partitions) attach(
	ctx context.Context, db *sqlx.DB, instants []time.Time,
) (known []partition, err error) {
	err = inTx(ctx, db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, partitionLock); err != nil {
			return err
		}
		if known, err = listPartitions(ctx, tx); err != nil {
			return err
		}
		sizes, err := p.sizing(ctx, tx, known, time.Now())
		if err != nil {
			return err
		}
		for _, at := range instants {
			n, found := find(known, at)
			if found {
				continue
			}
			made := gap(known, at, sizes.at(at))
			q := fmt.Sprintf(`
				CREATE TABLE IF NOT EXISTS %[1]s (LIKE sensor_data INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
				ALTER TABLE sensor_data ATTACH PARTITION %[1]s FOR VALUES FROM ('%[2]s') TO ('%[3]s')`,
				made.Name, made.Start.Format(time.RFC3339), made.End.Format(time.RFC3339))
			if _, err := tx.ExecContext(ctx, q); err != nil {
				return err
			}
			known = slices.Insert(known, n, made)
		}
		return nil
	})
	if err == nil {
		p.set(known)
	}
	return known, err
}

// listPartitions returns all partitions in order of time.
func listPartitions(ctx context.Context, q sqlx.QueryerContext) ([]partition, error) {
	const list = `
		SELECT i.inhrelid::regclass::text AS name, b.bounds[1]::timestamptz AS start_at, b.bounds[2]::timestamptz AS end_at
		FROM pg_inherits i
		JOIN pg_class c ON c.oid = i.inhrelid
		CROSS JOIN regexp_match(pg_get_expr(c.relpartbound, 0), 'FROM \(''(.+)''\) TO \(''(.+)''\)') AS b (bounds)
		WHERE i.inhparent = 'sensor_data'::regclass AND b.bounds IS NOT NULL
		ORDER BY start_at`
	var all []partition
	err := sqlx.SelectContext(ctx, q, &all, list)
	return all, err
}

// find returns where in list, which is in order of time, the partition of an instant is or would
// be.
func find(list []partition, at time.Time) (int, bool) {
	return slices.BinarySearchFunc(list, at, func(p partition, at time.Time) int {
		switch {
		case p.has(at):
			return 0
		case p.Start.After(at):
			return 1
		}
		return -1
	})
}

// gap is the partition of a size to make for an instant that none of known has: it ends where a
// neighbour begins.
func gap(known []partition, at time.Time, size string) partition {
	start, end := slot(size, at)
	n, _ := find(known, at)
	if n > 0 {
		start = later(start, known[n-1].End)
	}
	if n < len(known) {
		end = earlier(end, known[n].Start)
	}
	return partition{partitionName(start.UTC(), end.UTC()), start.UTC(), end.UTC()}
}

// partitionName is a name that only this stretch of time has.
func partitionName(start, end time.Time) string {
	const days, hours = "20060102", "2006010215"
	switch {
	case end.Sub(start) == time.Hour:
		return "sensor_data_" + start.Format(hours)
	case start.Hour() > 0 || end.Hour() > 0:
		return "sensor_data_" + start.Format(hours) + "_" + end.Format(hours)
	case end.Sub(start) == day:
		return "sensor_data_" + start.Format(days)
	}
	return "sensor_data_" + start.Format(days) + "_" + end.Format(days)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
