package series

import (
	"testing"
	"time"
)

func TestHistoryQuery_Source(t *testing.T) {
	start := instant(t, "2026-03-01T00:30:00Z")
	tests := map[string]struct {
		width, zone string
		hours       int
		change      func(*HistoryQuery)
		want        Source
	}{
		"whole hours":                     {"1h", "UTC", 48, nil, ByHour},
		"days of a zone with whole hours": {"1d", "Europe/Berlin", 480, nil, ByHour},
		"days of a zone with half hours":  {"1d", "Asia/Kolkata", 480, nil, ByHour},
		"hours of a zone with half hours": {"1h", "Asia/Kolkata", 480, nil, ByMinute},
		"minutes":                         {"1m", "UTC", 48, nil, ByMinute},
		"seconds":                         {"1s", "UTC", 4, nil, Raw},
		"a range that is hardly an hour":  {"1m", "UTC", 2, nil, Raw},
		"hours have sketches": {
			"1h", "UTC", 48, func(q *HistoryQuery) { q.Percentiles = []float64{0.5} },
			ByHour,
		},
		"hours know of gaps": {
			"1h", "UTC", 48, func(q *HistoryQuery) { q.Gap = time.Minute }, ByHour,
		},
		"minutes have no sketches": {
			"15m", "UTC", 48, func(q *HistoryQuery) { q.Percentiles = []float64{0.5} },
			Raw,
		},
		"minutes know of no gaps": {
			"15m", "UTC", 48, func(q *HistoryQuery) { q.Gap = time.Minute }, Raw,
		},
		"one bucket is made of whole hours": {"1mo", "UTC", 48, nil, ByHour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			end := start.Add(time.Duration(tt.hours) * time.Hour)
			q := HistoryQuery{
				Start:  start,
				End:    end,
				Bounds: boundsOf(t, tt.width, start, end, zone(t, tt.zone)),
			}
			if tt.change != nil {
				tt.change(&q)
			}
			if got := q.Source(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
