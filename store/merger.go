package store

import (
	"database/sql"
	"math"
	"slices"
	"time"
)

// historyRow has rollups of a sensor and a day, or readings that begin in it.
type historyRow struct {
	sensor            int64
	day               time.Time
	rollups, readings sql.RawBytes
}

// merger makes the buckets of several sensors. The rows of each come in order of time.
type merger struct {
	q        HistoryQuery
	bounds   []instant
	start    instant
	gap      instant
	sketched bool
	sensors  map[int64]*sensorMerger

	of      *sensorMerger // these came of it:
	sensor  int64
	day     time.Time
	rollups []rollup
	points  []point
}

// sensorMerger makes the buckets of one sensor.
type sensorMerger struct {
	*merger
	found []Bucket
	held  float64 // what holds at the start; NaN: nothing

	n          int // of the bucket that is being filled, it begins at bounds[n]
	whole      piece
	known      percentiles
	gaps       int64
	longestGap instant
	before     instant // the last reading
	begun      bool    // there is one
}

func newMerger(q HistoryQuery, source Source) *merger {
	m := &merger{
		q:        q,
		start:    instantOf(q.Start),
		gap:      instant(q.Gap.Microseconds()),
		sketched: source != Raw,
		sensors:  map[int64]*sensorMerger{},
	}
	m.bounds = make([]instant, 0, len(q.Bounds))
	for _, b := range q.Bounds {
		m.bounds = append(m.bounds, instantOf(b))
	}
	return m
}

func (m *merger) take(r *historyRow) (err error) {
	if m.of == nil || r.sensor != m.sensor || !r.day.Equal(m.day) {
		if err := m.merge(); err != nil {
			return err
		}
		if m.of = m.sensors[r.sensor]; m.of == nil {
			m.of = &sensorMerger{
				merger: m,
				held:   math.NaN(),
				known:  percentiles{parts: m.q.Percentiles, sketched: m.sketched},
			}
			m.sensors[r.sensor] = m.of
		}
		m.sensor, m.day = r.sensor, r.day
	}
	if r.readings != nil {
		m.points, err = unpackReadings(m.points, r.readings)
		return err
	}
	packed := []byte(r.rollups)
	if len(m.q.Percentiles) > 0 { // sketches are parts of it
		packed = slices.Clone(packed)
	}
	m.rollups, err = unpackRollups(m.rollups, packed, &m.q)
	return err
}

// merge puts what came of the day into buckets. No reading is within a rollup.
func (m *merger) merge() error {
	inOrder(m.points)
	slices.SortFunc(m.rollups,
		func(a, b rollup) int { return int(min(max(a.bucket-b.bucket, -1), 1)) })
	points, rollups := m.points, m.rollups
	for len(points)+len(rollups) > 0 {
		if len(points) > 0 && (len(rollups) == 0 || points[0].at < rollups[0].bucket) {
			m.of.point(points[0])
			points = points[1:]
			continue
		}
		if err := m.of.rollup(&rollups[0]); err != nil {
			return err
		}
		rollups = rollups[1:]
	}
	m.points, m.rollups = m.points[:0], m.rollups[:0]
	return nil
}

func (m *sensorMerger) point(p point) {
	if p.at < m.start {
		m.held = p.value
		return
	}
	m.moveTo(p.at)
	m.pauseUntil(p.at)
	m.whole.add(p)
	m.before = p.at
	if len(m.known.parts) > 0 && !math.IsNaN(p.value) {
		m.known.add(p.at, p.value)
	}
}

func (m *sensorMerger) rollup(r *rollup) error {
	m.moveTo(r.bucket)
	m.pauseUntil(r.begin)
	m.whole.merge(&r.piece)
	m.before = r.end
	return m.known.sketches(r.sketch)
}

// moveTo closes the bucket unless at is in it.
func (m *sensorMerger) moveTo(at instant) {
	if at < m.bounds[m.n+1] {
		return
	}
	m.close()
	for at >= m.bounds[m.n+1] {
		m.n++
	}
}

// pauseUntil counts a gap before what comes now.
func (m *sensorMerger) pauseUntil(at instant) {
	if m.begun && m.gap > 0 && at-m.before > m.gap {
		m.gaps++
		m.longestGap = max(m.longestGap, at-m.before)
	}
	m.begun = true
}

// close adds the bucket to what is found, when it has readings.
func (m *sensorMerger) close() {
	p := &m.whole
	if p.count == 0 {
		return
	}
	b := Bucket{
		Start:      m.q.Bounds[m.n],
		End:        m.q.Bounds[m.n+1],
		Readings:   p.count,
		Good:       p.good,
		Usable:     p.usable,
		Gaps:       m.gaps,
		LongestGap: time.Duration(m.longestGap) * time.Microsecond,
		Sum:        math.NaN(),
		Min:        math.NaN(),
		Max:        math.NaN(),
		M2:         math.NaN(),
		First:      math.NaN(),
		Last:       math.NaN(),
	}
	if p.usable > 0 {
		b.Sum, b.Min, b.Max, b.M2 = p.sum, p.min, p.max, p.m2
		if m.q.Ends {
			b.First, b.Last, b.FirstAt, b.LastAt, b.within = p.first, p.last, p.firstAt.time(), p.lastAt.time(), p.integral
		}
		m.known.take(&b)
	}
	if m.found == nil {
		m.found = make([]Bucket, 0, len(m.bounds)-1-m.n)
	}
	m.found = append(m.found, b)
	m.whole, m.gaps, m.longestGap = piece{}, 0, 0
}

// buckets returns what the rows came to.
func (m *merger) buckets() (map[int64][]Bucket, error) {
	if err := m.merge(); err != nil {
		return nil, err
	}
	found := map[int64][]Bucket{}
	for sensor, of := range m.sensors {
		of.close()
		if len(of.found) == 0 { // it has but a value that holds
			continue
		}
		if m.q.Ends {
			weigh(of.found, of.held, m.q.Start, earlier(m.q.End, m.q.Now))
		}
		found[sensor] = of.found
	}
	return found, nil
}
