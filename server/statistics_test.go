package server_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/store"
)

func TestStatistics_OfARange(t *testing.T) {
	s := startWithHistory(t)
	gap := 60
	params := &client.GetStatisticsParams{
		SensorID:    []int64{2, 1},
		Start:       at3,
		End:         at3.Add(5 * time.Minute),
		GapSeconds:  &gap,
		Percentiles: []string{"p25", "p50", "p99"},
	}
	res := must(s.as(store.Viewer).GetStatisticsWithResponse(t.Context(), params))
	a := res.JSON200
	if a == nil || len(a.Series) != 2 || len(a.Series[0].Intervals) != 1 ||
		len(a.Series[1].Intervals) != 0 || a.PercentileMethod != "exact" || a.PercentileError != 0 {
		t.Fatalf("got %d: %s", res.StatusCode(), res.Body)
	}
	v := a.Series[0].Intervals[0]
	got := fmt.Sprintf("%d %d %s %s %s %s %s %s %s %v %v %v %v %v %.4g", v.Count, v.Usable,
		text(v.Min), text(v.Max), text(v.Avg), text(v.TimeWeightedAvg), text(v.Stddev),
		text(v.Delta), text(v.Sum), v.Percentiles, v.PercentGood, v.Gaps, v.LongestGapSeconds,
		v.Last.MustGet().Value, v.Rate)
	// 30 s of 10, 30 of 20, 40 of 30, 140 of 50, 60 of 60
	want := "7 5 10 60 34 42.33 20.74 50 170 map[p25:20 p50:30 p99:59.6] 57.142857142857146 1 " +
		"140 60 0.02333"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	minute := client.IntervalN1M
	params.Interval = &minute
	if res := must(s.as(store.Viewer).GetStatisticsWithResponse(t.Context(),
		params)); res.JSON200 == nil || len(res.JSON200.Series[0].Intervals) != 3 ||
		res.JSON200.Interval.MustGet() != "1m" {
		t.Errorf("by the minute: got %s", res.Body)
	}
}
