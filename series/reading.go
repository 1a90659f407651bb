package series

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Instant is a time in microseconds since 2000, as PostgreSQL stores it.
type Instant int64

// Never is before all instants: PostgreSQL's -infinity.
const Never Instant = math.MinInt64

// epoch is the zero Instant in microseconds since 1970.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// InstantOf returns the instant of t, cut to microseconds.
func InstantOf(t time.Time) Instant { return InstantOfMicros(t.UnixMicro()) }

// InstantOfMicros returns the instant of microseconds since 1970.
func InstantOfMicros(micros int64) Instant { return Instant(micros - epoch) }

// Time returns i in UTC.
func (i Instant) Time() time.Time { return time.UnixMicro(int64(i) + epoch).UTC() }

// Since returns the seconds from o to i.
func (i Instant) Since(o Instant) float64 { return float64(i-o) / 1e6 }

// floor returns the last multiple of width at or before i.
func (i Instant) floor(width Instant) Instant { return i - ((i%width)+width)%width }

// Reading is a reading as aggregates need it. Its value is NaN where it is not usable: of bad
// quality, without a value, or too large for its square to be a float64.
type Reading struct {
	At    Instant
	Value float64
	Good  bool // of good quality
}

func (r *Reading) isUsable() bool { return !math.IsNaN(r.Value) }

// SortReadings puts readings in order of time.
func SortReadings(readings []Reading) {
	byTime := func(a, b Reading) int { return cmp.Compare(a.At, b.At) }
	if !slices.IsSortedFunc(readings, byTime) {
		slices.SortFunc(readings, byTime)
	}
}
