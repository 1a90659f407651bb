package series

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// clockChange is a day on which the clock of a zone is changed about midnight.
type clockChange struct{ zone, day string }

func clockChanges(t *testing.T) (list []clockChange) {
	t.Helper()
	for _, line := range testLines(t, "testdata/clock_changes.txt") {
		fields := strings.Fields(line)
		list = append(list, clockChange{fields[0], fields[1]})
	}
	return list
}

// testLines returns the lines of a file without comments.
func testLines(t *testing.T, name string) (list []string) {
	t.Helper()
	f, err := os.Open(name)
	ok(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if line := lines.Text(); !strings.HasPrefix(line, "#") {
			list = append(list, line)
		}
	}
	ok(t, lines.Err())
	return list
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := Zone(name)
	ok(t, err)
	return z
}

func interval(t testing.TB, name string) Interval {
	t.Helper()
	i, known := ParseInterval(name)
	if !known {
		t.Fatalf("interval %s is not known", name)
	}
	return i
}

// boundsOf returns the bounds of the buckets of [start, end).
func boundsOf(t testing.TB, width string, start, end time.Time, zone *time.Location) []time.Time {
	t.Helper()
	bounds, more := interval(t, width).Bounds(start, end, zone, 1<<20)
	if more {
		t.Fatalf("%s of %v to %v in %s: there are more than %d buckets", width, start, end, zone,
			len(bounds)-1)
	}
	return bounds
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	ok(t, err)
	return at.UTC()
}

