package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"
)

// The sizes that partitions of sensor_data can have, in UTC; weeks begin on Monday.
const (
	auto    = "auto" // of those below, what fits the readings
	hourly  = "hour"
	daily   = "day"
	weekly  = "week"
	monthly = "month"
	yearly  = "year"
)

// coarser are the sizes from days on, and how long a partition of each is at most.
var coarser = []struct {
	size   string
	length time.Duration
}{{daily, day}, {weekly, 7 * day}, {monthly, 31 * day}, {yearly, 366 * day}}

const (
	// monthAge and yearAge are how old readings are whose partitions are months and years.
	monthAge = 35 * day
	yearAge  = 2 * 365 * day
	// fullPartition is how many bytes of readings a partition should have at most, with its key.
	fullPartition = 4 << 30
	// fewPartitions is a number of partitions above which new ones are months.
	fewPartitions = 300
	// keptLonger is the part of its retention for which a reading may be kept longer, since its
	// partition is not over.
	keptLonger = 8
)

// sizing chooses the sizes of new partitions.
type sizing struct {
	fixed      string // size of all; "": it is chosen
	now        time.Time
	recent     string          // size for readings that come as they are measured
	retentions []time.Duration // that sensors have, but for ever
}

// sizing is by what there is now; known are the partitions.
func (p *partitions) sizing(
	ctx context.Context, q sqlx.QueryerContext, known []partition, now time.Time,
) (sizing, error) {
	if p.size != auto {
		return sizing{fixed: p.size}, nil
	}
	retentions, err := p.retentions(ctx, q)
	if err != nil || len(known) > fewPartitions {
		return sizing{now: now, recent: monthly, retentions: retentions}, err
	}
	perDay, err := bytesPerDay(ctx, q, known, now)
	recent := daily
	for _, c := range coarser {
		if c.size != yearly && perDay > 0 && perDay*c.length.Hours()/24 <= fullPartition {
			recent = c.size
		}
	}
	return sizing{now: now, recent: recent, retentions: retentions}, err
}

// at returns the size of a new partition for an instant: coarser with age, and not so long that
// readings are kept for much longer than they have to be.
func (s *sizing) at(at time.Time) string {
	if s.fixed != "" {
		return s.fixed
	}
	size := s.recent
	switch age := s.now.Sub(at); {
	case age > yearAge:
		size = yearly
	case age > monthAge:
		size = monthly
	}
	for i := len(coarser) - 1; i > 0; i-- {
		if _, end := slot(size, at); coarser[i].size == size && coarser[i].length > s.longest(end) {
			size = coarser[i-1].size
		}
	}
	return size
}

// longest is how long a partition may be that ends at an instant. Those sensors that keep its
// readings no longer than their age have none there.
func (s *sizing) longest(end time.Time) time.Duration {
	shortest := longestRetention
	for _, r := range s.retentions {
		if r > s.now.Sub(end) {
			shortest = min(shortest, r)
		}
	}
	return max(shortest/keptLonger, day)
}

// retentions returns how long sensors keep their readings, those but for ever, each once.
func (p *partitions) retentions(
	ctx context.Context, q sqlx.QueryerContext,
) ([]time.Duration, error) {
	const list = `
		SELECT DISTINCT coalesce(retention_days * $2::bigint, $1::bigint)
		FROM sensors
		WHERE coalesce(retention_days, $1::bigint) > 0
		UNION
		SELECT $1::bigint WHERE $1::bigint > 0`
	var all []time.Duration
	return all, sqlx.SelectContext(ctx, q, &all, list, p.retention, day)
}

// bytesPerDay is about how much comes each day, by the partitions of the last weeks; 0: it is not
// known.
func bytesPerDay(
	ctx context.Context, q sqlx.QueryerContext, known []partition, now time.Time,
) (float64, error) {
	var bytes, days float64
	for _, p := range known {
		elapsed := earlier(p.End, now).Sub(p.Start)
		if now.Sub(p.End) > monthAge || elapsed < day {
			continue
		}
		var size float64
		const total = `SELECT coalesce(pg_total_relation_size(to_regclass($1)), 0)`
		if err := sqlx.GetContext(ctx, q, &size, total, p.Name); err != nil {
			return 0, err
		}
		bytes += size
		days += elapsed.Hours() / 24
	}
	if days == 0 {
		return 0, nil
	}
	return max(bytes/days, 1), nil
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
	case yearly:
		first := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		return first, first.AddDate(1, 0, 0)
	}
	return midnight, midnight.Add(day)
}
