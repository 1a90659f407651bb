package store_test

import (
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/store"
)

// reindexing is a store with closed partitions, to which readings of 50 sensors were written in
// order of time.
type reindexing struct {
	*store.Store
	db  *sql.DB
	ids []int64
	now time.Time // of the next pass
}

// dsnQuery returns the address of the database.
const dsnQuery = `
	SELECT concat(
		'host=', current_setting('unix_socket_directories'),
		' port=5432 user=', current_user,
		' sslmode=disable dbname=', current_database())`

const (
	perPartition = 24_000 // readings
	theDay       = "sensor_data_20260304"
	theKey       = theDay + "_pkey"
)

// newReindexing fills the given number of partitions, of noon's day and the following ones.
func newReindexing(t *testing.T, days int) *reindexing {
	t.Helper()
	s, db := openRaw(t)
	c := &reindexing{Store: s, db: db, now: noon.AddDate(0, 0, days+1)}
	g := addGateway(t, s, "g").ID
	for i := range 50 {
		c.ids = append(c.ids, addSensor(t, s, g, fmt.Sprint(i)).ID)
	}
	other := c.other(t)
	for d := range days {
		begin := noon.Add(time.Duration(24*d-12) * time.Hour)
		// makes the partition
		last := begin.Add(24*time.Hour - time.Nanosecond)
		write(t, other.Store, store.Reading{SensorID: c.ids[0], Timestamp: last})
		run(t, other.db, `
			INSERT INTO sensor_data (timestamp, sensor_id, value, quality)
			SELECT $1::timestamptz + n / 50 * interval '100 s', $2::int + n % 50, n, 0
			FROM generate_series(0, $3::int - 1) n
			ORDER BY n`, begin, c.ids[0], perPartition)
	}
	other.end(t, c, days*(perPartition+1))
	return c
}

// other returns an instance with connections of its own: PostgreSQL counts what they wrote when
// they end.
func (c *reindexing) other(t *testing.T) *reindexing {
	t.Helper()
	dsn := scan[string](t, c.db, dsnQuery) + durable
	db, err := sql.Open("postgres", dsn)
	ok(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return &reindexing{Store: openAt(t, dsn), db: db}
}

// end closes c and waits until PostgreSQL has counted n readings.
func (c *reindexing) end(t *testing.T, rest *reindexing, n int) {
	t.Helper()
	ok(t, c.Close())
	ok(t, c.db.Close())
	const q = `
		SELECT sum(pg_stat_get_tuples_inserted(inhrelid))
		FROM pg_inherits
		WHERE inhparent = 'sensor_data'::regclass`
	testutil.Eventually(t, testutil.Timeout, "all readings are counted",
		func() bool { return scan[int](t, rest.db, q) >= n })
}

// pass runs a pass of an hour and a minute after the one before.
func (c *reindexing) pass(t *testing.T, done func(store.Reindexed)) {
	t.Helper()
	c.now = c.now.Add(61 * time.Minute)
	ok(t, c.ReindexClosed(t.Context(), c.now, done))
}

// until runs passes until n keys were rebuilt or in use: PostgreSQL counts writes with a delay, and
// each count delays the rebuild by an hour.
func (c *reindexing) until(t *testing.T, n int) []store.Reindexed {
	t.Helper()
	var told []store.Reindexed
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c.pass(t, func(d store.Reindexed) { told = append(told, d) })
		if len(told) >= n || time.Now().After(deadline) {
			return told
		}
	}
}

// size returns the bytes of the key of theDay.
func (c *reindexing) size(t *testing.T) int64 {
	t.Helper()
	return scan[int64](t, c.db, `SELECT pg_relation_size($1::text::regclass)`, theKey)
}

// checkDay fails the test unless theDay has n readings and one key, which finds them.
func (c *reindexing) checkDay(t *testing.T, n int) {
	t.Helper()
	if got := scan[int](t, c.db, `SELECT count(*) FROM `+theDay); got != n {
		t.Errorf("readings: got %d, want %d", got, n)
	}
	const keys = `
		SELECT count(*)
		FROM pg_index
		WHERE indrelid = $1::text::regclass AND indisvalid AND indisready AND indisunique`
	if got := scan[int](t, c.db, keys, theDay); got != 1 {
		t.Errorf("keys: got %d, want 1", got)
	}
	if got := scan[int](t, c.db,
		`SELECT count(*) FROM pg_inherits WHERE inhrelid = $1::text::regclass`, theKey); got != 1 {
		t.Error("the key is not attached to that of sensor_data")
	}
	first := store.Reading{SensorID: c.ids[7], Timestamp: noon.Add(-12 * time.Hour), Value: 7}
	other := first
	other.Value = 8
	if got := write(t, c.Store, first, other); got != "[duplicate conflict]" {
		t.Errorf("readings that exist: got %s", got)
	}
}

