package series

import (
	"fmt"
	"time"
	_ "time/tzdata" // so that zones are known on every machine
)

// Interval is the width of calendar buckets. They follow the clock of a time zone: buckets of up to
// an hour begin with the hour, of up to a day at midnight, weeks on Monday, months on their first.
// They follow each other without a hole or an overlap, and none is longer than its width plus what
// the clock is set back in it. The zero Interval is one bucket, the whole range.
type Interval struct {
	name    string
	width   time.Duration // the maximum, without what the clock is set back
	hours   int           // how many hours of the day, where it is more than one
	monthly bool
	weekly  bool
}

// intervals are all intervals, the finest first.
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
	{name: "1mo", width: 31 * day, monthly: true},
}

// ParseInterval returns the interval of a name, such as 15m.
func ParseInterval(name string) (Interval, bool) {
	for _, i := range intervals {
		if i.name == name {
			return i, true
		}
	}
	return Interval{}, false
}

// IntervalFor returns the finest interval that cuts [start, end) into at most maxBuckets buckets,
// if there is one.
func IntervalFor(start, end time.Time, zone *time.Location, maxBuckets int) (Interval, bool) {
	for _, i := range intervals {
		if i.estimate(start, end)-2 > maxBuckets {
			continue // far too fine: counting its buckets one by one would take long
		}
		if _, more := i.Bounds(start, end, zone, maxBuckets); !more {
			return i, true
		}
	}
	return Interval{}, false
}

// String returns the interval as the contract names it, such as 15m.
func (i Interval) String() string { return i.name }

// estimate returns the minimum number of buckets of [start, end), plus two.
func (i Interval) estimate(start, end time.Time) int {
	n := (end.Unix()-start.Unix())/int64(i.width/time.Second) + 2
	return int(min(max(n, 2), 1<<30))
}

// firstTime and lastTime are the first and the last microsecond that RFC 3339 can express.
var (
	firstTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
)

// Bounds returns where the buckets of [start, end) begin, and where the last one ends: two instants
// or more. It stops after maxBuckets; more reports that [start, end) continues there. Bounds stay
// within the years 1 to 9999.
func (i Interval) Bounds(
	start, end time.Time, zone *time.Location, maxBuckets int,
) (bounds []time.Time, more bool) {
	if i.width == 0 {
		return []time.Time{start, end}, false
	}
	at := i.floor(start, zone)
	bounds = append(make([]time.Time, 0, min(maxBuckets, i.estimate(start, end))+1),
		later(at, firstTime))
	for range maxBuckets {
		at = i.next(at, zone)
		if bounds = append(bounds, earlier(at, lastTime)); !at.Before(end) {
			return bounds, false
		}
	}
	return bounds, true
}

// floor returns the beginning of the bucket that contains t.
func (i Interval) floor(t time.Time, zone *time.Location) time.Time {
	t = t.In(zone)
	if i.width <= time.Hour {
		return i.floorShort(t)
	}
	// A clock that is set back repeats at most a day: this much later it shows times that it has
	// not shown before.
	const maxRepeat = 3 * day
	for at := t.Add(-i.width - maxRepeat); ; {
		next := i.next(at, zone)
		if next.After(t) {
			return at
		}
		at = next
	}
}

// floorShort is floor for intervals of up to an hour: the last time at or before t at which the
// clock shows a multiple of the width, or the time at which the clock was set, if that is later.
func (i Interval) floorShort(t time.Time) time.Time {
	shown := wall(t)
	at := t.Add(shown.Truncate(i.width).Sub(shown))
	for begin, _ := t.ZoneBounds(); !begin.IsZero() && begin.After(at); begin, _ = t.ZoneBounds() {
		if t = begin.Add(-1); offset(t) != offset(begin) {
			return begin
		}
	}
	return at
}

// next returns the beginning of the bucket after the one that begins at t. A bucket of up to an
// hour ends when the clock shows the next multiple of its width, or when the clock is set. A longer
// one ends when the clock first shows its end or skips it, so a bucket in which the clock is set
// back is longer by as much.
func (i Interval) next(t time.Time, zone *time.Location) time.Time {
	t = t.In(zone)
	until := i.end(wall(t))
	for {
		at := t.Add(until.Sub(wall(t)))
		change := nextChange(t)
		if change.IsZero() || at.Before(change) {
			return at
		}
		set := offset(change) != offset(t)
		if t = change; !wall(t).Before(until) || set && i.width <= time.Hour {
			return t
		}
	}
}

// nextChange returns when the zone of t changes next, maybe only its name; zero: never. In years
// that the zone describes by a rule, after 2037, the standard library takes every year to be 365
// days long, so on the last day of a leap year it returns a change of the past.
func nextChange(t time.Time) time.Time {
	for probe := t; ; probe = probe.Add(day) {
		if _, change := probe.ZoneBounds(); change.IsZero() || change.After(t) {
			return change
		}
	}
}

// end returns what the clock shows at the end of the bucket in which it shows w.
func (i Interval) end(w time.Time) time.Time {
	year, month, d := w.Date()
	switch {
	case i.monthly:
		return time.Date(year, month+1, 1, 0, 0, 0, 0, time.UTC)
	case i.weekly:
		return time.Date(year, month, d-(int(w.Weekday())+6)%7+7, 0, 0, 0, 0, time.UTC)
	case i.hours > 0:
		return time.Date(year, month, d, w.Hour()/i.hours*i.hours+i.hours, 0, 0, 0, time.UTC)
	}
	return w.Truncate(i.width).Add(i.width)
}

// wall returns what the clock shows at t, as a time of UTC.
func wall(t time.Time) time.Time { return t.UTC().Add(time.Duration(offset(t)) * time.Second) }

// offset returns the clock's offset from UTC at t, in seconds.
func offset(t time.Time) int {
	_, seconds := t.Zone()
	return seconds
}

// Zone returns the time zone with a name of the IANA database.
func Zone(name string) (*time.Location, error) {
	if name == "Local" || name == "" { // the standard library knows these too
		return nil, fmt.Errorf("time zone %q is not in the IANA database", name)
	}
	return time.LoadLocation(name)
}
