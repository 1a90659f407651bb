package series

import (
	"math"
	"time"
)

// Bucket is the aggregates of a sensor's readings in [Start, End). A reading of bad quality,
// without a value, or with one beyond ±1e140, whose square float8 cannot hold, is counted but not
// usable. Without usable readings the values are NaN.
type Bucket struct {
	Start, End time.Time
	Readings   int64 // all
	Good       int64 // of good quality
	Usable     int64 // of good or uncertain quality, with a value

	Sum, Min, Max float64
	M2            float64 // sum of squared differences from the mean

	First, Last     float64
	FirstAt, LastAt time.Time // zero without usable readings
	TimeWeighted    float64   // mean when each value holds until the next

	// Percentiles has one value for each that was asked for, or none without usable readings.
	Percentiles []float64
	// PercentileError is the relative error of each of the two values that a percentile lies
	// between; 0: they are exact.
	PercentileError float64

	Gaps   int64
	MaxGap time.Duration // the longest of Gaps

	integral float64 // from FirstAt to LastAt, value × seconds
}

// Avg returns the mean of the usable values; NaN without any.
func (b *Bucket) Avg() float64 { return b.Sum / float64(b.Usable) }

// Stddev returns the sample standard deviation; NaN with fewer than two usable values.
func (b *Bucket) Stddev() float64 {
	if b.Usable < 2 {
		return math.NaN()
	}
	return math.Sqrt(b.M2 / float64(b.Usable-1))
}

// PercentGood returns the percentage of readings of good quality; NaN without readings.
func (b *Bucket) PercentGood() float64 { return 100 * float64(b.Good) / float64(b.Readings) }

// weighByTime sets TimeWeighted of each bucket: every value holds until the next one, also across
// bounds of buckets, and the last one until end. carryIn is the value that holds at start; NaN:
// none does.
func weighByTime(buckets []Bucket, carryIn float64, start, end time.Time) {
	since, value := start, carryIn // the value that holds, and since when
	for i := range buckets {
		b := &buckets[i]
		from, to := later(b.Start, start), earlier(b.End, end)
		integral, seconds := 0.0, 0.0
		hold := func(until time.Time) {
			if begin := later(since, from); !math.IsNaN(value) && until.After(begin) {
				integral += value * until.Sub(begin).Seconds()
				seconds += until.Sub(begin).Seconds()
			}
		}
		if b.Usable > 0 {
			hold(b.FirstAt)
			integral += b.integral
			seconds += b.LastAt.Sub(b.FirstAt).Seconds()
			since, value = b.LastAt, b.Last
		}
		hold(to)
		b.TimeWeighted = integral / seconds
		if seconds == 0 {
			b.TimeWeighted = b.Last // its only reading is at its very end; or NaN
		}
	}
}