func TestIntervalBounds_FollowTheClock(t *testing.T) {
	tests := map[string]struct {
		zone, start, end, interval string
		hours                      []float64
	}{
		"spring in Berlin": {
			"Europe/Berlin", "2026-03-28T00:00:00+01:00", "2026-03-31T00:00:00+02:00", "1d",
			[]float64{24, 23, 24},
		},
		"autumn in Berlin": {
			"Europe/Berlin", "2026-10-24T00:00:00+02:00", "2026-10-27T00:00:00+01:00", "1d",
			[]float64{24, 25, 24},
		},
		"spring in New York": {
			"America/New_York", "2026-03-08T00:00:00-05:00", "2026-03-09T00:00:00-04:00", "1d",
			[]float64{23},
		},
		"autumn in New York": {
			"America/New_York", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00", "1d",
			[]float64{25},
		},
		"quarters of a day in spring": {
			"Europe/Berlin", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00", "6h",
			[]float64{5, 6, 6, 6},
		},
		"quarters of a day in autumn": {
			"Europe/Berlin", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00", "6h",
			[]float64{7, 6, 6, 6},
		},
		"two hours when the second is skipped": {
			"America/New_York", "2026-03-08T00:00:00-05:00", "2026-03-08T10:00:00-04:00", "2h",
			[]float64{2, 1, 2, 2, 2},
		},
		"three hours when one is skipped": {
			"Europe/Berlin", "2026-03-29T00:00:00+01:00", "2026-03-29T09:00:00+02:00", "3h",
			[]float64{2, 3, 3},
		},
		"two hours when one is skipped": {
			"Europe/Berlin", "2026-03-29T00:00:00+01:00", "2026-03-29T06:00:00+02:00", "2h",
			[]float64{2, 1, 2},
		},
		"two hours with one twice": {
			"Europe/Berlin", "2026-10-25T00:00:00+02:00", "2026-10-25T08:00:00+01:00", "2h",
			[]float64{2, 3, 2, 2},
		},
		"two hours with the first one twice": {
			"America/New_York", "2026-11-01T00:00:00-04:00", "2026-11-01T06:00:00-05:00", "2h",
			[]float64{3, 2, 2},
		},
		"three hours with the last one twice": {
			"Europe/Athens", "2026-10-25T00:00:00+03:00", "2026-10-25T09:00:00+02:00", "3h",
			[]float64{3, 4, 3},
		},
		"two hours less half an hour": {
			"Australia/Lord_Howe", "2026-10-04T00:00:00+10:30", "2026-10-04T06:00:00+11:00", "2h",
			[]float64{2, 1.5, 2},
		},
		"two hours and half an hour": {
			"Australia/Lord_Howe", "2026-04-05T00:00:00+11:00", "2026-04-05T06:00:00+10:30", "2h",
			[]float64{2.5, 2, 2},
		},
		"hours and half an hour": {
			"Australia/Lord_Howe", "2026-04-05T00:00:00+11:00", "2026-04-05T03:00:00+10:30", "1h",
			[]float64{1, 1, 0.5, 1},
		},
		"a date that is left out": {
			"Pacific/Apia", "2011-12-29T00:00:00-10:00", "2012-01-01T00:00:00+14:00", "1d",
			[]float64{24, 24},
		},
		"half days without a date": {
			"Pacific/Apia", "2011-12-29T00:00:00-10:00", "2012-01-01T00:00:00+14:00", "12h",
			[]float64{12, 12, 12, 12},
		},
		"a minute of the next day, then back": {
			"America/St_Johns", "2006-10-28T00:00:00-02:30", "2006-10-30T00:00:00-03:30", "1d",
			[]float64{24, 25},
		},
		"years that end with the calendar": {
			"UTC", "9999-11-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1mo",
			[]float64{30 * 24, 31*24 - 1e-6/3600},
		},
		"weeks": {
			"Europe/Berlin", "2026-03-25T00:00:00Z", "2026-03-31T00:00:00Z", "1w",
			[]float64{7*24 - 1, 7 * 24},
		},
		"months": {
			"America/New_York", "2026-02-10T00:00:00Z", "2026-03-10T00:00:00Z", "1mo",
			[]float64{28 * 24, 31*24 - 1},
		},
		"hours of a zone between hours": {
			"Asia/Kolkata", "2026-03-01T00:00:00Z", "2026-03-01T01:00:00Z", "1h", []float64{1, 1},
		},
		"a clock that goes half an hour": {
			"Australia/Lord_Howe", "2026-10-04T00:00:00+10:30", "2026-10-05T00:00:00+11:00", "1d",
			[]float64{23.5},
		},
		"hours when it does": {
			"Australia/Lord_Howe", "2026-10-03T14:30:00Z", "2026-10-03T17:00:00Z", "1h",
			[]float64{1, 0.5, 1},
		},
		"a day whose midnight is skipped": {
			"Africa/Cairo", "2026-04-24T10:00:00Z", "2026-04-24T11:00:00Z", "1d", []float64{23},
		},
		"a day that follows a skipped one": {
			"Africa/Cairo", "2026-04-23T10:00:00Z", "2026-04-24T11:00:00Z", "1d", []float64{24, 23},
		},
		"an empty range is in one bucket": {
			"UTC", "2026-03-01T00:10:00Z", "2026-03-01T00:10:00Z", "1h", []float64{1},
		},
		"a range that ends where one begins": {
			"UTC", "2026-03-01T00:10:00Z", "2026-03-01T02:00:00Z", "1h", []float64{1, 1},
		},
	}
	for name, tt := range tests {
		bounds := boundsOf(t, tt.interval, instant(t, tt.start), instant(t, tt.end),
			zone(t, tt.zone))
		var hours []float64
		for i := 1; i < len(bounds); i++ {
			hours = append(hours, bounds[i].Sub(bounds[i-1]).Hours())
		}
		if !slices.Equal(hours, tt.hours) {
			t.Errorf("%s: got %v, want %v (%v)", name, hours, tt.hours, bounds)
		}
	}
}

