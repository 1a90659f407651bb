package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// changes are days on which the clock is changed, in zones where that happens about midnight.
var changes = []struct{ zone, day string }{
	{"America/Havana", "2026-11-01"},    // 01:00 becomes 00:00: midnight happens twice
	{"America/Havana", "2026-03-08"},    // 00:00 becomes 01:00: there is no midnight
	{"America/Sao_Paulo", "2017-10-15"}, // no midnight
	{"America/Sao_Paulo", "2018-02-18"}, // 00:00 becomes 23:00 of the day before
	{"America/Asuncion", "2024-10-06"},  // no midnight
	{"Asia/Beirut", "2026-03-29"},       // no midnight
	{"Asia/Beirut", "2026-10-25"},       // 00:00 becomes 23:00
	{"Africa/Cairo", "2026-04-24"},      // no midnight
	{"Africa/Cairo", "2026-10-30"},      // 00:00 becomes 23:00
	{"Atlantic/Azores", "2026-10-25"},   // 01:00 becomes 00:00
	{"Atlantic/Azores", "2026-03-29"},   // 00:00 becomes 01:00
	{"America/Scoresbysund", "2023-10-29"},
	{"Australia/Lord_Howe", "2026-04-05"}, // by half an hour
	{"Pacific/Apia", "2011-12-30"},        // a day that is left out
}

// A day begins when its date does, and ends when the next one's does, whatever the clock does about
// midnight.
func TestADayIsWhatHasItsDate(t *testing.T) {
	for _, c := range changes {
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

// Buckets of any width follow each other, and the first has where the range begins.
func TestBucketsFollowEachOther(t *testing.T) {
	for _, c := range changes {
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
						t.Errorf("%s in %s: %v comes behind %v", width, c.zone, bounds[i+1],
							bounds[i])
					}
				}
			}
		}
	}
}

// There are no more buckets than asked for, however wide they are and however many they could be.
func TestIntervalBounds_StopAfterSoManyBuckets(t *testing.T) {
	start := instant(t, "2026-03-01T00:00:00Z")
	for name, tt := range map[string]struct {
		width     string
		end       time.Time
		most      int
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
		bounds, more := interval(t, tt.width).Bounds(start, tt.end, time.UTC, tt.most)
		if last := bounds[len(bounds)-1]; len(bounds)-1 != tt.want || more != tt.more ||
			!last.Equal(tt.wantUntil) {
			t.Errorf("%s: got %d buckets until %v, more %t, want %d until %v, more %t", name,
				len(bounds)-1, last, more, tt.want, tt.wantUntil, tt.more)
		}
	}
}

// Days are those of PostgreSQL, by their date: of a midnight that happens twice it takes the
// second, from which most of the day's first hour is missing.
func TestDaysAboutMidnightAreThoseOfPostgres(t *testing.T) {
	s, db := openRaw(t)
	g := addGateway(t, s, "g").ID
	for _, c := range changes {
		sensor := addSensor(t, s, g, fmt.Sprint(c.zone[:4], c.day)).ID
		place := zone(t, c.zone)
		start, end := instant(t, c.day+"T00:00:00Z").Add(-36*time.Hour), instant(t,
			c.day+"T00:00:00Z").Add(60*time.Hour)
		var rs []store.Reading
		for at := start; at.Before(end); at = at.Add(7 * time.Minute) {
			rs = append(rs, store.Reading{SensorID: sensor, Timestamp: at, Value: 1})
		}
		write(t, s, rs...)
		q := store.HistoryQuery{
			Sensors: []int64{sensor},
			Start:   start,
			End:     end,
			Bounds:  boundsOf(t, "1d", start, end, place),
			Now:     end,
		}
		found, _, err := s.History(t.Context(), q)
		ok(t, err)
		var got []string
		for _, b := range found[sensor] {
			got = append(got,
				fmt.Sprintf("%s %d", b.Start.In(place).Format(time.DateOnly), b.Readings))
		}
		want := scan[string](t, db, `
			SELECT string_agg(day || ' ' || n, ',' ORDER BY day)
			FROM (
				SELECT (date_trunc('day', timestamp, $2) AT TIME ZONE $2)::date AS day, count(*) AS n
				FROM sensor_data
				WHERE sensor_id = $1
				GROUP BY 1) d`, sensor, c.zone)
		if fmt.Sprint(got) != fmt.Sprint(strings.Split(want, ",")) {
			t.Errorf("%s about %s: got %v, want %v", c.zone, c.day, got, want)
		}
	}
}
