package series

import "time"

// MaxCarryIn is how old a reading from before a range may be for its value to hold into the range.
const MaxCarryIn = day

// HistoryQuery asks for the aggregates of the readings of [Start, End) in the buckets between
// Bounds. The first bucket may begin before Start and the last one end after End.
type HistoryQuery struct {
	Sensors     []int64
	Start, End  time.Time
	Bounds      []time.Time
	Ends        bool          // also First, Last and TimeWeighted, which cost more
	Percentiles []float64     // also these, between 0 and 1
	Gap         time.Duration // also count gaps, times between two readings above this; 0: do not
	Now         time.Time     // no value holds beyond it
}

// Source is what a history was computed from: readings only, or rollups with readings at the edges.
type Source string

// The sources, as the contract names them.
const (
	Raw      Source = "raw"
	ByMinute Source = "1m"
	ByHour   Source = "1h"
)

// minRollupRange is the shortest range whose rollups are read.
const minRollupRange = 2 * time.Hour

// Source returns the coarsest source that most of every bucket can be computed from. Hours that a
// bound splits are read as minutes or, where seconds, percentiles or gaps are asked for, which
// minutes do not know, as readings. With many such hours all is read that way.
func (q *HistoryQuery) Source() Source {
	from, to := WholeHours(q.Start, q.End)
	split, byMinute := q.SplitHours()
	switch {
	case to.Sub(from) < minRollupRange:
		return Raw
	case 4*len(split) <= int(to.Sub(from)/time.Hour):
		return ByHour
	case byMinute:
		return ByMinute
	}
	return Raw
}

// SplitHours returns the hours that a bound splits, and whether their minutes are enough to answer
// q.
func (q *HistoryQuery) SplitHours() (hours []time.Time, byMinute bool) {
	byMinute = len(q.Percentiles) == 0 && q.Gap == 0
	for _, b := range q.Bounds[1:max(len(q.Bounds)-1, 1)] { // the outer ones are cut to the range
		hour := HourOf(b)
		if b.Equal(hour) {
			continue
		}
		if n := len(hours); n == 0 || !hours[n-1].Equal(hour) {
			hours = append(hours, hour)
		}
		byMinute = byMinute && b.Equal(b.Truncate(time.Minute))
	}
	return hours, byMinute
}
