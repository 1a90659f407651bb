package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"text/template"
	"time"

	"github.com/lib/pq"
)

// Method is how points are picked that show the shape of a series.
type Method uint8

// The methods.
const (
	// MinMax picks the least and the greatest value of each of equally long stretches of time: no
	// peak is lost.
	MinMax Method = iota
	// LTTB picks the points that span the largest triangles (Steinarsson, 2013), out of four times
	// as many picked by MinMax (Van Der Donckt et al., 2023): it looks to the eye as the series
	// does.
	LTTB
)

// ShapeQuery selects readings of [Start, End) that show the shape of a series: at most Points of
// each sensor, 4 or more.
type ShapeQuery struct {
	Sensors    []int64
	Start, End time.Time
	Method     Method
	Points     int
}

// Shape returns real readings of each sensor that has any, oldest first, its first and last among
// them; all of them when there are no more than Points. Those of bad quality, without a value, and
// beyond ±1e140 are left out. Where a point stands for minutes or hours, their rollups tell which
// have the extremes, and only these are read, so that the result is that of all readings. It holds
// no more than it needs to pick. What takes longer than a statement may is ErrTooMuch.
func (s *Store) Shape(ctx context.Context, q ShapeQuery) (map[int64][]Reading, Source, error) {
	p := q.plan(s.rollups)
	found, err := s.shape(ctx, q, p)
	var pqErr *pq.Error
	// query_canceled by statement_timeout
	if errors.As(err, &pqErr) && pqErr.Code == "57014" && ctx.Err() == nil {
		err = fmt.Errorf("shape: %w", ErrTooMuch)
	}
	return found, p.source, err
}

// shapePlan is how points are picked: from each bin, a stretch of width from origin on, its
// extremes.
type shapePlan struct {
	source        Source
	origin, width instant
	bins, most    int // with no more than most readings all of them are candidates
}

const (
	// leastMinutes and leastHours is how wide a bin has to be to be made up of whole minutes or
	// hours, which makes it wider still.
	leastMinutes = 5 * 60e6
	leastHours   = 3 * 3600e6
)

func (q ShapeQuery) plan(rollups bool) shapePlan {
	n := q.Points
	if q.Method == LTTB {
		n *= 4
	}
	// the first and the last reading are picked besides
	p := shapePlan{source: Raw, origin: instantOf(q.Start), bins: max((n-2)/2, 1), most: n}
	start, end := instantOf(q.Start), instantOf(q.End)
	p.width = (end-start)/instant(p.bins) + 1
	if from, to := wholeHours(q.Start, q.End); rollups && p.width >= leastMinutes &&
		to.Sub(from) >= leastRolled {
		unit := time.Minute
		p.source = ByMinute
		if p.width >= leastHours {
			unit, p.source = time.Hour, ByHour
		}
		p.origin = instantOf(q.Start.UTC().Truncate(unit))
		whole := instant(unit.Microseconds())
		p.width = ((end-p.origin)/instant(p.bins) + whole - 1) / whole * whole
	}
	return p
}

func (s *Store) shape(ctx context.Context, q ShapeQuery, p shapePlan) (map[int64][]Reading, error) {
	spans, err := s.spansOf(ctx, q.Sensors, &q.Start, &q.End, whole)
	if err != nil {
		return nil, explain("shape", err)
	}
	thinners := map[int64]*thinner{}
	for _, w := range spans {
		if err := s.thinSpan(ctx, q, p, w, thinners); err != nil {
			return nil, explain("shape", err)
		}
	}
	picked := map[int64][]Reading{}
	for sensor, t := range thinners {
		picked[sensor] = t.pick(sensor, q)
	}
	return picked, nil
}

