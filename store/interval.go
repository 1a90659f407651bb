package store

import (
	"fmt"
	"time"
	_ "time/tzdata" // zones are known wherever the program runs
)

// Interval is the width of a bucket. Buckets are those of a clock on the wall: up to an hour they begin where the hour does, up to
// a day at midnight, weeks on Monday, months on their first. The zero Interval is one bucket, the whole range.
type Interval struct {
	name    string
	width   time.Duration // at least about so long
	hours   int           // of the day, where it is more than one
	monthly bool
	weekly  bool
}

// intervals are all there are, finest first.
var intervals = []Interval{
	{name: "1s", width: time.Second},
	{name: "2s", width: 2 * time.Second},
	{name: "5s", width: 5 * time.Second},
	{name: "10s", width: 10 * time.Second},
	{name: "15s", width: 15 * time.Second},
	{name: "30s", width: 30 * time.Second},
	{name: "1m", width: time.Minute},
	{name: "2m", width: 2 * time.Minute},
	{name: "5m", width: 5 * time.Minute},
	{name: "10m", width: 10 * time.Minute},
	{name: "15m", width: 15 * time.Minute},
	{name: "30m", width: 30 * time.Minute},
	{name: "1h", width: time.Hour},
	{name: "2h", width: 2 * time.Hour, hours: 2},
	{name: "3h", width: 3 * time.Hour, hours: 3},
	{name: "4h", width: 4 * time.Hour, hours: 4},
	{name: "6h", width: 6 * time.Hour, hours: 6},
	{name: "8h", width: 8 * time.Hour, hours: 8},
	{name: "12h", width: 12 * time.Hour, hours: 12},
	{name: "1d", width: day, hours: 24},
	{name: "1w", width: 7 * day, weekly: true},
	{name: "1mo", width: 28 * day, monthly: true},
}

// ParseInterval is the reverse of String.
func ParseInterval(name string) (Interval, bool) {
	for _, i := range intervals {
		if i.name == name {
			return i, true
		}
	}
	return Interval{}, false
}

// IntervalFor returns the finest interval that cuts [start, end) into at most so many buckets, if there is one.
func IntervalFor(start, end time.Time, zone *time.Location, buckets int) (Interval, bool) {
	for _, i := range intervals {
		if i.Buckets(start, end)-2 > buckets {
			continue
		}
		if bounds, err := i.Bounds(start, end, zone); err == nil && len(bounds)-1 <= buckets {
			return i, true
		}
	}
	return Interval{}, false
}

// Upto returns what is at or behind the end of so many buckets from start on, and not far behind it.
func (i Interval) Upto(start time.Time, buckets int) time.Time {
	return start.Add(time.Duration(min(int64(buckets+2)*int64(i.width)/28*32, int64(100000*day))))
}

// String is the interval as the contract has it, such as 15m.
func (i Interval) String() string { return i.name }

// Buckets is how many buckets [start, end) has at most.
func (i Interval) Buckets(start, end time.Time) int {
	if i.width == 0 || !end.After(start) {
		return 1
	}
	n := (end.Unix()-start.Unix())/int64(i.width/time.Second) + 2
	return int(min(n, 1<<40))
}

// mostBounds is more than any answer has.
const mostBounds = 1 << 20

// Bounds returns where the buckets of [start, end) begin, and where the last one ends: always two instants or more. Too many are an
// error, see Buckets, and so is a zone whose clock stands still.
func (i Interval) Bounds(start, end time.Time, zone *time.Location) ([]time.Time, error) {
	if i.width == 0 {
		return []time.Time{start, end}, nil
	}
	most := min(2*i.Buckets(start, end), mostBounds) // a change of the clock cuts one more off, and is a rare thing
	bounds, err := boundsFrom(i.floor(start, zone), end, most, func(at time.Time) time.Time { return i.next(at, zone) })
	if err != nil {
		return nil, fmt.Errorf("buckets of %s in %s: %w", i, zone, err)
	}
	return bounds, nil
}

// boundsFrom returns at and what next makes of it and so on, up to the first that is not before end.
func boundsFrom(at, end time.Time, most int, next func(time.Time) time.Time) ([]time.Time, error) {
	bounds := append(make([]time.Time, 0, min(most/2, 1<<12)+2), at)
	for range most {
		before := at
		if at = next(before); !at.After(before) {
			return nil, fmt.Errorf("%v is not after %v", at, before)
		}
		if bounds = append(bounds, at); !at.Before(end) {
			return bounds, nil
		}
	}
	return nil, fmt.Errorf("there are more than %d", most)
}

// floor returns the start of the bucket that t is in.
func (i Interval) floor(t time.Time, zone *time.Location) time.Time {
	t = t.In(zone)
	year, month, d := t.Date()
	switch {
	case i.monthly:
		return midnight(year, month, 1, zone)
	case i.weekly:
		return midnight(year, month, d-(int(t.Weekday())+6)%7, zone)
	case i.hours == 24:
		return midnight(year, month, d, zone)
	case i.hours > 0:
		at := time.Date(year, month, d, t.Hour()/i.hours*i.hours, 0, 0, 0, zone)
		if first := midnight(year, month, d, zone); at.After(t) || at.Before(first) { // the hour does not exist, or twice
			return first
		}
		return at
	}
	changed, _ := t.ZoneBounds()
	return later(i.mark(t), changed)
}

// mark returns the last mark of the clock before or at t, which may be from before the clock was changed to what it shows at t.
func (i Interval) mark(t time.Time) time.Time {
	_, offset := t.Zone()
	into := (t.UnixMicro() + int64(offset)*1e6) % i.width.Microseconds()
	if into < 0 {
		into += i.width.Microseconds()
	}
	return time.UnixMicro(t.UnixMicro() - into).In(t.Location())
}

// next returns the start of the bucket behind the one that begins at t.
func (i Interval) next(t time.Time, zone *time.Location) time.Time {
	t = t.In(zone)
	year, month, d := t.Date()
	switch {
	case i.monthly:
		return midnight(year, month+1, 1, zone)
	case i.weekly:
		return midnight(year, month, d+7, zone)
	case i.hours == 24:
		return midnight(year, month, d+1, zone)
	case i.hours > 0:
		if tomorrow := t.Hour()/i.hours*i.hours + i.hours; tomorrow < 24 {
			if at := time.Date(year, month, d, tomorrow, 0, 0, 0, zone); at.After(t) {
				return at
			}
		}
		return midnight(year, month, d+1, zone)
	}
	at := i.mark(t).Add(i.width)
	if _, changes := t.ZoneBounds(); !changes.IsZero() && changes.Before(at) {
		return changes
	}
	return at
}

// midnight is when the day begins: where the clock skips midnight, when it does so.
func midnight(year int, month time.Month, d int, zone *time.Location) time.Time {
	noon := time.Date(year, month, d, 12, 0, 0, 0, zone)
	at := time.Date(year, month, d, 0, 0, 0, 0, zone)
	if at.Day() != noon.Day() {
		if _, end := at.ZoneBounds(); !end.IsZero() {
			return end
		}
	}
	return at
}

// Zone returns the time zone of a name of the IANA database, or ErrInvalid.
func Zone(name string) (*time.Location, error) {
	if name == "Local" || name == "" {
		return nil, fmt.Errorf("time zone %q: %w", name, ErrInvalid)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: %w", name, ErrInvalid)
	}
	return zone, nil
}
