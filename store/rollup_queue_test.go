package store_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/series"
	"github.com/oei-ms/oei-ms/store"
)

// rollup is a row of rollup_1h or rollup_1m.
type rollup struct {
	count, usable, good                      int
	sum, m2, min, max, first, last, integral float64
	firstAt, lastAt                          time.Time
	minutes                                  bool

	// of hours only
	beginAt, endAt time.Time // of all readings
	pause          float64
	values         []float64
	sketch         []byte
}

// add adds a reading that is later than all before: an independent definition of a rollup.
func (r *rollup) add(at time.Time, value *float64, quality int) {
	if r.count++; r.count == 1 {
		r.beginAt = at
	} else {
		r.pause = max(r.pause, at.Sub(r.endAt).Seconds())
	}
	r.endAt = at
	if quality == 0 {
		r.good++
	}
	if value == nil || quality == 2 || math.Abs(*value) > 1e140 {
		return
	}
	v := *value
	r.values = append(r.values, v)
	if r.usable == 0 {
		r.first, r.firstAt, r.min, r.max = v, at, v, v
	} else {
		r.integral += r.last * at.Sub(r.lastAt).Seconds()
	}
	mean := r.sum / math.Max(float64(r.usable), 1)
	r.usable++
	r.sum += v
	if r.usable > 1 {
		r.m2 += (v - mean) * (v - r.sum/float64(r.usable))
	}
	r.min, r.max, r.last, r.lastAt = math.Min(r.min, v), math.Max(r.max, v), v, at
}

// near allows for the order of additions.
func near(a, b, scale float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(1, math.Abs(scale)) }

func (r *rollup) differs(o *rollup) string {
	scale := math.Max(math.Abs(r.max), math.Abs(r.min)) * float64(r.usable)
	switch {
	case r.count != o.count || r.usable != o.usable || r.good != o.good:
		return fmt.Sprintf("counts %d %d %d, want %d %d %d", o.count, o.usable, o.good, r.count,
			r.usable, r.good)
	case r.usable == 0:
		return ""
	case r.min != o.min || r.max != o.max || r.first != o.first || r.last != o.last ||
		!r.firstAt.Equal(o.firstAt) || !r.lastAt.Equal(o.lastAt):
		return fmt.Sprintf("got %+v, want %+v", *o, *r)
	case !near(r.sum, o.sum, scale) || !near(r.m2, o.m2, scale*scale) ||
		!near(r.integral, o.integral, scale*3600):
		return fmt.Sprintf("sums got %v %v %v, want %v %v %v", o.sum, o.m2, o.integral, r.sum, r.m2,
			r.integral)
	}
	return ""
}

// percentilesOf returns the percentiles of an encoded sketch, and their error. values are in order;
// only the smallest and the largest are used.
func percentilesOf(sketch []byte, quantiles, values []float64) ([]float64, float64, error) {
	if len(values) == 0 {
		return nil, 0, nil
	}
	packed := binary.BigEndian.AppendUint64(nil, 0) // the bucket begins in 2000
	for range 3 {                                   // count, good, usable
		packed = binary.BigEndian.AppendUint32(packed, uint32(len(values)))
	}
	for _, v := range []float64{0, 0, values[0], values[len(values)-1]} { // sum, m2, min, max
		packed = binary.BigEndian.AppendUint64(packed, math.Float64bits(v))
	}
	packed = append(binary.BigEndian.AppendUint32(packed, uint32(len(sketch))), sketch...)
	start := series.Instant(0).Time()
	end := start.Add(time.Hour)
	m := series.NewHistoryMerger(series.HistoryQuery{
		Start:       start,
		End:         end,
		Bounds:      []time.Time{start, end},
		Percentiles: quantiles,
	}, series.ByHour)
	if err := m.Add(&series.PackedRow{Sensor: 1, Day: start, Rollups: packed}); err != nil {
		return nil, 0, err
	}
	buckets, err := m.Buckets()
	if err != nil {
		return nil, 0, err
	}
	return buckets[1][0].Percentiles, buckets[1][0].PercentileError, nil
}

