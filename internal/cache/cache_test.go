package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/testutil"
)

// maxAge is the promised age of answers.
const maxAge = time.Second

func TestCache_AllInstancesSeeAChangeWithinASecond(t *testing.T) {
	w := newWorld(t)
	a, b := w.instance(), w.instance()
	if err := w.write(3, 0, 1); err != nil {
		t.Fatal(err)
	}
	slow, err := w.db.Begin() // other transactions begin later and commit earlier
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Rollback()
	if _, err := slow.Exec(lateReading, 4, noon.Add(10*time.Minute), 4.0); err != nil {
		t.Fatal(err)
	}
	changes := []struct {
		what string
		make func() error
	}{
		{"a late reading", func() error { return w.write(1, 1, 2) }},
		{"a reading that was rolled up before the next poll", func() error {
			err := w.write(2, 2, 3)
			w.rollUp(t.Context())
			return err
		}},
		{"a deletion", func() error {
			_, err := w.store.DeleteReadings(t.Context(), 3, noon, noon.Add(time.Hour), false)
			return err
		}},
		{"a reading that was written long before its commit", slow.Commit},
		{"the deletion of a sensor", func() error {
			_, err := w.store.DeleteSensor(t.Context(), 5, 0, false)
			return err
		}},
	}
	old := map[int]string{}
	for i := range changes {
		a.hits("memory", int64(i+1))
		b.hits("memory", int64(i+1))
		old[i] = a.ask(int64(i+1), 0, 24)
	}
	c := w.instance()
	c.hits("redis", 4)
	for _, change := range changes {
		if err := change.make(); err != nil {
			t.Errorf("%s: %v", change.what, err)
		}
	}
	time.Sleep(maxAge)
	for i, change := range changes {
		want := w.truth(t.Context(), int64(i+1), 0, 24)
		if want == old[i] {
			t.Errorf("%s: nothing has changed", change.what)
		}
		for n, in := range []*instance{a, b, c} {
			if got := in.ask(int64(i+1), 0, 24); got != want {
				t.Errorf("%s, instance %d: got %q, want %q", change.what, n, got, want)
			}
		}
	}
}

// lateReading stores $3 for sensor $1 at $2 as ingest does.
const lateReading = `
	WITH reading AS (INSERT INTO sensor_data (sensor_id, timestamp, value, quality) VALUES
	($1, $2, $3, 0))
	INSERT INTO rollup_marks (oldest, sensors, hours)
	SELECT hour, ARRAY[$1::int], ARRAY[hour] FROM date_trunc('hour', $2::timestamptz, 'UTC')
	AS hour`

