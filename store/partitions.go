package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
)

const (
	day = 24 * time.Hour
	// ahead is how many days have a partition before their first reading comes.
	ahead = 7
	// partitionLock keeps two instances from making the same partition; any number that no other lock has.
	partitionLock = 0x6f65692d // "oei-"
)

// partitions makes the partitions of sensor_data, a day each in UTC, and remembers which there are.
type partitions struct {
	mu    sync.Mutex
	known map[int64]bool // days since 1970
}

// EnsurePartitions makes the partitions of today and the days ahead. Call it at start and every few hours.
func (s *Store) EnsurePartitions(ctx context.Context) error {
	today := time.Now().UTC().Truncate(day)
	rs := make([]Reading, ahead+2)
	for i := range rs {
		rs[i].Timestamp = today.Add(time.Duration(i-1) * day)
	}
	return explain("partition", s.partitions.ensure(ctx, s.ingest, rs))
}

// ensure makes the partitions that rs need. They are attached, not created in place: that waits for no query.
func (p *partitions) ensure(ctx context.Context, db *sqlx.DB, rs []Reading) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var missing []int64
	last := int64(-1 << 62)
	for i := range rs {
		d := dayOf(rs[i].Timestamp)
		if d != last && !p.known[d] {
			missing = append(missing, d)
		}
		last = d
	}
	for _, d := range unique(missing) {
		if err := attach(ctx, db, d); err != nil {
			return err
		}
		if p.known == nil {
			p.known = map[int64]bool{}
		}
		p.known[d] = true
	}
	return nil
}

// forget makes the next ensure look again.
func (p *partitions) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = nil
}

func attach(ctx context.Context, db *sqlx.DB, d int64) error {
	from := time.Unix(d*int64(day/time.Second), 0).UTC()
	name := "sensor_data_" + from.Format("20060102")
	return tx(ctx, db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, partitionLock); err != nil {
			return err
		}
		var attached bool
		const q = `SELECT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass($1))`
		if err := tx.GetContext(ctx, &attached, q, name); err != nil || attached {
			return err
		}
		create := fmt.Sprintf(`
			CREATE TABLE IF NOT EXISTS %[1]s (LIKE sensor_data INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
			ALTER TABLE sensor_data ATTACH PARTITION %[1]s FOR VALUES FROM ('%[2]s') TO ('%[3]s')`,
			name, from.Format(time.RFC3339), from.Add(day).Format(time.RFC3339))
		_, err := tx.ExecContext(ctx, create)
		return err
	})
}

func dayOf(t time.Time) int64 {
	s, secs := t.Unix(), int64(day/time.Second)
	d := s / secs
	if s%secs < 0 {
		d--
	}
	return d
}