// differsInHour compares the columns that only hours have.
func (r *rollup) differsInHour(o *rollup) string {
	if !o.beginAt.Equal(r.beginAt) || !o.endAt.Equal(r.endAt) || o.pause != r.pause {
		return fmt.Sprintf("from %v to %v, pause %v, want from %v to %v, pause %v", o.beginAt,
			o.endAt, o.pause, r.beginAt, r.endAt, r.pause)
	}
	slices.Sort(r.values)
	parts := []float64{0.01, 0.3, 0.5, 0.99}
	got, off, err := percentilesOf(o.sketch, parts, r.values)
	if err != nil {
		return err.Error()
	}
	if len(got) == 0 && len(r.values) == 0 {
		return ""
	}
	for i, p := range parts {
		if want, slack := percentile(r.values, p, off); math.Abs(got[i]-want) > slack ||
			off > 0.02 {
			return fmt.Sprintf("p%v: got %v, want %v within %v", p*100, got[i], want, slack)
		}
	}
	return ""
}

type bucketKey struct {
	sensor int64
	start  int64
}

// checkRollups compares, in one snapshot, every hour that an answer would take from the rollups
// with the readings, and returns how many those are and how many hours are still to be rolled up.
func checkRollups(ctx context.Context, db *sql.DB) (settled, waiting int, err error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return 0, 0, err
	}
	defer tx.Rollback()
	// a partition that is dropped is gone from older snapshots too
	if _, err := tx.Exec(`LOCK TABLE sensor_data IN ACCESS SHARE MODE`); err != nil {
		return 0, 0, err
	}
	var through time.Time
	const state = `SELECT greatest(through, 'epoch') FROM rollup_state`
	if err := tx.QueryRow(state).Scan(&through); err != nil {
		return 0, 0, err
	}
	dirty := map[bucketKey]bool{}
	each := func(q string, scan func(rows *sql.Rows) error) {
		if err != nil {
			return
		}
		var rows *sql.Rows
		if rows, err = tx.Query(q); err != nil {
			return
		}
		defer rows.Close()
		for rows.Next() && err == nil {
			err = scan(rows)
		}
		if err == nil {
			err = rows.Err()
		}
	}
	each(`
		SELECT sensor_id, hour
		FROM rollup_due
		UNION
		SELECT m.sensor_id, m.hour
		FROM rollup_marks
		CROSS JOIN unnest(sensors, hours) AS m (sensor_id, hour)`,
		func(rows *sql.Rows) error {
			var sensor int64
			var hour time.Time
			err := rows.Scan(&sensor, &hour)
			dirty[bucketKey{sensor, hour.Unix()}] = true
			return err
		})
	hours, minutes := map[bucketKey]*rollup{}, map[bucketKey]*rollup{}
	each(`
		SELECT sensor_id, timestamp, value, quality
		FROM sensor_data
		ORDER BY sensor_id, timestamp`, func(rows *sql.Rows) error {
		var sensor int64
		var at time.Time
		var value *float64
		var quality int
		if err := rows.Scan(&sensor, &at, &value, &quality); err != nil {
			return err
		}
		hour := at.Truncate(time.Hour)
		if !hour.Before(through) || dirty[bucketKey{sensor, hour.Unix()}] {
			return nil
		}
		for to, start := range map[*map[bucketKey]*rollup]time.Time{
			&hours: hour, &minutes: at.Truncate(time.Minute),
		} {
			k := bucketKey{sensor, start.Unix()}
			if (*to)[k] == nil {
				(*to)[k] = &rollup{}
			}
			(*to)[k].add(at, value, quality)
		}
		return nil
	})
	waiting = len(dirty)
	compare := func(table string, want map[bucketKey]*rollup) {
		only := map[string]string{
			"rollup_1h": `minutes, coalesce(begin_at, first_at), coalesce(end_at, last_at),
				coalesce(pause, 0), sketch`,
			"rollup_1m": "true, 'epoch'::timestamptz, 'epoch'::timestamptz, 0, ''::bytea",
		}[table]
		each(`
			SELECT
				sensor_id, bucket, count, usable, good,
				coalesce(first_at, 'epoch'), coalesce(last_at, 'epoch'),
				coalesce(sum, 0), coalesce(m2, 0), coalesce(min, 0), coalesce(max, 0),
				coalesce(first, 0), coalesce(last, 0), coalesce(integral, 0), `+only+`
			FROM `+table,
			func(rows *sql.Rows) error {
				var k bucketKey
				var start time.Time
				var got rollup
				if err := rows.Scan(&k.sensor, &start, &got.count, &got.usable, &got.good,
					&got.firstAt, &got.lastAt, &got.sum, &got.m2,
					&got.min, &got.max, &got.first, &got.last, &got.integral, &got.minutes,
					&got.beginAt, &got.endAt, &got.pause, &got.sketch); err != nil {
					return err
				}
				k.start = start.Unix()
				if dirty[bucketKey{k.sensor, start.Truncate(time.Hour).Unix()}] {
					return nil
				}
				w := want[k]
				if w == nil {
					return fmt.Errorf("%s: sensor %d has a row at %v that no reading accounts for",
						table, k.sensor, start)
				}
				delete(want, k)
				if table == "rollup_1h" && got.minutes != (w.count >= 720) {
					return fmt.Errorf("%s: sensor %d at %v: minutes %t with %d readings", table,
						k.sensor, start, got.minutes, w.count)
				}
				d := w.differs(&got)
				if d == "" && table == "rollup_1h" {
					d = w.differsInHour(&got)
				}
				if d != "" {
					return fmt.Errorf("%s: sensor %d at %v: %s", table, k.sensor, start, d)
				}
				return nil
			})
	}
	for k := range minutes { // those of sparse hours are not kept
		hour := bucketKey{k.sensor, time.Unix(k.start, 0).Truncate(time.Hour).Unix()}
		if hours[hour].count < 720 {
			delete(minutes, k)
		}
	}
	for k, hour := range hours { // sparse ones have none
		if hour.count < 12 {
			delete(hours, k)
		}
	}
	settled = len(hours)
	compare("rollup_1h", hours)
	compare("rollup_1m", minutes)
	if err == nil && len(hours)+len(minutes) > 0 {
		err = fmt.Errorf("%d hours and %d minutes are neither rolled up nor waiting", len(hours),
			len(minutes))
	}
	return settled, waiting, err
}