// late writes n late readings, spread over the day.
func (c *reindexing) late(t *testing.T, seed, n int) {
	t.Helper()
	var rs []store.Reading
	for i := range n {
		at := noon.Add(time.Duration(i*86_400_000/n-43_200_000)*time.Millisecond +
			time.Duration(seed)*time.Microsecond)
		rs = append(rs, store.Reading{SensorID: c.ids[i*7%50], Timestamp: at, Value: 1})
	}
	res, err := c.Write(t.Context(), rs, store.SideWrites{})
	if err != nil ||
		slices.ContainsFunc(res.Outcomes, func(o store.Outcome) bool { return o != store.Stored }) {
		t.Fatalf("late readings: %v, %v", words(res.Outcomes), err)
	}
}

func TestReindexClosed_FreesSpace(t *testing.T) {
	c := newReindexing(t, 1)
	grown := c.size(t)
	told := c.until(t, 1)
	packed := c.size(t)
	if len(told) != 1 ||
		told[0] != (store.Reindexed{Partition: theDay, Before: grown, After: packed}) {
		t.Fatalf("told %+v, want a key of %d bytes rebuilt with %d", told, grown, packed)
	}
	if each := float64(packed) / perPartition; packed > grown*4/5 || each > 30 {
		t.Errorf("got %d bytes, %.1f for each reading, of %d before", packed, each, grown)
	}
	c.checkDay(t, perPartition+1)
	c.now = c.now.Add(time.Hour)
	c.pass(t, func(d store.Reindexed) { t.Errorf("once more: %+v", d) })

	c.late(t, 1, 20)
	for range 3 {
		c.pass(t, func(d store.Reindexed) { t.Errorf("for %d late readings: %+v", 20, d) })
	}
	c.late(t, 2, 2000)
	if grown = c.size(t); grown < packed*3/2 {
		t.Fatalf("%d bytes after late readings, %d before: the test would show nothing",
			grown, packed)
	}
	if told = c.until(t, 1); len(told) != 1 || told[0].After > packed*5/4 {
		t.Errorf("after many late readings: told %+v", told)
	}
	c.checkDay(t, perPartition+1+2020)

	for _, id := range c.ids[10:] {
		_, err := c.DeleteReadings(t.Context(), id, noon.AddDate(0, 0, -1), noon.AddDate(0, 0, 1),
			false)
		ok(t, err)
	}
	run(t, c.db, `VACUUM `+theDay)
	if told = c.until(t, 1); len(told) != 1 || told[0].After > packed/3 {
		t.Errorf("after most was deleted: told %+v", told)
	}
}

func TestReindexClosed_WaitsUntilReadingsStop(t *testing.T) {
	c := newReindexing(t, 1)
	nothing := func(d store.Reindexed) { t.Errorf("reindexed %+v", d) }
	midnight := noon.Add(12 * time.Hour)
	for _, now := range []time.Time{noon, midnight, midnight.Add(59 * time.Minute)} {
		ok(t, c.ReindexClosed(t.Context(), now, nothing))
	}
	if n := scan[int](t, c.db, `SELECT count(*) FROM compactions`); n != 0 {
		t.Errorf("%d partitions are recorded that are not closed", n)
	}
	for i := range 3 {
		other := c.other(t)
		write(t, other.Store,
			store.Reading{SensorID: c.ids[i], Timestamp: noon.Add(time.Microsecond)})
		other.end(t, c, perPartition+2+i)
		c.pass(t, nothing)
	}
	if told := c.until(t, 1); len(told) != 1 {
		t.Errorf("when no more came: told %+v", told)
	}
}

func TestReindexClosed_OnSeveralInstances(t *testing.T) {
	c := newReindexing(t, 4)
	c.pass(t, func(store.Reindexed) {})
	c.now = c.now.Add(2 * time.Hour)
	var mu sync.Mutex
	times := map[string]int{}
	for len(times) < 4 && !t.Failed() {
		var instances sync.WaitGroup
		for range 3 {
			instances.Go(func() {
				err := c.ReindexClosed(t.Context(), c.now, func(d store.Reindexed) {
					mu.Lock()
					defer mu.Unlock()
					if times[d.Partition]++; d.InUse || d.After >= d.Before {
						t.Errorf("got %+v", d)
					}
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		instances.Wait()
		c.now = c.now.Add(2 * time.Hour)
	}
	for name, n := range times {
		if n != 1 {
			t.Errorf("%s was reindexed %d times", name, n)
		}
	}
}

// TestReindexClosed_ShrinksQueues has a queue that was long once and is nearly empty.
func TestReindexClosed_ShrinksQueues(t *testing.T) {
	s, db := openRaw(t)
	run(t, db, `
		INSERT INTO rollup_due (hour, sensor_id)
		SELECT now() + n * interval '1 hour', 1
		FROM generate_series(1, 200000) n`)
	run(t, db, `DELETE FROM rollup_due WHERE hour > now() + interval '22 hours'`)
	ok(t, s.ReindexClosed(t.Context(), time.Now(), func(store.Reindexed) {}))
	if size := scan[int](t, db, `SELECT pg_total_relation_size('rollup_due')`); size > 100_000 {
		t.Errorf("the queue takes %d bytes", size)
	}
	if n := scan[int](t, db, `SELECT count(*) FROM rollup_due`); n != 21 && n != 22 {
		t.Errorf("got %d rows, want 22", n)
	}
}
