package store

import (
	"context"
	"time"
)

const (
	// LightCost is what a question may cost to be light: some ten milliseconds of a processor.
	LightCost = 1 << 16
	// rollupCost is what a rollup costs, in readings: it is larger, has to be merged, and mostly
	// becomes a bucket.
	rollupCost = 8
	// mostCounted is how many hours are counted to know what a question costs: what has more costs
	// much anyway.
	mostCounted = 20000
	// densest is how many readings in an hour a sensor is taken to have when it is not worth
	// counting.
	densest = 3600
)

// extents is how much of sensors there is in a range: at most so many hours, of each sensor its
// own, and readings.
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
			return rollupCost*e.hours + byMinute/max(e.hours, 1)*int64(len(split)*len(q.Sensors)) +
				buckets
		}
		return rollupCost*e.hours + e.readings/max(e.hours, 1)*int64(len(split)*len(q.Sensors)) +
			buckets
	})
}

// ShapeCost is about how much the shape of q costs, in readings that are read.
func (s *Store) ShapeCost(ctx context.Context, q ShapeQuery) (int64, error) {
	p := q.plan(s.rollups)
	return s.cost(ctx, q.Sensors, q.Start, q.End, func(e extents) int64 {
		switch p.source {
		case ByHour:
			// for each it picks, some minutes and readings
			return rollupCost*e.hours + int64(p.most*len(q.Sensors))
		case ByMinute:
			return min(60*rollupCost*e.hours, e.readings) + int64(p.most*len(q.Sensors))
		}
		return e.readings
	})
}

// ReadingsCost is about how many readings of sensors there are in [start, end), nil being open.
func (s *Store) ReadingsCost(
	ctx context.Context, sensors []int64, start, end *time.Time,
) (int64, error) {
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
func (s *Store) cost(
	ctx context.Context, sensors []int64, start, end time.Time, of func(extents) int64,
) (int64, error) {
	end = earlier(end, time.Now())
	hours := int64(max(end.Sub(start), 0)/time.Hour+1) * int64(len(sensors))
	most := extents{hours: hours, readings: hours * densest}
	if n := of(most); n <= LightCost || !s.rollups {
		return n, nil
	}
	const q = `
		SELECT count(*), coalesce(sum(count), 0)
		FROM (
			SELECT count
			FROM rollup_1h
			WHERE sensor_id = ANY ($1::int[]) AND bucket >= date_trunc('hour', $2::timestamptz, 'UTC') AND bucket < $3
			LIMIT $4) h`
	var counted extents
	if err := s.api.QueryRowContext(ctx, q, int32s(unique(sensors)), start, end, mostCounted).Scan(
		&counted.hours, &counted.readings,
	); err != nil {
		return 0, explain("cost", err)
	}
	if others := hours - counted.hours; counted.hours < mostCounted && others*densest > LightCost {
		n, err := s.countSparse(ctx, sensors, start, end)
		if err != nil {
			return 0, explain("cost", err)
		}
		counted.readings += n
		if n >= LightCost { // there may be any number more
			counted.readings += others * densest
		}
	}
	return of(counted), nil
}

// countSparse counts the readings in hours that have no rollup; LightCost or more when they are
// that many.
func (s *Store) countSparse(
	ctx context.Context, sensors []int64, start, end time.Time,
) (n int64, err error) {
	spans, err := s.spansOf(ctx, sensors, &start, &end, whole)
	for i := 0; i < len(spans) && n < LightCost && err == nil; i++ {
		var some int64
		err = s.api.GetContext(ctx, &some, sparseQuery, int32s(unique(sensors)), spans[i].start,
			spans[i].end, LightCost-n)
		n += some
	}
	return n, err
}

var sparseQuery = `
		WITH hours AS (
			SELECT sensor_id, bucket
			FROM rollup_1h
			WHERE sensor_id = ANY ($1::int[]) AND bucket >= date_trunc('hour', $2::timestamptz, 'UTC') AND bucket < $3),
		gaps AS (` + gapsBetween("SELECT id FROM unnest($1::int[]) AS i (id)", "$2::timestamptz", "$3::timestamptz") + `)
		SELECT coalesce(sum(d.n), 0)::bigint
		FROM gaps g
		CROSS JOIN LATERAL (
			SELECT count(*) AS n
			FROM (
				SELECT
				FROM sensor_data
				WHERE sensor_id = g.sensor_id AND timestamp >= g.begin AND timestamp < g.until AND timestamp >= $2 AND timestamp < $3
				LIMIT $4) r) d
		WHERE g.begin < g.until`

// gapsBetween is SQL for the stretches of [start, end) that are between the rows of hours, of each
// sensor.
func gapsBetween(sensors, start, end string) string {
	return `
			SELECT sensor_id, lag(bucket + interval '1 hour', 1, ` + start + `) OVER (PARTITION BY sensor_id ORDER BY bucket) AS begin, bucket AS until
			FROM hours
			UNION ALL
			SELECT i.id, coalesce(h.until, ` + start + `), ` + end + `
			FROM (` + sensors + `) i
			LEFT JOIN (
				SELECT sensor_id, max(bucket) + interval '1 hour' AS until
				FROM hours
				GROUP BY sensor_id) h ON h.sensor_id = i.id`
}
