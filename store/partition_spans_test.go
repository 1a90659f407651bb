package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/series"
	"github.com/oei-ms/oei-ms/store"
)

func TestSpans_CoverTheRangeWithFewPartitionsEach(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var starts []time.Time
		at := noon
		for range rnd.IntN(200) {
			at = at.Add(time.Duration(1+rnd.IntN(100)) * time.Hour)
			starts = append(starts, at)
		}
		start := noon.Add(time.Duration(rnd.IntN(8000)) * time.Minute)
		end := start.Add(time.Duration(rnd.IntN(800000)) * time.Minute)
		newest, all := rnd.IntN(2) == 0, rnd.IntN(2) == 0
		spans := store.Cut(starts, start, end, newest, all)
		if newest && !all {
			slices.Reverse(spans)
		}
		until := start
		for _, w := range spans {
			n := 1
			for _, at := range starts {
				if at.After(w[0]) && at.Before(w[1]) {
					n++
				}
			}
			if !w[0].Equal(until) || n > 32 {
				t.Fatalf("a span of %d partitions begins at %v, the one before ends at %v", n, w[0],
					until)
			}
			until = w[1]
		}
		if !until.Equal(end) {
			t.Fatalf("the spans of [%v, %v) end at %v", start, end, until)
		}
	}
}

// lockedPartitions is a store with 400 partitions of a day each, most of which are locked, so that
// a statement that touches them fails.
type lockedPartitions struct {
	*store.Store
	db *sql.DB
	// a sensor with readings of the last days, and one with readings of the first days only
	recent, gone int64
	first, last  time.Time // days
}

func newLockedPartitions(t *testing.T) *lockedPartitions {
	t.Helper()
	dsn := pgtest.DSN(t) + durable
	db, err := sql.Open("postgres", dsn)
	ok(t, err)
	t.Cleanup(func() { _ = db.Close() })
	w := &lockedPartitions{
		db: db,
		Store: openWith(t, dsn,
			func(c *store.Config) { c.Partition, c.StatementTimeout = "day", 2*time.Second }),
	}
	store.RollUpAtOnce(w.Store)
	g := addGateway(t, w.Store, "g").ID
	w.recent, w.gone = addSensor(t, w.Store, g, "recent").ID, addSensor(t, w.Store, g, "gone").ID
	w.last = time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1)
	w.first = w.last.AddDate(0, 0, -399)
	var rs []store.Reading
	for d := range 400 {
		at := w.first.AddDate(0, 0, d)
		rs = append(rs, store.Reading{SensorID: 1000, Timestamp: at}) // makes the partition
		sensor := w.gone
		if d >= 396 {
			sensor = w.recent
		}
		for i := range 20 {
			if d < 3 || d >= 396 {
				rs = append(rs,
					store.Reading{
						SensorID:  sensor,
						Timestamp: at.Add(time.Duration(i) * 3 * time.Minute),
						Value:     float64(i),
					})
			}
		}
	}
	write(t, w.Store, rs...)
	drainRollups(t, w.Store)
	return w
}