func TestCache_IsBypassedWhilePollsFail(t *testing.T) {
	w := newWorld(t)
	in := w.instance()
	in.hits("memory", 1)
	tx, err := w.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`LOCK TABLE late_changes IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	if err := w.write(1, 0, 7); err != nil { // no poll can see it
		t.Fatal(err)
	}
	time.Sleep(maxAge)
	if got := in.ask(1, 0, 24); got != "1 7" {
		t.Errorf("got %q, want the new reading", got)
	}
	if n := value(in.metrics.bypassed.WithLabelValues(reasonBehind)); n == 0 {
		t.Error("the bypass was not counted")
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	in.hits("memory", 1)
	if got := in.ask(1, 0, 24); got != "1 7" {
		t.Errorf("when it can poll again: got %q", got)
	}
}

func TestCache_WorksWithoutRedis(t *testing.T) {
	w := newWorld(t)
	a := w.instance()
	a.hits("memory", 1)
	a.hits("redis", 1)
	w.redis.Kill()
	b := w.instance()
	if err := w.write(1, 0, 5); err != nil {
		t.Fatal(err)
	}
	for n, in := range []*instance{a, b} {
		in.hits("memory", 1)
		in.hits("memory", 2)
		testutil.Eventually(t, testutil.Timeout, fmt.Sprintf("the new reading at instance %d", n),
			func() bool { return in.ask(1, 0, 24) == "1 5" })
	}
	w.redis.Run()
	a.hits("redis", 1)
	b.hits("redis", 1)
	w.redis.Pause()
	defer w.redis.Resume()
	a.forget()
	if got := a.ask(1, 0, 24); got != "1 5" {
		t.Errorf("stopped: got %q", got)
	}
}

// TestCache_NoAnswerIsOlderThanASecond writes late readings with rising values, in transactions of
// random length that overtake each other, and deletes some, while it queries two instances. Each
// answer must include what was committed a second before, and in the end all answers must equal
// those computed from the readings.
func TestCache_NoAnswerIsOlderThanASecond(t *testing.T) {
	w := newWorld(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	instances := []*instance{w.instance(), w.instance()}
	for _, in := range instances {
		in.hits("memory", 4)
	}
	var mu sync.Mutex
	// values by the time of their commit, of a sensor and an hour
	committed := map[[2]int]map[time.Time]float64{}
	var next atomic.Int64
	late := func(rnd *rand.Rand) error {
		sensor, hour := 1+rnd.IntN(3), rnd.IntN(6)
		tx, err := w.db.Begin()
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.Exec(`SELECT pg_current_xact_id()`); err != nil {
			return err
		}
		time.Sleep(time.Duration(rnd.IntN(100)) * time.Millisecond)
		value := next.Add(1)
		at := noon.Add(time.Duration(hour)*time.Hour + time.Duration(value)*time.Millisecond)
		if _, err := tx.Exec(lateReading, sensor, at, float64(value)); err != nil {
			return err
		}
		time.Sleep(time.Duration(rnd.IntN(700)) * time.Millisecond)
		if err := tx.Commit(); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		key := [2]int{sensor, hour}
		if committed[key] == nil {
			committed[key] = map[time.Time]float64{}
		}
		committed[key][time.Now()] = float64(value)
		return nil
	}
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	var writers, readers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(n)))
			for ctx.Err() == nil {
				if err := late(rnd); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Go(func() { // sensor 4, whose answers are compared in the end
		rnd := rand.New(rand.NewPCG(seed, 99))
		for i := 0; ctx.Err() == nil; i++ {
			if err := w.write(4, rnd.IntN(360), float64(i)); err != nil {
				t.Error(err)
			}
			if from := noon.Add(time.Duration(rnd.IntN(360)) * time.Minute); i%3 == 0 {
				if _, err := w.store.DeleteReadings(t.Context(), 4, from, from.Add(time.Hour),
					false); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(30 * time.Millisecond)
		}
	})
	for n, in := range instances {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 10+uint64(n)))
			for ctx.Err() == nil {
				sensor, from := 1+rnd.IntN(4), rnd.IntN(6)
				to := from + 1 + rnd.IntN(6-from)
				began := time.Now()
				got := in.ask(int64(sensor), from, to)
				if sensor == 4 {
					continue
				}
				var count int
				var greatest, lowest float64
				if _, err := fmt.Sscan(got, &count, &greatest); err != nil {
					t.Errorf("got %q: %v", got, err)
				}
				mu.Lock()
				there := 0
				for hour := from; hour < to; hour++ {
					for at, value := range committed[[2]int{sensor, hour}] {
						if began.Sub(at) > maxAge {
							lowest = max(lowest, value)
							there++
						}
					}
				}
				mu.Unlock()
				if greatest < lowest || count < there {
					t.Errorf("sensor %d, hours %d to %d: got %q, but a second before %d were "+
						"there, up to %v", sensor, from, to, got, there, lowest)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	writers.Wait()
	readers.Wait()
	time.Sleep(maxAge)
	for sensor := int64(1); sensor <= 4; sensor++ {
		for from := range 6 {
			for to := from + 1; to <= 6; to++ {
				want := w.truth(t.Context(), sensor, from, to)
				for n, in := range instances {
					if got := in.ask(sensor, from, to); got != want {
						t.Errorf("in the end, instance %d, sensor %d, hours %d to %d: got %q, "+
							"want %q", n, sensor, from, to, got, want)
					}
				}
			}
		}
	}
	for n, in := range instances {
		t.Logf("instance %d: memory %v, redis %v, made %v, behind %v", n, in.counted("memory"),
			in.counted("redis"), value(in.metrics.misses),
			value(in.metrics.bypassed.WithLabelValues(reasonBehind)))
	}
}
