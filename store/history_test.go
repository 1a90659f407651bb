package store_test

import (
	"database/sql"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/series"
	"github.com/oei-ms/oei-ms/store"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := series.Zone(name)
	ok(t, err)
	return z
}

func interval(t testing.TB, name string) series.Interval {
	t.Helper()
	i, known := series.ParseInterval(name)
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

// TestHistory_BucketsEqualDateTrunc compares with PostgreSQL's own arithmetic on the readings.
func TestHistory_BucketsEqualDateTrunc(t *testing.T) {
	s, db := openRaw(t)
	sensor := addSensor(t, s, addGateway(t, s, "g").ID, "s").ID
	start, end := instant(t, "2026-02-20T11:17:31Z"), instant(t, "2026-11-20T03:00:00Z")
	r := rand.New(rand.NewPCG(1, 2))
	var rs []store.Reading
	for range 4000 {
		at := start.Add(time.Duration(r.Int64N(int64(end.Sub(start)))))
		if r.IntN(2) == 0 { // near the changes of the clocks
			change := instant(t,
				[]string{
					"2026-03-08T07:00:00Z", "2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z",
					"2026-11-01T06:00:00Z", "2026-10-03T15:30:00Z",
				}[r.IntN(5)])
			at = change.Add(time.Duration(r.Int64N(int64(48*time.Hour))) - 24*time.Hour)
		}
		rs = append(rs,
			store.Reading{
				SensorID:  sensor,
				Timestamp: at.Truncate(time.Microsecond),
				Value:     r.Float64(),
			})
	}
	write(t, s, rs...)
	for _, name := range []string{
		"UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu",
		"Australia/Lord_Howe", "America/St_Johns",
	} {
		for width, unit := range map[string]string{
			"1m": "minute", "1h": "hour", "1d": "day", "1w": "week", "1mo": "month",
		} {
			if name == "Australia/Lord_Howe" && width == "1h" {
				// the hours of PostgreSQL overlap there when the clock is set by half an hour;
				// ours end when it is set
				continue
			}
			q := series.HistoryQuery{
				Sensors: []int64{sensor},
				Start:   start,
				End:     end,
				Bounds:  boundsOf(t, width, start, end, zone(t, name)),
				Now:     end,
			}
			found, _, err := s.History(t.Context(), q)
			ok(t, err)
			var got []string
			for _, b := range found[sensor] {
				start := b.Start.UTC().Format(time.RFC3339)
				got = append(got, fmt.Sprintf("%s %d %.9f", start, b.Readings, b.Sum))
			}
			want := truncated(t, db, sensor, unit, name, start, end)
			if !slices.Equal(got, want) {
				for i := range min(len(got), len(want)) {
					if got[i] != want[i] {
						t.Errorf("%s in %s, bucket %d: got %s, want %s", width, name, i, got[i],
							want[i])
						break
					}
				}
				t.Errorf("%s in %s: got %d buckets, want %d", width, name, len(got), len(want))
			}
		}
	}
}

// truncated returns what date_trunc makes of a sensor's readings of [start, end): each bucket's
// start, count and sum.
func truncated(
	t *testing.T, db *sql.DB, sensor int64, unit, zone string, start, end time.Time,
) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `
		SELECT date_trunc($2, timestamp, $3) AS bucket, count(*), sum(value)
		FROM sensor_data
		WHERE sensor_id = $1 AND timestamp >= $4 AND timestamp < $5
		GROUP BY bucket
		ORDER BY bucket`, sensor, unit, zone, start, end)
	ok(t, err)
	defer rows.Close()
	var list []string
	for rows.Next() {
		var at time.Time
		var n int
		var sum float64
		ok(t, rows.Scan(&at, &n, &sum))
		list = append(list, fmt.Sprintf("%s %d %.9f", at.UTC().Format(time.RFC3339), n, sum))
	}
	ok(t, rows.Err())
	return list
}

