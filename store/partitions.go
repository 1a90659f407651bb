package store

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

const (
	day = 24 * time.Hour
	// maxAttached is the maximum number of partitions that one transaction creates.
	maxAttached = 64
	// maxPlanning is how long a statement is expected to be planned at most.
	maxPlanning = 500 * time.Millisecond
)

// partitions creates the partitions of sensor_data, and caches which exist. Partitions that were
// created with another size stay as they are: a new one takes what they leave of its slot.
type partitions struct {
	size      string
	maxBytes  int64                         // of a merged partition
	retention time.Duration                 // the default of sensors; 0: for ever
	mu        sync.Mutex                    // held while partitions are created
	known     atomic.Pointer[[]partition]   // for writers: those that every statement sees
	listed    atomic.Pointer[partitionList] // for queries
}

// partitionList is the partitions at a time.
type partitionList struct {
	all []partition // in order of time
	at  time.Time
}

// last returns the known partitions, however old, for writers.
func (p *partitions) last() []partition {
	if known := p.known.Load(); known != nil {
		return *known
	}
	return nil
}

// partition is a partition of sensor_data, with the readings of [Start, End).
type partition struct {
	Name  string    `db:"name"` // quoted where SQL needs it
	Start time.Time `db:"start_at"`
	End   time.Time `db:"end_at"`
}

func (p *partition) contains(at time.Time) bool { return !at.Before(p.Start) && at.Before(p.End) }

// EnsurePartitions creates the partitions of today and the days ahead. It is called at start and
// every hour.
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

// at returns the partition of an instant, and creates it when there is none.
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

// ensure creates the partitions of rs. They are created as tables and then attached, which waits
// for no query.
func (p *partitions) ensure(ctx context.Context, db *sqlx.DB, rs []Reading) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	// a day may have several gaps
	for missing := p.missing(rs); len(missing) > 0; missing = p.missing(rs) {
		if _, err := p.attach(ctx, db, missing[:min(len(missing), maxAttached)]); err != nil {
			return err
		}
	}
	return nil
}

// missing returns an instant of each hour or day of rs that is not in a known partition.
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
		if last.contains(at) {
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

// forget makes the next use list the partitions again.
func (p *partitions) forget() {
	p.known.Store(nil)
	p.listed.Store(nil)
}

// attach creates the missing partitions of instants, and stores and returns all partitions.
func (p *partitions) attach(
	ctx context.Context, db *sqlx.DB, instants []time.Time,
) (known []partition, err error) {
	err = inTx(ctx, db, func(tx *sqlx.Tx) error {
		const lock = `SELECT pg_advisory_xact_lock($1)`
		if _, err := tx.ExecContext(ctx, lock, partitionLock); err != nil {
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
			created := newPartition(known, at, sizes.at(at))
			if _, err := tx.ExecContext(ctx, render(attachTemplate, created)); err != nil {
				return err
			}
			known = slices.Insert(known, n, created)
		}
		return nil
	})
	if err == nil {
		err = renewPlans(ctx, db)
	}
	if err != nil {
		return nil, err
	}
	known = slices.Clip(known)
	p.known.Store(&known)
	p.listed.Store(&partitionList{known, time.Now()})
	return known, nil
}

// renewPlans returns when every statement that begins now sees all partitions. A session of
// PostgreSQL that was reading the catalog while a partition was attached may keep a list of
// partitions without it, and would not see its readings. So this waits until the transactions that
// use sensor_data are over, or their statements are planned, and then has all sessions read the
// list again. It is called too when another instance has created the partitions: that one may not
// have come as far.
func renewPlans(ctx context.Context, db *sqlx.DB) error {
	const users = `
		SELECT coalesce(array_agg(virtualtransaction), '{}')
		FROM pg_locks
		WHERE relation = 'sensor_data'::regclass
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND pid <> pg_backend_pid()`
	var before pq.StringArray
	if err := db.GetContext(ctx, &before, users); err != nil {
		return err
	}
	for end := time.Now().Add(maxPlanning); len(before) > 0 && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
		var now pq.StringArray
		if err := db.GetContext(ctx, &now, users); err != nil {
			return err
		}
		before = slices.DeleteFunc(before, func(t string) bool { return !slices.Contains(now, t) })
	}
	// changes nothing, and announces a change of the table
	_, err := db.ExecContext(ctx,
		`ALTER TABLE ONLY sensor_data ALTER COLUMN value SET STATISTICS -1`)
	return err
}

var attachTemplate = parseSQL(`
		CREATE TABLE IF NOT EXISTS {{.Name}} (
			LIKE sensor_data INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
		ALTER TABLE sensor_data
			ATTACH PARTITION {{.Name}} FOR VALUES FROM ('{{.From}}') TO ('{{.To}}')`)

// From returns the first instant of p, as SQL writes it.
func (p partition) From() string { return p.Start.Format(time.RFC3339) }

// To returns the end of p, as SQL writes it.
func (p partition) To() string { return p.End.Format(time.RFC3339) }

// listPartitions returns all partitions in order of time.
func listPartitions(ctx context.Context, q sqlx.QueryerContext) ([]partition, error) {
	const list = `
		SELECT
			i.inhrelid::regclass::text AS name,
			b.bounds[1]::timestamptz AS start_at,
			b.bounds[2]::timestamptz AS end_at
		FROM pg_inherits i
		JOIN pg_class c ON c.oid = i.inhrelid
		CROSS JOIN regexp_match(
			pg_get_expr(c.relpartbound, 0),
			'FROM \(''(.+)''\) TO \(''(.+)''\)') AS b (bounds)
		WHERE i.inhparent = 'sensor_data'::regclass AND b.bounds IS NOT NULL
		ORDER BY start_at`
	var all []partition
	err := sqlx.SelectContext(ctx, q, &all, list)
	return all, err
}

// find returns the index in list, which is in order of time, at which the partition of an instant
// is or would be.
func find(list []partition, at time.Time) (int, bool) {
	return slices.BinarySearchFunc(list, at, func(p partition, at time.Time) int {
		switch {
		case p.contains(at):
			return 0
		case p.Start.After(at):
			return 1
		}
		return -1
	})
}

// newPartition returns the partition of a size to create for an instant that no known one contains:
// it is cut where its neighbors begin and end.
func newPartition(known []partition, at time.Time, size string) partition {
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

// partitionName returns a name that is unique to [start, end).
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