// lockOutside locks all partitions but those of [from, to) and two before, until the test ends.
func (w *lockedPartitions) lockOutside(t *testing.T, from, to time.Time) {
	t.Helper()
	tx, err := w.db.BeginTx(t.Context(), nil)
	ok(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	var names []string
	for at := w.first; !at.After(w.last); at = at.AddDate(0, 0, 1) {
		if at.Before(from.AddDate(0, 0, -2)) || at.After(to) {
			names = append(names, "sensor_data_"+at.Format("20060102"))
		}
	}
	_, err = tx.ExecContext(t.Context(),
		`LOCK TABLE `+strings.Join(names, ", ")+` IN ACCESS EXCLUSIVE MODE`)
	ok(t, err)
}

// statements returns all that read or delete readings, of sensor in [start, end).
func (w *lockedPartitions) statements(
	t *testing.T, sensor int64, start, end time.Time,
) map[string]func(context.Context) error {
	history := func(source series.Source) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := w.HistoryOf(ctx, series.HistoryQuery{
				Sensors: []int64{sensor},
				Start:   start,
				End:     end,
				Bounds:  boundsOf(t, "1h", start, end, time.UTC),
				Ends:    true,
				Now:     end,
			}, source)
			return err
		}
	}
	readings := func(q store.ReadingsQuery) func(context.Context) error {
		q.Sensors = []int64{sensor}
		return func(ctx context.Context) error {
			rs, err := w.Readings(ctx, q)
			if err == nil && len(rs) == 0 {
				return fmt.Errorf("no readings")
			}
			return err
		}
	}
	export := func(from, to *time.Time) func(context.Context) error {
		return func(ctx context.Context) error {
			q := store.ExportQuery{Sensors: []int64{sensor}, Start: from, End: to}
			q.Enter = func(context.Context) (func(), error) { return func() {}, nil }
			return w.Export(ctx, q, func([]store.Reading) error { return nil })
		}
	}
	return map[string]func(context.Context) error{
		"the newest": readings(store.ReadingsQuery{Limit: 15}),
		"a range, newest first": readings(
			store.ReadingsQuery{Start: &start, End: &end, Limit: 1000},
		),
		"a range, oldest first": readings(store.ReadingsQuery{
			Start:     &start,
			End:       &end,
			Limit:     1000,
			Ascending: true,
		}),
		"from a time on": readings(store.ReadingsQuery{
			Start:     &start,
			Limit:     15,
			Ascending: true,
		}),
		"after a cursor": readings(store.ReadingsQuery{
			After: &store.Cursor{Timestamp: end},
			Limit: 15,
		}),
		"latest": func(ctx context.Context) error {
			_, err := w.Latest(ctx, store.LatestQuery{Limit: 10})
			return err
		},
		"history of readings": history(series.Raw),
		"history of minutes":  history(series.ByMinute),
		"history of hours":    history(series.ByHour),
		"downsample": func(ctx context.Context) error {
			_, _, err := w.Downsample(ctx, series.DownsampleQuery{
				Sensors: []int64{sensor},
				Start:   start,
				End:     end,
				Points:  10,
			})
			return err
		},
		"export": export(&start, &end),
		"costs": func(ctx context.Context) error {
			_, err := w.ReadingsCost(ctx, []int64{sensor}, &start, &end)
			return err
		},
		"simulate": func(ctx context.Context) error {
			r := alarm.Rule{
				SensorID: sensor,
				Name:     "high",
				Kind:     alarm.Threshold,
				Severity: alarm.Major,
				Limits:   &alarm.Limits{High: &alarm.Limit{Value: 5}},
			}
			_, _, err := w.Simulate(ctx, &r, start, end, func(alarm.Event) bool { return true })
			return err
		},
		"duplicates": func(ctx context.Context) error {
			r := store.Reading{SensorID: sensor, Timestamp: start, Value: 0}
			res, err := w.Write(ctx, []store.Reading{r}, store.SideWrites{})
			if err == nil && words(res.Outcomes) != "[duplicate]" {
				return fmt.Errorf("got %v", res.Outcomes)
			}
			return err
		},
		"a dry run of a deletion": func(ctx context.Context) error {
			_, err := w.DeleteReadings(ctx, sensor, start, end, true)
			return err
		},
		"a deletion, and the rollups after it": func(ctx context.Context) error {
			_, err := w.DeleteReadings(ctx, sensor, end.Add(-24*time.Hour), end, false)
			if err != nil {
				return err
			}
			_, _, err = w.RollUp(ctx, 100)
			return err
		},
	}
}

// TestStatements_TouchOnlyTheirPartitions locks most of 400 partitions, a day each, in another
// session: no statement may touch more partitions than it needs, which would cost time and locks.
func TestStatements_TouchOnlyTheirPartitions(t *testing.T) {
	w := newLockedPartitions(t)
	for name, tt := range map[string]struct {
		sensor     int64
		start, end time.Time
	}{
		"a sensor of today":        {w.recent, w.last.AddDate(0, 0, -2), w.last.AddDate(0, 0, 1)},
		"one that ended last year": {w.gone, w.first, w.first.AddDate(0, 0, 3)},
	} {
		t.Run(name, func(t *testing.T) {
			statements := w.statements(t, tt.sensor, tt.start, tt.end)
			w.lockOutside(t, tt.start, tt.end.AddDate(0, 0, 1))
			for what, f := range statements {
				if err := f(t.Context()); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}
