package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
)

const (
	day = 24 * time.Hour
	// partitionLock keeps two instances from making the same partition; any number that no other lock has.
	partitionLock = 0x6f65692d // "oei-"
	// attachedAtOnce is how many partitions one transaction makes.
	attachedAtOnce = 64
)

// The sizes that partitions of sensor_data can have, in UTC; weeks begin on Monday.
const (
	hourly  = "hour"
	daily   = "day"
	weekly  = "week"
	monthly = "month"
)

// partitions makes the partitions of sensor_data, and remembers which there are. Those that were made with another size stay as
// they are: one that is made takes what they leave of its stretch of time.
type partitions struct {
	size  string
	mu    sync.Mutex
	known []partition // in order of time
}

// partition is one of sensor_data, with the readings of [Start, End).
type partition struct {
	Name  string    `db:"name"` // as SQL has it
	Start time.Time `db:"start_at"`
	End   time.Time `db:"end_at"`
}

func (p *partition) has(at time.Time) bool { return !at.Before(p.Start) && at.Before(p.End) }

// EnsurePartitions makes the partitions of today and the days ahead. Call it at start and every hour.
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
	n, found := find(p.known, at)
	if !found {
		known, err := p.attach(ctx, db, []time.Time{at})
		if err != nil {
			return partition{}, err
		}
		p.known = known
		n, _ = find(known, at)
	}
	return p.known[n], nil
}

// ensure makes the partitions that rs need. They are attached, not created in place: that waits for no query.
func (p *partitions) ensure(ctx context.Context, db *sqlx.DB, rs []Reading) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for missing := p.missing(rs); len(missing) > 0; missing = p.missing(rs) { // with more known there may be gaps in what was one
		known, err := p.attach(ctx, db, missing[:min(len(missing), attachedAtOnce)])
		if err != nil {
			return err
		}
		p.known = known
	}
	return nil
}

// missing returns an instant of each gap in what is known that rs need filled.
func (p *partitions) missing(rs []Reading) []time.Time {
	var list []time.Time
	var last partition
	seen := map[int64]bool{}
	for i := range rs {
		at := rs[i].Timestamp
		if last.has(at) {
			continue
		}
		if n, found := find(p.known, at); found {
			last = p.known[n]
			continue
		}
		last = p.gap(p.known, at)
		if key := last.Start.Unix(); !seen[key] {
			seen[key] = true
			list = append(list, at)
		}
	}
	return list
}

// forget makes the next ensure look again.
func (p *partitions) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = nil
}

// attach makes the partitions of these instants that are not there, and returns all there are.
func (p *partitions) attach(ctx context.Context, db *sqlx.DB, instants []time.Time) (known []partition, err error) {
	err = tx(ctx, db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, partitionLock); err != nil {
			return err
		}
		if known, err = listPartitions(ctx, tx); err != nil {
			return err
		}
		for _, at := range instants {
			n, found := find(known, at)
			if found {
				continue
			}
			made := p.gap(known, at)
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
	return known, err
}

// listPartitions returns all partitions in order of time.
func listPartitions(ctx context.Context, q sqlx.QueryerContext) ([]partition, error) {
	const list = `
		SELECT i.inhrelid::regclass::text AS name, b.bounds[1]::timestamptz AS start_at, b.bounds[2]::timestamptz AS end_at
		FROM pg_inherits i
		JOIN pg_class c ON c.oid = i.inhrelid
		CROSS JOIN regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''(.+)''\) TO \(''(.+)''\)') AS b (bounds)
		WHERE i.inhparent = 'sensor_data'::regclass AND b.bounds IS NOT NULL
		ORDER BY start_at`
	var all []partition
	err := sqlx.SelectContext(ctx, q, &all, list)
	return all, err
}

// find returns where in list, which is in order of time, the partition of an instant is or would be.
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

// gap is the partition to make for an instant that none of known has: it ends where a neighbour begins.
func (p *partitions) gap(known []partition, at time.Time) partition {
	start, end := slot(p.size, at)
	n, _ := find(known, at)
	if n > 0 {
		start = later(start, known[n-1].End)
	}
	if n < len(known) {
		end = earlier(end, known[n].Start)
	}
	return partition{partitionName(start.UTC(), end.UTC()), start.UTC(), end.UTC()}
}

// slot is the stretch of time of a size that an instant is in.
func slot(size string, at time.Time) (start, end time.Time) {
	at = at.UTC()
	year, month, d := at.Date()
	midnight := time.Date(year, month, d, 0, 0, 0, 0, time.UTC)
	switch size {
	case hourly:
		return at.Truncate(time.Hour), at.Truncate(time.Hour).Add(time.Hour)
	case weekly:
		monday := midnight.AddDate(0, 0, -(int(at.Weekday())+6)%7)
		return monday, monday.AddDate(0, 0, 7)
	case monthly:
		first := time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
		return first, first.AddDate(0, 1, 0)
	}
	return midnight, midnight.Add(day)
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