// drainRollups rolls up until nothing that is over waits.
func drainRollups(t testing.TB, s *store.Store) {
	t.Helper()
	for {
		n, more, err := s.RollUp(t.Context(), 50)
		// that is a connection that was killed when it had nothing to do
		if err != nil && !store.Transient(err) {
			t.Fatal(err)
		}
		if n > 0 || more || err != nil {
			continue
		}
		marks, hours, err := s.RollupLag(t.Context())
		if marks+hours == 0 && err == nil {
			return
		}
		// the server has not noticed yet that a pass was cut off, and keeps its lock
		time.Sleep(time.Millisecond)
	}
}

func randomReadings(rnd *rand.Rand, now time.Time) []store.Reading {
	rs := make([]store.Reading, 1+rnd.IntN(300))
	hour := now.Add(-time.Duration(rnd.IntN(100)) * time.Hour)
	for i := range rs {
		if rnd.IntN(40) == 0 {
			hour = now.Add(-time.Duration(rnd.IntN(24*400)) * time.Hour)
		}
		r := store.Reading{
			SensorID: 1 + rnd.Int64N(4),
			Received: now,
			Value:    math.Round(rnd.NormFloat64()*1e4) / 100,
		}
		// some of them twice
		r.Timestamp = hour.Add(time.Duration(rnd.IntN(3600)) * time.Second).Truncate(time.Second)
		switch rnd.IntN(20) {
		case 0:
			r.Value, r.Quality = math.NaN(), store.Bad
		case 1:
			r.Quality = store.Bad
		case 2:
			r.Quality = store.Uncertain
		case 3:
			r.Value = math.Copysign(1.7e308, r.Value)
		}
		rs[i] = r
	}
	return rs
}

