package server_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
)

const allTime = "start=0001-01-01T00:00:00Z&end=9999-12-31T23:59:59.999999Z"

// However large a limit is and however wide the buckets are, an answer has the points there are and
// says where it ends.
func TestHistory_LimitTimesIntervalBeyondInt64(t *testing.T) {
	s := startWithHistory(t)
	for _, tt := range []struct{ query, next, points string }{
		{
			"start=2026-01-01T00:00:00Z&end=2027-01-01T00:00:00Z&interval=1mo&limit=5000", "null",
			"2026-03-01T00:00:00Z",
		},
		{
			"start=2026-01-01T00:00:00Z&end=2027-01-01T00:00:00Z&interval=1w&limit=20000", "null",
			"2026-03-02T00:00:00Z",
		},
		{
			"start=2026-01-01T00:00:00Z&end=2027-01-01T00:00:00Z&interval=1d&limit=50000", "null",
			"2026-03-04T00:00:00Z",
		},
		{
			"start=2026-01-01T00:00:00Z&end=2027-01-01T00:00:00Z&interval=1mo&limit=2",
			"2026-03-01T00:00:00Z", "",
		},
		{allTime + "&interval=1mo&limit=50000", "4167-09-01T00:00:00Z", "2026-03-01T00:00:00Z"},
		{allTime + "&interval=1mo&limit=24303", "2026-04-01T00:00:00Z", "2026-03-01T00:00:00Z"},
	} {
		h := s.history("sensor_id=1&agg=count&" + tt.query)
		next, points := "null", ""
		if !h.Next.IsNull() {
			next = h.Next.MustGet().Format(time.RFC3339)
		}
		for _, p := range h.Series[0].Points {
			points += p.Start.Format(time.RFC3339)
		}
		if next != tt.next || points != tt.points {
			t.Errorf("%s: got points at %s, next %s, want %s and %s", tt.query, points, next,
				tt.points, tt.next)
		}
	}
}

// Ranges that are longer than a time.Duration can be give the figures of the readings in them.
func TestHistory_RangesBeyondADuration(t *testing.T) {
	s := startWithHistory(t)
	wide := s.downsampled("sensor_id=1&points=100&" + allTime)
	near := s.downsampled("sensor_id=1&points=100&" + fiveMinutes)
	if fmt.Sprint(wide.Series) != fmt.Sprint(near.Series) {
		t.Errorf("got %+v, want %+v", wide.Series, near.Series)
	}
	few := s.downsampled("sensor_id=1&points=4&" +
		"start=2026-03-04T03:00:00Z&end=9999-12-31T23:59:59.999999Z")
	if n := len(few.Series[0].Readings); n < 2 || n > 4 {
		t.Errorf("got %d readings, want 2 to 4", n)
	}
	res := s.send("GET",
		"/api/data/statistics?sensor_id=1&start=1026-03-04T03:00:00Z&end=3026-03-04T03:00:00Z",
		s.token(s.users["viewer"]), "")
	var statistics client.Statistics
	if err := json.Unmarshal(res.body, &statistics); err != nil {
		t.Fatal(err)
	}
	const twoThousandYears = 730485 * 24 * 3600
	if got, want := statistics.Series[0].Intervals[0].Rate, 7.0/twoThousandYears; got != want {
		t.Errorf("7 readings in 2000 years are a rate of %g, want %g", got, want)
	}
}
