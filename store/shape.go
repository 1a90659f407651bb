package store

import (
	"context"
	"math"
	"time"
)

// Method is how points are picked that show the shape of a series.
type Method uint8

// The methods.
const (
	// MinMax picks the least and the greatest value of each of equally long stretches of time: no peak is lost.
	MinMax Method = iota
	// LTTB picks the points that span the largest triangles (Steinarsson, 2013), out of four times as many picked by MinMax
	// (Van Der Donckt et al., 2023): it looks to the eye as the series does.
	LTTB
)

// ShapeQuery selects readings of [Start, End) that show the shape of a series: at most Points of each sensor, 4 or more.
type ShapeQuery struct {
	Sensors    []int64
	Start, End time.Time
	Method     Method
	Points     int
}

// Shape returns real readings of each sensor that has any, oldest first, its first and last among them. Those of bad quality
// and without a value are left out. It reads all the readings but holds no more than it needs to pick.
func (s *Store) Shape(ctx context.Context, q ShapeQuery) (map[int64][]Reading, error) {
	const query = `
		SELECT d.sensor_id, d.timestamp, d.value, coalesce(d.status_code, 0), d.quality
		FROM unnest($1::int[]) AS i (id)
		CROSS JOIN LATERAL (
			SELECT sensor_id, timestamp, value, status_code, quality
			FROM sensor_data
			WHERE sensor_id = i.id AND timestamp >= $2 AND timestamp < $3 AND quality < 2 AND value IS NOT NULL
			ORDER BY timestamp) d`
	rows, err := s.api.QueryContext(ctx, query, int32s(unique(q.Sensors)), q.Start, q.End)
	if err != nil {
		return nil, explain("shape", err)
	}
	defer rows.Close()
	thinners := map[int64]*thinner{}
	for rows.Next() {
		var r Reading
		var code int32
		if err := rows.Scan(&r.SensorID, &r.Timestamp, &r.Value, &code, &r.Quality); err != nil {
			return nil, explain("shape", err)
		}
		r.StatusCode = uint32(code)
		t := thinners[r.SensorID]
		if t == nil {
			t = newThinner(q)
			thinners[r.SensorID] = t
		}
		t.add(r)
	}
	if err := rows.Err(); err != nil {
		return nil, explain("shape", err)
	}
	picked := make(map[int64][]Reading, len(thinners))
	for id, t := range thinners {
		picked[id] = t.pick()
	}
	return picked, nil
}

// thinner picks points of one sensor, whose readings it is given in order of time.
type thinner struct {
	q        ShapeQuery
	most     int       // readings that are kept as they are, until there are more
	all      []Reading // nil once there are more than most
	bins     []bin
	stretch  time.Duration // of a bin
	fst, lst Reading
}

// bin has the extremes of a stretch of time: the earliest ones.
type bin struct {
	least, greatest Reading
	used            bool
}

func newThinner(q ShapeQuery) *thinner {
	t := &thinner{q: q, most: q.Points, all: []Reading{}}
	n := q.Points
	if q.Method == LTTB {
		n *= 4
		t.most = n
	}
	t.bins = make([]bin, max((n-2)/2, 1)) // the first and the last reading are picked besides
	t.stretch = max(q.End.Sub(q.Start)/time.Duration(len(t.bins))+1, 1)
	return t
}

func (t *thinner) add(r Reading) {
	if t.lst.Timestamp.IsZero() {
		t.fst = r
	}
	t.lst = r
	if t.all != nil {
		if t.all = append(t.all, r); len(t.all) > t.most {
			t.all = nil
		}
	}
	i := r.Timestamp.Sub(t.q.Start) / t.stretch
	b := &t.bins[min(max(i, 0), time.Duration(len(t.bins)-1))] // the database may have rounded Start down
	if !b.used || r.Value < b.least.Value {
		b.least = r
	}
	if !b.used || r.Value > b.greatest.Value {
		b.greatest = r
	}
	b.used = true
}

func (t *thinner) pick() []Reading {
	rs := t.all
	if rs == nil {
		rs = t.extremes()
	}
	if t.q.Method == LTTB {
		return lttb(rs, t.q.Points)
	}
	return rs
}

// extremes are those of all bins, the first and the last reading, each once.
func (t *thinner) extremes() []Reading {
	rs := []Reading{t.fst}
	put := func(r Reading) {
		if r.Timestamp.After(rs[len(rs)-1].Timestamp) {
			rs = append(rs, r)
		}
	}
	for _, b := range t.bins {
		if !b.used {
			continue
		}
		if b.least.Timestamp.Before(b.greatest.Timestamp) {
			put(b.least)
			put(b.greatest)
		} else {
			put(b.greatest)
			put(b.least)
		}
	}
	put(t.lst)
	return rs
}

// lttb picks n of rs, which are in order of time, by largest triangle three buckets; all when there are no more.
func lttb(rs []Reading, n int) []Reading {
	if len(rs) <= n {
		return rs
	}
	x := func(r Reading) float64 { return r.Timestamp.Sub(rs[0].Timestamp).Seconds() }
	bound := func(i int) int { return 1 + i*(len(rs)-2)/(n-2) } // of buckets of like size between the first and the last
	picked := append(make([]Reading, 0, n), rs[0])
	for i := range n - 2 {
		next := rs[len(rs)-1:]
		if i < n-3 {
			next = rs[bound(i+1):bound(i+2)]
		}
		var cx, cy float64 // the middle of the next bucket
		for _, r := range next {
			cx, cy = cx+x(r)/float64(len(next)), cy+r.Value/float64(len(next))
		}
		a := picked[len(picked)-1]
		best, area := rs[bound(i)], -1.0
		for _, b := range rs[bound(i):bound(i+1)] {
			if s := math.Abs((x(a)-cx)*(b.Value-a.Value) - (x(a)-x(b))*(cy-a.Value)); s > area {
				best, area = b, s
			}
		}
		picked = append(picked, best)
	}
	return append(picked, rs[len(rs)-1])
}