// TestHistory_EqualsPlainArithmetic compares with loops over the readings.
func TestHistory_EqualsPlainArithmetic(t *testing.T) {
	for seed := range uint64(6) {
		s := open(t)
		g := addGateway(t, s, "g").ID
		sensors := []int64{addSensor(t, s, g, "a").ID, addSensor(t, s, g, "b").ID}
		r := rand.New(rand.NewPCG(seed, 7))
		var rs []store.Reading
		for _, id := range sensors {
			for range 300 {
				v := store.Reading{
					SensorID:  id,
					Timestamp: noon.Add(time.Duration(r.IntN(5*3600)-2*3600) * time.Second),
					Value:     1e6 + r.NormFloat64(),
				}
				switch r.IntN(10) {
				case 0:
					v.Quality, v.Value = store.Bad, math.NaN()
				case 1:
					v.Quality = store.Bad
				case 2:
					v.Quality = store.Uncertain
				}
				// no value holds beyond Now
				if v.Timestamp.Before(noon.Add(2*time.Hour - time.Minute)) {
					rs = append(rs, v)
				}
			}
		}
		write(t, s, rs...)
		start, end := noon.Add(-3*time.Minute), noon.Add(2*time.Hour+17*time.Second)
		for _, width := range []string{"1m", "15m", "1h", "1d"} {
			q := series.HistoryQuery{
				Sensors:     sensors,
				Start:       start,
				End:         end,
				Ends:        true,
				Percentiles: []float64{0.5},
				Gap:         30 * time.Second,
				Now:         end.Add(-time.Minute),
				Bounds:      boundsOf(t, width, start, end, time.UTC),
			}
			found, _, err := s.History(t.Context(), q)
			ok(t, err)
			for _, id := range sensors {
				want := plainly(all(t, s, id), q)
				if len(found[id]) != len(want) {
					t.Fatalf("seed %d, %s: got %d buckets, want %d", seed, width, len(found[id]),
						len(want))
				}
				for i, b := range found[id] {
					if g, w := figures(b), figures(want[i]); g != w {
						t.Errorf("seed %d, %s, bucket %d: got\n%s, want\n%s", seed, width, i, g, w)
					}
				}
			}
		}
	}
}

// figures returns a bucket as text, to nine digits.
func figures(b series.Bucket) string {
	return fmt.Sprintf("%v %d %d %d sum %.9g avg %.9g min %.9g max %.9g stddev %.6f "+
		"first %.9g last %.9g %v %v twa %.4f p50 %.9f gaps %d %v good %.6f",
		b.Start.UTC(), b.Readings, b.Good, b.Usable, b.Sum, b.Avg(), b.Min, b.Max, b.Stddev(),
		b.First, b.Last, b.FirstAt.UTC(), b.LastAt.UTC(),
		b.TimeWeighted, orNaN(b.Percentiles), b.Gaps, b.MaxGap, b.PercentGood())
}

func orNaN(percentiles []float64) float64 {
	if len(percentiles) == 0 {
		return math.NaN()
	}
	return percentiles[0]
}

// plainly returns History by loops over rs, the readings of one sensor in order of time.
func plainly(rs []store.Reading, q series.HistoryQuery) []series.Bucket {
	var out []series.Bucket
	limit := q.End
	if q.Now.Before(limit) {
		limit = q.Now
	}
	for n := range len(q.Bounds) - 1 {
		b := series.Bucket{
			Start: q.Bounds[n],
			End:   q.Bounds[n+1],
			Sum:   math.NaN(),
			Min:   math.NaN(),
			Max:   math.NaN(),
			First: math.NaN(),
			Last:  math.NaN(),
			M2:    math.NaN(),
		}
		var values []float64
		var before *store.Reading
		for i, v := range rs {
			if v.Timestamp.Before(q.Start) || !v.Timestamp.Before(q.End) ||
				v.Timestamp.Before(b.Start) || !v.Timestamp.Before(b.End) {
				if !v.Timestamp.Before(q.Start) && v.Timestamp.Before(q.End) {
					before = &rs[i]
				}
				continue
			}
			b.Readings++
			if v.Quality == store.Good {
				b.Good++
			}
			if before != nil && v.Timestamp.Sub(before.Timestamp) > q.Gap {
				b.Gaps++
				b.MaxGap = max(b.MaxGap, v.Timestamp.Sub(before.Timestamp))
			}
			before = &rs[i]
			if v.Quality == store.Bad || math.IsNaN(v.Value) {
				continue
			}
			if b.Usable++; b.Usable == 1 {
				b.First, b.FirstAt, b.Sum, b.Min, b.Max = v.Value, v.Timestamp, 0, v.Value, v.Value
			}
			b.Last, b.LastAt = v.Value, v.Timestamp
			b.Sum += v.Value
			b.Min, b.Max = min(b.Min, v.Value), max(b.Max, v.Value)
			values = append(values, v.Value)
		}
		if b.Readings == 0 {
			continue
		}
		if b.Usable > 0 {
			b.M2 = 0
			for _, v := range values {
				b.M2 += (v - b.Avg()) * (v - b.Avg())
			}
			slices.Sort(values)
			at := 0.5 * float64(len(values)-1)
			low := int(at)
			b.Percentiles = []float64{
				values[low] + (at-float64(low))*(values[min(low+1, len(values)-1)]-values[low]),
			}
		}
		// second by second: all readings of this test are at whole ones
		held, integral, seconds := math.NaN(), 0.0, 0.0
		i := 0
		for at := q.Start.Add(-24 * time.Hour); at.Before(b.End) &&
			at.Before(limit); at = at.Add(time.Second) {
			for i < len(rs) && !rs[i].Timestamp.After(at) {
				if rs[i].Quality != store.Bad && !math.IsNaN(rs[i].Value) {
					held = rs[i].Value
				}
				i++
			}
			if !at.Before(b.Start) && !at.Before(q.Start) && !math.IsNaN(held) {
				integral += held
				seconds++
			}
		}
		b.TimeWeighted = integral / seconds
		out = append(out, b)
	}
	return out
}

