package series

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// widths are the widths of all intervals; of a month the maximum.
var widths = []struct {
	name  string
	width time.Duration
}{
	{"1s", time.Second},
	{"2s", 2 * time.Second},
	{"5s", 5 * time.Second},
	{"10s", 10 * time.Second},
	{"15s", 15 * time.Second},
	{"30s", 30 * time.Second},
	{"1m", time.Minute},
	{"2m", 2 * time.Minute},
	{"5m", 5 * time.Minute},
	{"10m", 10 * time.Minute},
	{"15m", 15 * time.Minute},
	{"30m", 30 * time.Minute},
	{"1h", time.Hour},
	{"2h", 2 * time.Hour},
	{"3h", 3 * time.Hour},
	{"4h", 4 * time.Hour},
	{"6h", 6 * time.Hour},
	{"8h", 8 * time.Hour},
	{"12h", 12 * time.Hour},
	{"1d", 24 * time.Hour},
	{"1w", 7 * 24 * time.Hour},
	{"1mo", 31 * 24 * time.Hour},
}

// shift is a time at which a clock is set.
type shift struct {
	at     time.Time
	before int // seconds from UTC
	after  int
}

// shifts returns all shifts of a zone from 1800 to 2045.
func shifts(zone *time.Location) (list []shift) {
	for at := time.Date(1800, 1, 1, 0, 0, 0, 0, time.UTC).In(zone); at.Year() < 2046; {
		_, next := at.ZoneBounds()
		if next.IsZero() {
			return list
		}
		if !next.After(at) { // the last day of a leap year, see nextChange
			at = at.Add(24 * time.Hour)
			continue
		}
		_, before := at.Zone()
		_, after := next.Zone()
		if before != after {
			list = append(list, shift{next, before, after})
		}
		at = next
	}
	return list
}

// shown returns what a clock in zone shows at t, as a time of UTC.
func shown(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// label returns the beginning of the bucket in which a clock shows w.
func label(width string, length time.Duration, w time.Time) time.Time {
	switch midnight := w.Truncate(24 * time.Hour); width {
	case "1mo":
		return midnight.AddDate(0, 0, 1-w.Day())
	case "1w":
		return midnight.AddDate(0, 0, -(int(w.Weekday())+6)%7)
	default:
		return midnight.Add(w.Sub(midnight).Truncate(length))
	}
}

// TestIntervalBounds_OfAllZones checks the buckets about every shift of every zone: they follow
// each other, are as long as their width except for the shift, and the clock shows their times.
// Every width is checked once for each combination of time of day and shift, and one width at every
// fourth shift.
func TestIntervalBounds_OfAllZones(t *testing.T) {
	seen, zones, moments := map[string]bool{}, 0, 0
	isNew := func(of ...any) bool {
		key := fmt.Sprint(of...)
		was := seen[key]
		seen[key] = true
		return !was
	}
	for _, name := range testLines(t, "testdata/zones.txt") {
		zone := zone(t, name)
		zones++
		list := shifts(zone)
		if !isNew(list) {
			continue // another name of the same clock
		}
		// a time without a shift
		list = append(list, shift{time.Date(2040, 12, 31, 12, 0, 0, 0, time.UTC), 0, 0})
		slices.SortFunc(list, func(a, b shift) int { return a.at.Compare(b.at) })
		for n, s := range list {
			moments++
			all := isNew(s.after-s.before, shown(s.at, zone).Format(time.TimeOnly))
			for i, w := range widths {
				if all || moments%8 == 0 && i == moments/8%len(widths) {
					checkBounds(t, w.name, w.width, zone, s, list[max(0, n-8):min(len(list), n+8)])
				}
			}
			if t.Failed() {
				return
			}
		}
	}
	if zones < 400 || moments < 10000 {
		t.Fatalf("looked at %d moments of %d zones, want 10000 of 400", moments, zones)
	}
}

// checkBounds checks the buckets about s; near has what is before and after it.
func checkBounds(
	t *testing.T, name string, width time.Duration, zone *time.Location, s shift, near []shift,
) {
	t.Helper()
	by := time.Duration(s.after-s.before) * time.Second
	start, end := s.at.Add(-2*width-by.Abs()/3), s.at.Add(width+by.Abs()*4/3)
	bounds := boundsOf(t, name, start, end, zone)
	fail := func(format string, args ...any) {
		t.Errorf("%s in %s about %v, set by %v: %s\n%v", name, zone, s.at, by,
			fmt.Sprintf(format, args...), bounds)
	}
	if bounds[0].After(start) || !bounds[1].After(start) || bounds[len(bounds)-1].Before(end) ||
		!bounds[len(bounds)-2].Before(end) {
		fail("not those of %v to %v", start, end)
	}
	for i := range len(bounds) - 1 {
		begin, until := bounds[i], bounds[i+1]
		back, setWithin, setBefore := time.Duration(0), false, false
		for _, o := range near {
			if !o.at.Before(begin) && !o.at.After(until) {
				setWithin = true
				back += time.Duration(max(o.before-o.after, 0)) * time.Second
			}
			setBefore = setBefore || o.before > o.after && !o.at.After(until) &&
				o.at.Add(25*time.Hour).After(begin)
		}
		length := until.Sub(begin)
		first, last := shown(begin, zone), shown(until.Add(-time.Microsecond), zone)
		switch {
		case length <= 0 || length > width+back:
			fail("the bucket at %v is %v long", begin, length)
		case !setWithin && name != "1mo" && length != width:
			fail("the bucket at %v is %v long, though no clock is set", begin, length)
		case !setWithin && !first.Equal(label(name, width, first)):
			fail("the clock shows %v where a bucket begins", first)
		case !setBefore && !label(name, width, first).Equal(label(name, width, last)):
			fail("the clock shows %v and %v in one bucket", first, last)
		}
	}
	middle := start.Add(end.Sub(start) / 2)
	tail := boundsOf(t, name, middle, end, zone)
	if want := bounds[max(0, len(bounds)-len(tail)):]; !slices.EqualFunc(tail, want,
		time.Time.Equal) {
		fail("a range from %v on has other bounds: %v", middle, tail)
	}
}
