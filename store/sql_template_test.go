package store

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/series"
)

var update = flag.Bool("update", false, "write the rendered SQL to testdata")

// TestRenderedSQL compares the SQL of every shape of the composed statements with testdata/*.sql.
// After a change run it with -update and read the difference.
func TestRenderedSQL(t *testing.T) {
	shapes := renderedSQL()
	for name, sql := range shapes {
		path := filepath.Join("testdata", name+".sql")
		got := strings.TrimSpace(strings.ReplaceAll("\n"+sql, "\n\t\t", "\n")) + "\n"
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%v; run go test ./store -run TestRenderedSQL -update", err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
		}
	}
	files, err := filepath.Glob("testdata/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if _, ok := shapes[strings.TrimSuffix(filepath.Base(path), ".sql")]; !ok {
			t.Errorf("%s: no statement renders to it", path)
		}
	}
}

// renderedSQL returns the SQL of every shape, by name.
func renderedSQL() map[string]string {
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	shapes := map[string]string{}
	for name, q := range map[string]series.HistoryQuery{
		"":                 {},
		"_with_ends":       {Ends: true},
		"_with_statistics": {Ends: true, Percentiles: []float64{0.5}, Gap: time.Minute},
	} {
		for source, bound := range map[series.Source]time.Duration{
			series.Raw:      90 * time.Second,
			series.ByMinute: 90 * time.Minute,
			series.ByHour:   24 * time.Hour,
		} {
			if source == series.ByMinute && q.Gap > 0 {
				continue // minutes know neither gaps nor percentiles
			}
			q := historyShape(q, start, bound)
			shapes["history_"+sourceNames[source]+name] = renderHistory(q, source)
		}
	}
	// an hour that a bound splits
	split := historyShape(series.HistoryQuery{}, start, 90*time.Minute)
	shapes["history_by_hour_with_split_hours"] = renderHistory(split, series.ByHour)
	split.Percentiles = []float64{0.5}
	shapes["history_by_hour_with_split_hours_of_readings"] = renderHistory(split, series.ByHour)
	long := historyShape(series.HistoryQuery{}, start, 24*time.Hour)
	long.End = start.Add(70 * day)
	shapes["history_raw_of_months"] = renderHistory(long, series.Raw)

	w := span{start, start.Add(2 * day)}
	for source, name := range sourceNames {
		shapes["downsample_"+name], _ = downsampleSQL(series.DownsampleQuery{},
			series.DownsamplePlan{Source: source}, w)
	}
	shapes["cost_without_rollup"] = countWithoutRollupSQL

	withRollups := (&Store{retention: 30 * day, rollups: true})
	of := partition{"sensor_data_20260301", start, start.Add(day)}
	clauses := withRollups.partitionClauses(&of)
	shapes["retention_is_kept"] = render(keepsReadingsTemplate, clauses)
	shapes["retention_expired_sensors"] = render(expiredSensorsTemplate, clauses)
	shapes["retention_is_expired"] = render(isExpiredTemplate, clauses)
	shapes["retention_preview"] = render(previewTemplate, clauses)
	clauses.Rollups = false
	shapes["retention_preview_without_rollups"] = render(previewTemplate, clauses)

	shapes["partition_attach"] = render(attachTemplate, of)
	merged := partition{"sensor_data_20260301_20260401", start, start.AddDate(0, 1, 0)}
	shapes["partition_merge_begin"] = render(beginMergeTemplate, []partition{of, of})
	shapes["partition_merge_copy"] = render(copyTemplate, of)
	shapes["partition_merge_key"] = render(keyTemplate, merged)
	shapes["partition_merge_exchange"] = render(exchangeTemplate,
		exchangeClauses{partition: merged, Old: "sensor_data_20260301, sensor_data_20260302"})
	return shapes
}

var sourceNames = map[series.Source]string{
	series.Raw:      "raw",
	series.ByMinute: "by_minute",
	series.ByHour:   "by_hour",
}

// historyShape is q with a range of two days from start on and buckets of the given width.
func historyShape(q series.HistoryQuery, start time.Time, width time.Duration) series.HistoryQuery {
	q.Start, q.End = start, start.Add(2*day)
	for at := q.Start; !at.After(q.End); at = at.Add(width) {
		q.Bounds = append(q.Bounds, at)
	}
	return q
}

func renderHistory(q series.HistoryQuery, source series.Source) string {
	sql, _ := historySQL(q, source, span{q.Start, q.End})
	return sql
}