// TestRollUp_EqualsTheReadings writes readings in any order, with interrupted passes: at every
// moment the rollups of hours that do not wait equal those of the readings, and in the end none
// waits.
func TestRollUp_EqualsTheReadings(t *testing.T) {
	dsn := pgtest.DSN(t) + durable
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, other := openAt(t, dsn), openAt(t, dsn)
	store.RollUpAtOnce(s)
	store.RollUpAtOnce(other)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	now := time.Now().UTC()
	ctx, cancel := context.WithCancel(t.Context())
	var writers, workers errgroup.Group
	for w := range 3 {
		writers.Go(func() error {
			rnd := rand.New(rand.NewPCG(seed, uint64(w)))
			for range 40 {
				if rnd.IntN(8) == 0 {
					from := now.Add(-time.Duration(rnd.IntN(100*3600)) * time.Second)
					if _, err := s.DeleteReadings(t.Context(), 1+rnd.Int64N(4), from,
						from.Add(time.Duration(rnd.IntN(5*3600))*time.Second), false); err != nil {
						return err
					}
				}
				_, err := s.Write(t.Context(), randomReadings(rnd, now), store.SideWrites{})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	for w, instance := range []*store.Store{s, other} {
		workers.Go(func() error {
			rnd := rand.New(rand.NewPCG(seed, 100+uint64(w)))
			for ctx.Err() == nil {
				cut, stop := context.WithTimeout(ctx, time.Duration(rnd.IntN(60))*time.Millisecond)
				_, _, _ = instance.RollUp(cut, 1+rnd.IntN(40)) // many are cut off in the middle
				stop()
			}
			return nil
		})
	}
	checked := 0
	workers.Go(func() error {
		for ctx.Err() == nil {
			settled, _, err := checkRollups(t.Context(), db)
			if err != nil {
				return err
			}
			checked += settled
		}
		return nil
	})
	if err := writers.Wait(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := workers.Wait(); err != nil {
		t.Error(err)
	}
	drainRollups(t, s)
	settled, _, err := checkRollups(t.Context(), db)
	if err != nil {
		t.Error(err)
	}
	var open int
	if err := db.QueryRow(
		`SELECT count(*) FROM rollup_due WHERE hour < (SELECT through FROM rollup_state)`,
	).Scan(&open); err != nil || open > 0 {
		t.Errorf("hours left over: %d, %v", open, err)
	}
	if settled < 100 {
		t.Errorf("only %d hours were compared", settled)
	}
	t.Logf("%d hours compared at the end, %d while it ran", settled, checked)
}

func TestRollUp_KeepsMinutesOfDenseHours(t *testing.T) {
	s, db := openRaw(t)
	store.RollUpAtOnce(s)
	hour := time.Now().UTC().Truncate(time.Hour).Add(-5 * time.Hour)
	var rs []store.Reading
	for i := range 3600 {
		rs = append(rs,
			store.Reading{
				SensorID:  1,
				Timestamp: hour.Add(time.Duration(i) * time.Second),
				Received:  hour,
				Value:     float64(i % 60),
			})
	}
	for i := range 60 {
		rs = append(rs,
			store.Reading{
				SensorID:  2,
				Timestamp: hour.Add(time.Duration(i) * time.Minute),
				Received:  hour,
				Value:     1,
			})
	}
	if _, err := s.Write(t.Context(), rs,
		store.SideWrites{}); err != nil {
		t.Fatal(err)
	}
	drainRollups(t, s)
	if settled, _, err := checkRollups(t.Context(), db); err != nil || settled != 2 {
		t.Errorf("compared %d hours, want 2: %v", settled, err)
	}
	if n := scan[int](t, db, `SELECT count(*) FROM rollup_1m`); n != 60 {
		t.Errorf("minutes: got %d, want 60: those of the dense hour", n)
	}
}