// thinSpan gives thinners what there is in w.
func (s *Store) thinSpan(
	ctx context.Context, q ShapeQuery, p shapePlan, w span, thinners map[int64]*thinner,
) error {
	args := []any{int32s(unique(q.Sensors)), w.start, w.end}
	if p.source != Raw {
		from, to := wholeHours(w.start, w.end)
		args = append(args, from, to, p.origin.time(), float64(p.width)/1e6, p.most)
	}
	var b strings.Builder
	asked := struct {
		Rolled, Minutes bool
		Piece           string
	}{p.source != Raw, p.source == ByMinute, stretch(w.start, w.end)}
	if err := shapeTemplate.Execute(&b, asked); err != nil {
		panic(err) // it is a constant
	}
	rows, err := s.api.QueryContext(ctx, b.String(), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var points []point
	var packed sql.RawBytes
	var sensor, settled int64
	for rows.Next() {
		if err := rows.Scan(&sensor, &settled, &packed); err != nil {
			return err
		}
		if points, err = unpackReadings(points[:0], packed); err != nil {
			return err
		}
		inOrder(points)
		t := thinners[sensor]
		if t == nil {
			t = newThinner(p)
			thinners[sensor] = t
		}
		if settled > int64(p.most) { // not all of them are given
			t.all = nil
		}
		for _, r := range points {
			t.add(r)
		}
	}
	return rows.Err()
}

// shapeTemplate has as $6 and $7 the origin and, in seconds, the width of bins, as $8 the number of
// readings of which all are read. Minutes that are picked are read, of hours the minutes that have
// their extremes; the first and the last for their ends.
var shapeTemplate = template.Must(template.New("").Parse(`
		WITH
		{{- if .Rolled}}` + settled + `,
		hours AS MATERIALIZED (
			SELECT sensor_id, bucket, usable, min, max, minutes
			FROM state
			JOIN rollup_1h r ON r.sensor_id = ANY ($1::int[]) AND r.bucket >= $4 AND r.bucket < $5 AND r.bucket < state.upper
			WHERE r.usable > 0 AND NOT EXISTS (SELECT FROM dirty d WHERE d.sensor_id = r.sensor_id AND d.hour = r.bucket)),
		totals AS MATERIALIZED (SELECT sensor_id, sum(usable)::bigint AS usable FROM hours GROUP BY sensor_id),
		pieces AS (
			{{- if .Minutes}}
			SELECT m.sensor_id, m.bucket, m.min, m.max, true AS minutes
			FROM hours h
			JOIN rollup_1m m ON m.sensor_id = h.sensor_id AND m.bucket >= h.bucket AND m.bucket < h.bucket + interval '1 hour'
			WHERE h.minutes AND m.usable > 0
			{{- else}}
			SELECT sensor_id, bucket, min, max, minutes FROM hours
			{{- end}}),
		picks AS MATERIALIZED (
			SELECT *
			FROM (
				SELECT p.sensor_id, bucket, min, max, minutes, t.usable <= $8 OR lag(bucket) OVER s IS NULL OR lead(bucket) OVER s IS NULL AS whole,
					row_number() OVER (PARTITION BY p.sensor_id, bin ORDER BY min, bucket) = 1 AS least,
					row_number() OVER (PARTITION BY p.sensor_id, bin ORDER BY max DESC, bucket) = 1 AS greatest
				FROM (SELECT *, floor(date_part('epoch', bucket - $6::timestamptz) / $7::float8) AS bin FROM pieces) p
				JOIN totals t ON t.sensor_id = p.sensor_id
				WINDOW s AS (PARTITION BY p.sensor_id ORDER BY bucket)) p
			WHERE whole OR least OR greatest),
		{{- end}}` + unsettled + `
			{{- if .Minutes}}
			UNION
			SELECT sensor_id, bucket, bucket + interval '1 minute' FROM picks
			UNION
			SELECT sensor_id, bucket, bucket + interval '1 hour' FROM hours WHERE NOT minutes
			{{- else if .Rolled}}
			UNION
			SELECT sensor_id, bucket, bucket + interval '1 hour' FROM picks WHERE whole OR NOT minutes
			UNION
			SELECT p.sensor_id, m.bucket, m.bucket + interval '1 minute'
			FROM picks p
			CROSS JOIN LATERAL (
				SELECT bucket
				FROM rollup_1m
				WHERE sensor_id = p.sensor_id AND bucket >= p.bucket AND bucket < p.bucket + interval '1 hour' AND min = p.min
				ORDER BY bucket
				LIMIT 1) m
			WHERE p.least AND p.minutes AND NOT p.whole
			UNION
			SELECT p.sensor_id, m.bucket, m.bucket + interval '1 minute'
			FROM picks p
			CROSS JOIN LATERAL (
				SELECT bucket
				FROM rollup_1m
				WHERE sensor_id = p.sensor_id AND bucket >= p.bucket AND bucket < p.bucket + interval '1 hour' AND max = p.max
				ORDER BY bucket
				LIMIT 1) m
			WHERE p.greatest AND p.minutes AND NOT p.whole
			{{- end}})
		SELECT s.sensor_id, {{if .Rolled}}coalesce((SELECT usable FROM totals t WHERE t.sensor_id = s.sensor_id), 0){{else}}0{{end}}, r.readings
		FROM (SELECT sensor_id, begin, until FROM stretches ORDER BY sensor_id, begin) s
		CROSS JOIN LATERAL (
			SELECT string_agg(` + packedReading + `, '') AS readings
			FROM sensor_data
			WHERE sensor_id = s.sensor_id AND timestamp >= s.begin AND timestamp < s.until AND timestamp >= $2 AND timestamp < $3 AND ` + usable + `) r
		WHERE r.readings IS NOT NULL
		ORDER BY s.sensor_id, s.begin`))

// thinner picks points of one sensor, whose readings it is given in order of time.
type thinner struct {
	shapePlan
	all         []point // nil once there are more than most
	extremes    []bin
	first, last point
	begun       bool
}

// bin has the extremes of a stretch of time: the earliest ones.
type bin struct {
	least, greatest point
	used            bool
}

func newThinner(p shapePlan) *thinner {
	return &thinner{shapePlan: p, extremes: make([]bin, p.bins), all: []point{}}
}

func (t *thinner) add(r point) {
	if !t.begun {
		t.first, t.begun = r, true
	}
	t.last = r
	if t.all != nil {
		if t.all = append(t.all, r); len(t.all) > t.most {
			t.all = nil
		}
	}
	// the database may have rounded Start down
	b := &t.extremes[min(max((r.at-t.origin)/t.width, 0), instant(len(t.extremes)-1))]
	if !b.used || r.value < b.least.value {
		b.least = r
	}
	if !b.used || r.value > b.greatest.value {
		b.greatest = r
	}
	b.used = true
}

func (t *thinner) pick(sensor int64, q ShapeQuery) []Reading {
	points := t.all
	if points == nil {
		points = t.candidates()
	}
	if q.Method == LTTB {
		points = lttb(points, q.Points)
	}
	rs := make([]Reading, len(points))
	for i, p := range points {
		// bad ones are not picked
		rs[i] = Reading{
			SensorID:  sensor,
			Timestamp: p.at.time(),
			Value:     p.value,
			Quality:   Uncertain,
		}
		if p.good {
			rs[i].Quality = Good
		}
	}
	return rs
}

// candidates are the extremes of all bins, the first and the last reading, each once.
func (t *thinner) candidates() []point {
	points := []point{t.first}
	put := func(r point) {
		if r.at > points[len(points)-1].at {
			points = append(points, r)
		}
	}
	for _, b := range t.extremes {
		if !b.used {
			continue
		}
		if b.least.at < b.greatest.at {
			put(b.least)
			put(b.greatest)
		} else {
			put(b.greatest)
			put(b.least)
		}
	}
	put(t.last)
	return points
}

// lttb picks n of points, which are in order of time, by largest triangle three buckets; all when
// there are no more.
func lttb(points []point, n int) []point {
	if len(points) <= n {
		return points
	}
	x := func(r point) float64 { return r.at.since(points[0].at) }
	// of buckets of like size between the first and the last
	bound := func(i int) int { return 1 + i*(len(points)-2)/(n-2) }
	picked := append(make([]point, 0, n), points[0])
	for i := range n - 2 {
		next := points[len(points)-1:]
		if i < n-3 {
			next = points[bound(i+1):bound(i+2)]
		}
		var cx, cy float64 // the middle of the next bucket
		for _, r := range next {
			cx, cy = cx+x(r)/float64(len(next)), cy+r.value/float64(len(next))
		}
		a := picked[len(picked)-1]
		best, area := points[bound(i)], -1.0
		for _, b := range points[bound(i):bound(i+1)] {
			if s := math.Abs((x(a)-cx)*(b.value-a.value) - (x(a)-x(b))*(cy-a.value)); s > area {
				best, area = b, s
			}
		}
		picked = append(picked, best)
	}
	return append(picked, points[len(points)-1])
}
