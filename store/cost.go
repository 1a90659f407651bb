package store

import (
	"context"
	"time"
)

const (
	// LightCost is what a question may cost to be light: some ten milliseconds of a processor.
	LightCost = 1 << 16
	// rollupCost is what a rollup costs, in readings: it is larger, has to be merged, and mostly becomes a bucket.
	rollupCost = 8
	// mostCounted is how many hours are counted to know what a question costs: what has more costs much anyway.
	mostCounted = 20000
	// densest is how many readings in an hour a sensor is taken to have when it is not worth counting, or there is nothing to count.
	densest = 3600
)

// extents is how much of sensors there is in a range: at most so many hours, of each sensor its own, and readings.
type extents struct{ hours, readings int64 }

// HistoryCost is about how much the history of q costs, in readings that are read.
func (s *Store) HistoryCost(ctx context.Context, q HistoryQuery) (int64, error) {
	source := q.source()
	if !s.rollups {
		source = Raw
	}
	split, minutes := q.split()
	buckets := int64(len(q.Sensors) * (len(q.Bounds) - 1))
	return s.cost(ctx, q.Sensors, q.Start, q.End, func(e extents) int64 {
		byMinute := min(60*rollupCost*e.hours, e.readings)
		switch {
		case source == Raw:
			return e.readings + buckets
		case source == ByMinute:
			return byMinute + buckets
		case minutes:
			return rollupCost*e.hours + byMinute/max(e.hours, 1)*int64(len(split)*len(q.Sensors)) + buckets
		}
		return rollupCost*e.hours + e.readings/max(e.hours, 1)*int64(len(split)*len(q.Sensors)) + buckets
	})
}

// ShapeCost is about how much the shape of q costs, in readings that are read.
func (s *Store) ShapeCost(ctx context.Context, q ShapeQuery) (int64, error) {
	p := q.plan(s.rollups)
	return s.cost(ctx, q.Sensors, q.Start, q.End, func(e extents) int64 {
		switch p.source {
		case ByHour:
			return rollupCost*e.hours + int64(p.most*len(q.Sensors)) // for each it picks, some minutes and readings
		case ByMinute:
			return min(60*rollupCost*e.hours, e.readings) + int64(p.most*len(q.Sensors))
		}
		return e.readings
	})
}

// ReadingsCost is about how many readings of sensors there are in [start, end), nil being open.
func (s *Store) ReadingsCost(ctx context.Context, sensors []int64, start, end *time.Time) (int64, error) {
	from, to := time.Time{}, time.Now()
	if start != nil {
		from = *start
	}
	if end != nil {
		to = *end
	}
	return s.cost(ctx, sensors, from, to, func(e extents) int64 { return e.readings })
}

// cost is of what there is in the range, which is counted only when it could be more than light.
func (s *Store) cost(ctx context.Context, sensors []int64, start, end time.Time, of func(extents) int64) (int64, error) {
	end = earlier(end, time.Now())
	hours := int64(max(end.Sub(start), 0)/time.Hour+1) * int64(len(sensors))
	most := extents{hours: hours, readings: hours * densest}
	if n := of(most); n <= LightCost || !s.rollups {
		return n, nil
	}
	const q = `
		SELECT count(*), coalesce(sum(count), 0), count(*) FILTER (WHERE waits)
		FROM (
			(SELECT count, false AS waits
			FROM rollup_1h
			WHERE sensor_id = ANY ($1::int[]) AND bucket >= date_trunc('hour', $2::timestamptz, 'UTC') AND bucket < $3
			LIMIT $4)
			UNION ALL
			(SELECT NULL, true
			FROM rollup_due
			WHERE sensor_id = ANY ($1::int[]) AND hour >= date_trunc('hour', $2::timestamptz, 'UTC') AND hour < $3
			LIMIT $4)) h`
	var counted extents
	var waiting int64
	if err := s.api.QueryRowContext(ctx, q, int32s(unique(sensors)), start, end, mostCounted).Scan(&counted.hours, &counted.readings, &waiting); err != nil {
		return 0, explain("cost", err)
	}
	counted.readings += waiting * densest
	if time.Since(end) < time.Hour { // what has come since is not rolled up yet
		counted.readings += int64(len(sensors)) * counted.readings / max(counted.hours, 1)
	}
	return of(counted), nil
}
