package store_test

import (
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/series"
	"github.com/oei-ms/oei-ms/store"
)

// TestRollUp_OfASlowSensor has a meter that is read every ten minutes: it has no rollups, and its
// histories and costs are those of its readings.
func TestRollUp_OfASlowSensor(t *testing.T) {
	s, db := openRaw(t)
	store.RollUpAtOnce(s)
	hour := time.Now().UTC().Truncate(time.Hour)
	const days = 90
	var rs []store.Reading
	for i := range days * 24 * 6 {
		rs = append(rs,
			store.Reading{
				SensorID:  1,
				Timestamp: hour.Add(-time.Duration(i) * 10 * time.Minute),
				Received:  hour,
				Value:     float64(i),
			})
	}
	write(t, s, rs...)
	drainRollups(t, s)
	if n := scan[int](t, db,
		`SELECT (SELECT count(*) FROM rollup_1h) + (SELECT count(*) FROM rollup_1m)`); n != 0 {
		t.Errorf("got %d rollups, want none", n)
	}
	start, end := hour.AddDate(0, 0, -days), hour.Add(time.Hour)
	q := series.HistoryQuery{
		Sensors: []int64{1},
		Start:   start,
		End:     end,
		Bounds:  boundsOf(t, "1d", start, end, time.UTC),
		Ends:    true,
		Now:     end,
	}
	got, source, err := s.History(t.Context(), q)
	ok(t, err)
	if source != series.ByHour {
		t.Errorf("source: got %s", source)
	}
	n := int64(0)
	for _, b := range got[1] {
		n += b.Readings
	}
	if n != int64(len(rs)) {
		t.Errorf("history: got %d readings, want %d", n, len(rs))
	}
	if cost := must(s.ReadingsCost(t.Context(), []int64{1}, &start, &end)); cost < n ||
		cost > n+100 {
		t.Errorf("cost: got %d, want about %d", cost, n)
	}
}

// TestHistory_OfASparseHourBetweenRollups has an hour of few readings between hours with rollups.
func TestHistory_OfASparseHourBetweenRollups(t *testing.T) {
	s, db := openRaw(t)
	store.RollUpAtOnce(s)
	start := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -2)
	var rs []store.Reading
	for hour, n := range []int{60, 60, 5, 60, 1, 0, 11, 12} {
		for i := range n {
			at := start.Add(time.Duration(hour)*time.Hour + time.Duration(i)*time.Minute)
			rs = append(rs,
				store.Reading{SensorID: 1, Timestamp: at, Received: at, Value: float64(i)})
		}
	}
	write(t, s, rs...)
	drainRollups(t, s)
	if n := scan[int](t, db, `SELECT count(*) FROM rollup_1h`); n != 4 {
		t.Errorf("got %d rollups, want 4", n)
	}
	end := start.AddDate(0, 0, 1)
	q := series.HistoryQuery{
		Sensors: []int64{1},
		Start:   start,
		End:     end,
		Bounds:  boundsOf(t, "1h", start, end, time.UTC),
		Ends:    true,
		Now:     end,
	}
	got, err := s.HistoryOf(t.Context(), q, series.ByHour)
	ok(t, err)
	want, err := s.HistoryOf(t.Context(), q, series.Raw)
	ok(t, err)
	if a, b, differ := differs(got, want); differ || len(got[1]) != 7 {
		t.Errorf("got %d hours, %+v, want %+v", len(got[1]), a, b)
	}
	shape, _, err := s.Downsample(t.Context(),
		series.DownsampleQuery{Sensors: []int64{1}, Start: start, End: end, Points: 1000})
	ok(t, err)
	if len(shape[1]) != len(rs) {
		t.Errorf("shape: got %d points, want all %d", len(shape[1]), len(rs))
	}
}