// TestHistory_IgnoresValuesTooLargeToSquare stores a value whose square float8 cannot hold.
func TestHistory_IgnoresValuesTooLargeToSquare(t *testing.T) {
	s := open(t)
	write(t, s, reading(1, -1, -1e250), reading(1, 0, 1e200), reading(1, 1, 2), reading(1, 2, 4))
	got, _, err := s.History(t.Context(), series.HistoryQuery{
		Sensors: []int64{1},
		Start:   noon,
		End:     noon.Add(time.Hour),
		Bounds:  []time.Time{noon, noon.Add(time.Hour)},
		Ends:    true,
		Now:     noon.Add(3 * time.Minute),
	})
	ok(t, err)
	if len(got[1]) != 1 {
		t.Fatalf("got %d buckets, want 1", len(got[1]))
	}
	if b := got[1][0]; b.Readings != 4-1 || b.Usable != 2 || b.Sum != 6 || b.First != 2 ||
		b.TimeWeighted != 3 {
		t.Errorf("got %+v, want 3 readings, 2 usable, sum 6, first 2, time-weighted 3", b)
	}
}

// TestHistory_DaysEqualThoseOfPostgres compares days by their date: where midnight happens twice,
// date_trunc returns the second one, so most of the day's first hour is before it.
func TestHistory_DaysEqualThoseOfPostgres(t *testing.T) {
	s, db := openRaw(t)
	g := addGateway(t, s, "g").ID
	for _, c := range clockChanges(t) {
		sensor := addSensor(t, s, g, fmt.Sprint(c.zone[:4], c.day)).ID
		place := zone(t, c.zone)
		start, end := instant(t, c.day+"T00:00:00Z").Add(-36*time.Hour), instant(t,
			c.day+"T00:00:00Z").Add(60*time.Hour)
		var rs []store.Reading
		for at := start; at.Before(end); at = at.Add(7 * time.Minute) {
			rs = append(rs, store.Reading{SensorID: sensor, Timestamp: at, Value: 1})
		}
		write(t, s, rs...)
		q := series.HistoryQuery{
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
				SELECT
					(date_trunc('day', timestamp, $2) AT TIME ZONE $2)::date AS day,
					count(*) AS n
				FROM sensor_data
				WHERE sensor_id = $1
				GROUP BY 1) d`, sensor, c.zone)
		if fmt.Sprint(got) != fmt.Sprint(strings.Split(want, ",")) {
			t.Errorf("%s about %s: got %v, want %v", c.zone, c.day, got, want)
		}
	}
}

// clockChange is a day on which the clock of a zone is changed about midnight.
type clockChange struct{ zone, day string }

func clockChanges(t *testing.T) (list []clockChange) {
	t.Helper()
	text, err := os.ReadFile("../series/testdata/clock_changes.txt")
	ok(t, err)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); fields[0] != "#" {
			list = append(list, clockChange{fields[0], fields[1]})
		}
	}
	return list
}