// TestIntervalBounds_OfDaysFollowTheDate has days that begin and end with their date when the clock
// is set about midnight.
func TestIntervalBounds_OfDaysFollowTheDate(t *testing.T) {
	for _, c := range clockChanges(t) {
		place := zone(t, c.zone)
		start, end := instant(t, c.day+"T00:00:00Z").Add(-36*time.Hour), instant(t,
			c.day+"T00:00:00Z").Add(60*time.Hour)
		var want []string
		date := start.Add(-time.Minute).In(place).Format(time.DateOnly)
		for at := start; at.Before(end); at = at.Add(time.Minute) {
			if d := at.In(place).Format(time.DateOnly); d != date {
				date = d
				want = append(want, at.UTC().Format(time.RFC3339))
			}
		}
		var got []string
		for _, b := range boundsOf(t, "1d", start, end, place) {
			if !b.Before(start) && b.Before(end) {
				got = append(got, b.UTC().Format(time.RFC3339))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s about %s: days begin at\n %v, want\n %v", c.zone, c.day, got, want)
		}
	}
}

// TestIntervalBounds_AreInOrder has buckets of any width that follow each other; the first contains
// the beginning of the range.
func TestIntervalBounds_AreInOrder(t *testing.T) {
	for _, c := range clockChanges(t) {
		place := zone(t, c.zone)
		for _, width := range []string{
			"1m", "15m", "1h", "2h", "3h", "4h", "6h", "8h", "12h", "1d", "1w", "1mo",
		} {
			for hour := range 72 {
				start := instant(t, c.day+"T00:00:00Z").Add(time.Duration(hour-36)*time.Hour +
					17*time.Minute)
				bounds := boundsOf(t, width, start, start.Add(30*time.Hour), place)
				if bounds[0].After(start) || !bounds[1].After(start) {
					t.Errorf("%s in %s: %v is not in [%v, %v)", width, c.zone, start, bounds[0],
						bounds[1])
				}
				for i := range len(bounds) - 1 {
					if !bounds[i+1].After(bounds[i]) {
						t.Errorf("%s in %s: %v comes after %v", width, c.zone, bounds[i+1],
							bounds[i])
					}
				}
			}
		}
	}
}

// TestIntervalBounds_StopAfterMaxBuckets has buckets of any width, of which there could be any
// number.
func TestIntervalBounds_StopAfterMaxBuckets(t *testing.T) {
	start := instant(t, "2026-03-01T00:00:00Z")
	for name, tt := range map[string]struct {
		width     string
		end       time.Time
		max       int
		want      int
		more      bool
		wantUntil time.Time
	}{
		"as many as there are": {
			"1m", start.Add(time.Hour), 60, 60, false, start.Add(time.Hour),
		},
		"fewer": {
			"1m", start.Add(time.Hour), 59, 59, true, start.Add(59 * time.Minute),
		},
		"a year of seconds": {
			"1s", start.AddDate(1, 0, 0), 50000, 50000, true, start.Add(50000 * time.Second),
		},
		"months beyond an int64": {
			"1mo", start.AddDate(1, 0, 0), 50000, 12, false, start.AddDate(1, 0, 0),
		},
		"weeks beyond an int64": {
			"1w", start.AddDate(0, 0, 1), 1 << 60, 1, false, start.AddDate(0, 0, 1),
		},
		"months of thousands of years": {
			"1mo", start.AddDate(7900, 0, 0), 50000, 50000, true, start.AddDate(0, 50000, 0),
		},
		"all the time there is": {
			"1mo", start.AddDate(7973, 0, 0), 1 << 20, 95676, false, start.AddDate(7973, 0, 0),
		},
	} {
		bounds, more := interval(t, tt.width).Bounds(start, tt.end, time.UTC, tt.max)
		if last := bounds[len(bounds)-1]; len(bounds)-1 != tt.want || more != tt.more ||
			!last.Equal(tt.wantUntil) {
			t.Errorf("%s: got %d buckets until %v, more %t, want %d until %v, more %t", name,
				len(bounds)-1, last, more, tt.want, tt.wantUntil, tt.more)
		}
	}
}
