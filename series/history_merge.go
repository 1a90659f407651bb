package series

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// PackedRow holds packed rollups of a sensor's day, or packed readings from within it.
type PackedRow struct {
	Sensor            int64
	Day               time.Time
	Rollups, Readings []byte
}

// HistoryMerger merges packed rollups and readings into the buckets of a history. The rows of each
// sensor come in order of day.
type HistoryMerger struct {
	q        HistoryQuery
	bounds   []Instant
	start    Instant
	gap      Instant
	sketched bool
	sensors  map[int64]*sensorMerger

	// the day that rows come of, and what came of it so far
	current  *sensorMerger
	sensor   int64
	day      time.Time
	rollups  []Rollup
	readings []Reading
}

// sensorMerger makes the buckets of one sensor.
type sensorMerger struct {
	*HistoryMerger
	buckets []Bucket
	carryIn float64 // the value that holds at the start; NaN: none

	n           int // the bucket that is being filled begins at bounds[n]
	aggregate   Aggregate
	percentiles percentiles
	gaps        int64
	maxGap      Instant
	previous    Instant // time of the previous reading
	hasPrevious bool
}

// NewHistoryMerger returns a merger of the rows of q when it is answered from source.
func NewHistoryMerger(q HistoryQuery, source Source) *HistoryMerger {
	m := &HistoryMerger{
		q:        q,
		start:    InstantOf(q.Start),
		gap:      Instant(q.Gap.Microseconds()),
		sketched: source != Raw,
		sensors:  map[int64]*sensorMerger{},
	}
	m.bounds = make([]Instant, 0, len(q.Bounds))
	for _, b := range q.Bounds {
		m.bounds = append(m.bounds, InstantOf(b))
	}
	return m
}

// Add adds a row, whose bytes the caller may overwrite afterwards.
func (m *HistoryMerger) Add(r *PackedRow) (err error) {
	if m.current == nil || r.Sensor != m.sensor || !r.Day.Equal(m.day) {
		if err := m.mergeDay(); err != nil {
			return err
		}
		m.begin(r.Sensor, r.Day)
	}
	if r.Readings != nil {
		m.readings, err = UnpackReadings(m.readings, r.Readings)
		return err
	}
	packed := r.Rollups
	if len(m.q.Percentiles) > 0 { // the sketches of rollups are slices of it
		packed = slices.Clone(packed)
	}
	m.rollups, err = unpackRollups(m.rollups, packed, &m.q)
	return err
}

// begin makes sensor's day the one that rows come of.
func (m *HistoryMerger) begin(sensor int64, day time.Time) {
	if m.current = m.sensors[sensor]; m.current == nil {
		m.current = &sensorMerger{
			HistoryMerger: m,
			carryIn:       math.NaN(),
			percentiles:   percentiles{quantiles: m.q.Percentiles, sketched: m.sketched},
		}
		m.sensors[sensor] = m.current
	}
	m.sensor, m.day = sensor, day
}

// mergeDay puts the day's readings and rollups into buckets in order of time. No reading is within
// a rollup.
func (m *HistoryMerger) mergeDay() error {
	SortReadings(m.readings)
	slices.SortFunc(m.rollups, func(a, b Rollup) int { return cmp.Compare(a.Bucket, b.Bucket) })
	readings, rollups := m.readings, m.rollups
	for len(readings)+len(rollups) > 0 {
		if len(readings) > 0 && (len(rollups) == 0 || readings[0].At < rollups[0].Bucket) {
			m.current.addReading(readings[0])
			readings = readings[1:]
			continue
		}
		if err := m.current.addRollup(&rollups[0]); err != nil {
			return err
		}
		rollups = rollups[1:]
	}
	m.readings, m.rollups = m.readings[:0], m.rollups[:0]
	return nil
}

func (m *sensorMerger) addReading(r Reading) {
	if r.At < m.start {
		m.carryIn = r.Value
		return
	}
	m.advance(r.At)
	m.countGap(r.At)
	m.aggregate.Add(r)
	m.previous = r.At
	if len(m.percentiles.quantiles) > 0 && r.isUsable() {
		m.percentiles.addValue(r.At, r.Value)
	}
}

func (m *sensorMerger) addRollup(r *Rollup) error {
	m.advance(r.Bucket)
	m.countGap(r.Begin)
	m.aggregate.Merge(&r.Aggregate)
	m.previous = r.End
	return m.percentiles.addSketches(r.Sketch)
}

// advance goes on to the bucket of at.
func (m *sensorMerger) advance(at Instant) {
	if at < m.bounds[m.n+1] {
		return
	}
	m.closeBucket()
	for at >= m.bounds[m.n+1] {
		m.n++
	}
}

// countGap counts the gap between the previous reading and one at the given time, if it is one.
func (m *sensorMerger) countGap(at Instant) {
	if m.hasPrevious && m.gap > 0 && at-m.previous > m.gap {
		m.gaps++
		m.maxGap = max(m.maxGap, at-m.previous)
	}
	m.hasPrevious = true
}

// closeBucket appends the bucket that is being filled, if it has readings, and empties it.
func (m *sensorMerger) closeBucket() {
	a := &m.aggregate
	if a.Count == 0 {
		return
	}
	b := Bucket{
		Start:    m.q.Bounds[m.n],
		End:      m.q.Bounds[m.n+1],
		Readings: a.Count,
		Good:     a.Good,
		Usable:   a.Usable,
		Gaps:     m.gaps,
		MaxGap:   time.Duration(m.maxGap) * time.Microsecond,
		Sum:      math.NaN(),
		Min:      math.NaN(),
		Max:      math.NaN(),
		M2:       math.NaN(),
		First:    math.NaN(),
		Last:     math.NaN(),
	}
	if a.Usable > 0 {
		b.Sum, b.Min, b.Max, b.M2 = a.Sum, a.Min, a.Max, a.M2
		if m.q.Ends {
			b.First, b.FirstAt = a.First, a.FirstAt.Time()
			b.Last, b.LastAt = a.Last, a.LastAt.Time()
			b.integral = a.Integral
		}
		m.percentiles.moveTo(&b)
	}
	if m.buckets == nil {
		m.buckets = make([]Bucket, 0, len(m.bounds)-1-m.n)
	}
	m.buckets = append(m.buckets, b)
	m.aggregate, m.gaps, m.maxGap = Aggregate{}, 0, 0
}

// Buckets returns the buckets that have readings, of each sensor that has any, in order of time.
func (m *HistoryMerger) Buckets() (map[int64][]Bucket, error) {
	if err := m.mergeDay(); err != nil {
		return nil, err
	}
	found := map[int64][]Bucket{}
	for sensor, s := range m.sensors {
		s.closeBucket()
		if len(s.buckets) == 0 { // it has only a carry-in
			continue
		}
		if m.q.Ends {
			weighByTime(s.buckets, s.carryIn, m.q.Start, earlier(m.q.End, m.q.Now))
		}
		found[sensor] = s.buckets
	}
	return found, nil
}
