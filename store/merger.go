package store

import (
	"database/sql"
	"math"
	"time"
)

// historyRow is a rollup, or the readings of a stretch; of the latter all that is not null is sensor, at and readings.
type historyRow struct {
	sensor                                   int64
	at                                       time.Time
	count, good, usable                      int64
	sum, m2, min, max, first, last, integral sql.Null[float64]
	firstAt, lastAt, beginAt, endAt          sql.Null[time.Time]
	sketch, readings                         sql.RawBytes
}

// columns are where to scan a row into.
func (r *historyRow) columns() []any {
	return []any{
		&r.sensor, &r.at, &r.count, &r.good, &r.usable, &r.sum, &r.m2, &r.min, &r.max,
		&r.first, &r.firstAt, &r.last, &r.lastAt, &r.integral, &r.beginAt, &r.endAt, &r.sketch, &r.readings,
	}
}

// piece is what a rollup says. Without firstAt and so on it knows no ends.
func (r *historyRow) piece() piece {
	p := piece{
		count: r.count, good: r.good, usable: r.usable, sum: r.sum.V, m2: r.m2.V, min: r.min.V, max: r.max.V,
		first: r.first.V, last: r.last.V, integral: r.integral.V,
	}
	if r.firstAt.Valid {
		p.firstAt, p.lastAt = instantOf(r.firstAt.V), instantOf(r.lastAt.V)
	}
	p.begin, p.end = p.firstAt, p.lastAt
	if r.beginAt.Valid {
		p.begin = instantOf(r.beginAt.V)
	}
	if r.endAt.Valid {
		p.end = instantOf(r.endAt.V)
	}
	return p
}

// merger makes buckets of rows that come in order of sensor and time.
type merger struct {
	q      HistoryQuery
	bounds []instant
	start  instant
	gap    instant
	found  map[int64][]Bucket
	held   map[int64]float64

	sensor     int64
	n          int // of the bucket that is being filled, it begins at bounds[n]
	whole      piece
	known      percentiles
	gaps       int64
	longestGap instant
	before     instant // the last reading
	begun      bool    // there is one
	points     []point
}

func newMerger(q HistoryQuery) *merger {
	m := &merger{
		q: q, start: instantOf(q.Start), gap: instant(q.Gap.Microseconds()), found: map[int64][]Bucket{}, held: map[int64]float64{},
		known: percentiles{parts: q.Percentiles},
	}
	for _, b := range q.Bounds {
		m.bounds = append(m.bounds, instantOf(b))
	}
	return m
}

func (m *merger) take(r *historyRow) (err error) {
	if r.sensor != m.sensor {
		m.close()
		m.sensor, m.n, m.begun = r.sensor, 0, false
	}
	if r.readings == nil {
		p := r.piece()
		m.moveTo(instantOf(r.at))
		m.pauseUntil(p.begin)
		m.whole.merge(&p)
		m.before = p.end
		return m.known.sketches(r.sketch)
	}
	if m.points, err = unpack(m.points[:0], r.readings); err != nil {
		return err
	}
	for _, p := range m.points {
		if p.at < m.start {
			m.held[m.sensor] = p.value
			continue
		}
		m.moveTo(p.at)
		m.pauseUntil(p.at)
		m.whole.add(p)
		m.before = p.at
		if len(m.known.parts) > 0 && !math.IsNaN(p.value) {
			m.known.values = append(m.known.values, p.value)
		}
	}
	return nil
}

// moveTo closes the bucket unless at is in it.
func (m *merger) moveTo(at instant) {
	if at < m.bounds[m.n+1] {
		return
	}
	m.close()
	for at >= m.bounds[m.n+1] {
		m.n++
	}
}

// pauseUntil counts a gap before what comes now.
func (m *merger) pauseUntil(at instant) {
	if m.begun && m.gap > 0 && at-m.before > m.gap {
		m.gaps++
		m.longestGap = max(m.longestGap, at-m.before)
	}
	m.begun = true
}

// close adds the bucket to what is found, when it has readings.
func (m *merger) close() {
	p := &m.whole
	if p.count == 0 {
		return
	}
	b := Bucket{
		Start: m.q.Bounds[m.n], End: m.q.Bounds[m.n+1], Readings: p.count, Good: p.good, Usable: p.usable, Gaps: m.gaps,
		LongestGap: time.Duration(m.longestGap) * time.Microsecond,
		Sum:        math.NaN(), Min: math.NaN(), Max: math.NaN(), M2: math.NaN(), First: math.NaN(), Last: math.NaN(),
	}
	if p.usable > 0 {
		b.Sum, b.Min, b.Max, b.M2 = p.sum, p.min, p.max, p.m2
		if m.q.Ends {
			b.First, b.Last, b.FirstAt, b.LastAt, b.within = p.first, p.last, p.firstAt.time(), p.lastAt.time(), p.integral
		}
		m.known.take(&b)
	}
	m.found[m.sensor] = append(m.found[m.sensor], b)
	m.whole, m.gaps, m.longestGap = piece{}, 0, 0
}

// buckets returns what the rows came to.
func (m *merger) buckets() map[int64][]Bucket {
	m.close()
	if m.q.Ends {
		for sensor, list := range m.found {
			held, ok := m.held[sensor]
			if !ok {
				held = math.NaN()
			}
			weigh(list, held, m.q.Start, earlier(m.q.End, m.q.Now))
		}
	}
	return m.found
}
