// Package series computes with time series: calendar buckets, aggregates, percentile sketches,
// downsampling, and the packed form in which readings and rollups leave the database. It is pure:
// it never reads a clock, runs a statement or waits. Store and server call it.
package series

import "time"

const day = 24 * time.Hour

// HourOf returns the beginning of t's hour in UTC, also before 1970.
func HourOf(t time.Time) time.Time { return t.UTC().Truncate(time.Hour) }

// WholeHours returns the bounds of the whole hours in [start, end); to is not after from when there
// is none.
func WholeHours(start, end time.Time) (from, to time.Time) {
	if from = HourOf(start); from.Before(start) {
		from = from.Add(time.Hour)
	}
	return from, HourOf(end)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
