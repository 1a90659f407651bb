package store

import (
	"context"
	"time"

	"github.com/oei-ms/oei-ms/series"
)

const (
	// LightCost is the maximum cost of a cheap query: about ten milliseconds of a processor.
	LightCost = 1 << 16
	// rollupCost is the cost of a rollup, in readings: it is larger, has to be merged, and mostly
	// becomes a bucket.
	rollupCost = 8
	// maxCountedHours is how many hours are counted to estimate a cost: more are expensive anyway.
	maxCountedHours = 20000
	// maxReadingsPerHour is what a sensor is assumed to have when its readings are not counted.
	maxReadingsPerHour = 3600
)

// extent is how much a range has of some sensors: an upper bound of their hours, and readings.
type extent struct{ hours, readings int64 }

// HistoryCost estimates how many readings the history of q costs to read.
func (s *Store) HistoryCost(ctx context.Context, q series.HistoryQuery) (int64, error) {
	source := s.historySource(&q)
	split, splitByMinute := q.SplitHours()
	buckets := int64(len(q.Sensors) * (len(q.Bounds) - 1))
	splits := int64(len(split) * len(q.Sensors))
	return s.cost(ctx, q.Sensors, q.Start, q.End, func(e extent) int64 {
		byMinute := min(60*rollupCost*e.hours, e.readings)
		switch {
		case source == series.Raw:
			return e.readings + buckets
		case source == series.ByMinute:
			return byMinute + buckets
		case splitByMinute:
			return rollupCost*e.hours + byMinute/max(e.hours, 1)*splits + buckets
		}
		return rollupCost*e.hours + e.readings/max(e.hours, 1)*splits + buckets
	})
}

// DownsampleCost estimates how many readings the answer of q costs to read.
func (s *Store) DownsampleCost(ctx context.Context, q series.DownsampleQuery) (int64, error) {
	p := q.Plan(s.rollups)
	chosen := int64(p.MaxAll * len(q.Sensors))
	return s.cost(ctx, q.Sensors, q.Start, q.End, func(e extent) int64 {
		switch p.Source {
		case series.ByHour:
			// some minutes and readings for each that is chosen
			return rollupCost*e.hours + chosen
		case series.ByMinute:
			return min(60*rollupCost*e.hours, e.readings) + chosen
		}
		return e.readings
	})
}

// ReadingsCost estimates how many readings of sensors there are in [start, end); nil is open.
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
	return s.cost(ctx, sensors, from, to, func(e extent) int64 { return e.readings })
}

// cost returns what of returns for the extent of the range, which is counted only when the cost
// could be more than light.
func (s *Store) cost(
	ctx context.Context, sensors []int64, start, end time.Time, of func(extent) int64,
) (int64, error) {
	end = earlier(end, time.Now())
	hours := int64(max(end.Sub(start), 0)/time.Hour+1) * int64(len(sensors))
	upper := extent{hours: hours, readings: hours * maxReadingsPerHour}
	if n := of(upper); n <= LightCost || !s.rollups {
		return n, nil
	}
	const q = `
		SELECT count(*), coalesce(sum(count), 0)
		FROM (
			SELECT count
			FROM rollup_1h
			WHERE sensor_id = ANY ($1::int[])
				AND bucket >= date_trunc('hour', $2::timestamptz, 'UTC')
				AND bucket < $3
			LIMIT $4) h`
	var counted extent
	if err := s.api.QueryRowContext(ctx, q, int32s(unique(sensors)), start, end,
		maxCountedHours).Scan(&counted.hours, &counted.readings); err != nil {
		return 0, explain("cost", err)
	}
	others := hours - counted.hours
	if counted.hours < maxCountedHours && others*maxReadingsPerHour > LightCost {
		n, err := s.countWithoutRollup(ctx, sensors, start, end)
		if err != nil {
			return 0, explain("cost", err)
		}
		counted.readings += n
		if n >= LightCost { // there may be any number more
			counted.readings += others * maxReadingsPerHour
		}
	}
	return of(counted), nil
}

// countWithoutRollup counts the readings in hours that have no rollup; it stops at LightCost.
func (s *Store) countWithoutRollup(
	ctx context.Context, sensors []int64, start, end time.Time,
) (n int64, err error) {
	spans, err := s.spansOf(ctx, sensors, &start, &end, whole)
	for i := 0; i < len(spans) && n < LightCost && err == nil; i++ {
		var some int64
		err = s.api.GetContext(ctx, &some, countWithoutRollupSQL, int32s(unique(sensors)),
			spans[i].start, spans[i].end, LightCost-n)
		n += some
	}
	return n, err
}

var countWithoutRollupSQL = `
		WITH asked AS (
			SELECT id
			FROM unnest($1::int[]) AS i (id)),
		hours AS (
			SELECT sensor_id, bucket
			FROM rollup_1h
			WHERE sensor_id = ANY ($1::int[])
				AND bucket >= date_trunc('hour', $2::timestamptz, 'UTC')
				AND bucket < $3),` + uncoveredBy("asked", "$2::timestamptz", "$3::timestamptz") + `
		SELECT coalesce(sum(d.n), 0)::bigint
		FROM uncovered u
		CROSS JOIN LATERAL (
			SELECT count(*) AS n
			FROM (
				SELECT
				FROM sensor_data
				WHERE sensor_id = u.sensor_id
					AND timestamp >= u.begin
					AND timestamp < u.until
					AND timestamp >= $2
					AND timestamp < $3
				LIMIT $4) r) d
		WHERE u.begin < u.until`

// uncoveredBy returns a CTE: the time in [start, end) that the rollups in hours do not cover, of
// each of sensors, a relation of ids.
func uncoveredBy(sensors, start, end string) string {
	return `
		uncovered AS (
			SELECT
				sensor_id,
				lag(bucket + interval '1 hour', 1, ` + start + `)
					OVER (PARTITION BY sensor_id ORDER BY bucket) AS begin,
				bucket AS until
			FROM hours
			UNION ALL
			SELECT i.id, coalesce(h.until, ` + start + `), ` + end + `
			FROM ` + sensors + ` i
			LEFT JOIN (
				SELECT sensor_id, max(bucket) + interval '1 hour' AS until
				FROM hours
				GROUP BY sensor_id) h ON h.sensor_id = i.id)`
}
