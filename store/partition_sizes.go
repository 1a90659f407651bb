package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"
)

// The sizes of partitions of sensor_data, in UTC; weeks begin on Monday.
const (
	auto    = "auto" // the size below that fits the readings
	hourly  = "hour"
	daily   = "day"
	weekly  = "week"
	monthly = "month"
	yearly  = "year"
)

// autoSizes are the sizes that auto chooses from, the smallest first, and their maximum lengths.
var autoSizes = []struct {
	size   string
	length time.Duration
}{
	{daily, day},
	{weekly, 7 * day},
	{monthly, 31 * day},
	{yearly, 366 * day},
}

const (
	// monthAge and yearAge are the ages from which on the partitions of readings are months and
	// years.
	monthAge = 35 * day
	yearAge  = 2 * 365 * day
	// maxPartitionBytes is the maximum size of a partition with its key, as far as it can be
	// chosen.
	maxPartitionBytes = 4 << 30
	// maxSmallPartitions is the number of partitions above which new ones are months.
	maxSmallPartitions = 300
	// maxOverstay is the fraction (1/8) of its retention for which a reading may be kept longer,
	// because its partition has not expired yet.
	maxOverstay = 8
)

// sizing chooses the sizes of new partitions.
type sizing struct {
	fixed      string // the size of all; "": it is chosen
	now        time.Time
	recent     string          // the size for readings that arrive as they are measured
	retentions []time.Duration // of sensors, without those that keep readings for ever
}

// sizing returns how to size partitions at the time now. known are all partitions.
func (p *partitions) sizing(
	ctx context.Context, q sqlx.QueryerContext, known []partition, now time.Time,
) (sizing, error) {
	if p.size != auto {
		return sizing{fixed: p.size}, nil
	}
	retentions, err := p.retentions(ctx, q)
	if err != nil || len(known) > maxSmallPartitions {
		return sizing{now: now, recent: monthly, retentions: retentions}, err
	}
	perDay, err := bytesPerDay(ctx, q, known, now)
	recent := daily
	for _, c := range autoSizes {
		if c.size != yearly && perDay > 0 && perDay*c.length.Hours()/24 <= maxPartitionBytes {
			recent = c.size
		}
	}
	return sizing{now: now, recent: recent, retentions: retentions}, err
}

// at returns the size of a new partition for an instant: longer with age, and not so long that
// readings are kept much longer than their retention.
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
	for i := len(autoSizes) - 1; i > 0; i-- {
		_, end := slot(size, at)
		if autoSizes[i].size == size && autoSizes[i].length > s.maxLength(end) {
			size = autoSizes[i-1].size
		}
	}
	return size
}

// maxLength returns the maximum length of a partition that ends at an instant. Retentions that are
// over by now do not matter: their sensors have no readings there.
func (s *sizing) maxLength(end time.Time) time.Duration {
	retention := maxRetention
	for _, r := range s.retentions {
		if r > s.now.Sub(end) {
			retention = min(retention, r)
		}
	}
	return max(retention/maxOverstay, day)
}

// retentions returns the retentions of sensors, each once, without 0, for ever.
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

// bytesPerDay estimates how many bytes are stored each day, by the partitions of the last weeks; 0:
// unknown.
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

// slot returns the bounds of the partition of a size that contains an instant.
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
