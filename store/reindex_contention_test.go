package store_test

import (
	"context"
	"database/sql"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/store"
)

// hold begins a transaction that a rebuild has to wait for.
func (c *reindexing) hold(t *testing.T) (release func()) {
	t.Helper()
	reader, err := c.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	ok(t, err)
	var n int
	ok(t, reader.QueryRowContext(t.Context(), `SELECT count(*) FROM sensor_data`).Scan(&n))
	return func() { _ = reader.Rollback() }
}

// halfBuilt waits until a rebuild waits for hold.
func (c *reindexing) halfBuilt(t *testing.T) {
	t.Helper()
	const q = `
		SELECT
			EXISTS (
				SELECT
				FROM pg_index i
				WHERE i.indrelid = $1::text::regclass AND NOT i.indisvalid)
			AND EXISTS (
				SELECT
				FROM pg_stat_activity
				WHERE datname = current_database()
					AND application_name = 'oei-ms reindex'
					AND wait_event_type = 'Lock')`
	testutil.Eventually(t, testutil.Timeout, "a key is half built",
		func() bool { return scan[bool](t, c.db, q, theDay) })
}

// TestReindexClosed_AfterAnInterruption interrupts a rebuild: the next pass drops the half-built
// key and rebuilds it.
func TestReindexClosed_AfterAnInterruption(t *testing.T) {
	for name, cut := range map[string]func(*testing.T, *reindexing, context.CancelFunc){
		"by a stop": func(_ *testing.T, _ *reindexing, cancel context.CancelFunc) { cancel() },
		"by the server": func(t *testing.T, c *reindexing, _ context.CancelFunc) {
			run(t, c.db, `
				SELECT pg_terminate_backend(pid)
				FROM pg_stat_activity
				WHERE datname = current_database() AND application_name = 'oei-ms reindex'`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newReindexing(t, 1)
			grown := c.size(t)
			release := c.hold(t)
			defer release()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				var err error
				done := func(d store.Reindexed) { t.Errorf("done: %+v", d) }
				// the first passes only record
				for now := c.now; err == nil; now = now.Add(2 * time.Hour) {
					err = c.ReindexClosed(ctx, now, done)
				}
				ended <- err
			}()
			c.halfBuilt(t)
			cut(t, c, cancel)
			if err := <-ended; err == nil {
				t.Error("no error")
			}
			testutil.Eventually(t, testutil.Timeout, "the session has ended", func() bool {
				const sessions = `
					SELECT count(*)
					FROM pg_stat_activity
					WHERE datname = current_database() AND application_name = 'oei-ms reindex'`
				return scan[int](t, c.db, sessions) == 0
			})
			if n := scan[int](t, c.db, `
				SELECT count(*)
				FROM pg_index
				WHERE indrelid = $1::text::regclass AND NOT indisvalid`, theDay); n != 1 {
				t.Fatalf("%d keys are half built, want 1: the test would show nothing", n)
			}
			c.late(t, 3, 10)
			release()
			c.now = c.now.Add(48 * time.Hour)
			if told := c.until(t, 1); len(told) != 1 || told[0].After > grown*4/5 {
				t.Errorf("told %+v", told)
			}
			if n := scan[int](t, c.db,
				`SELECT count(*) FROM pg_index WHERE indrelid = $1::text::regclass`,
				theDay); n != 1 {
				t.Errorf("keys: got %d, want 1", n)
			}
			c.checkDay(t, perPartition+11)
		})
	}
}

func TestReindexClosed_GivesWay(t *testing.T) {
	c := newReindexing(t, 1)
	store.SetLockTimeout(c.Store, 300*time.Millisecond)
	inUse := func(who string) {
		t.Helper()
		if told := c.until(t, 1); len(told) != 1 || !told[0].InUse {
			t.Errorf("with %s: told %+v, want it in use", who, told)
		}
		c.checkDay(t, perPartition+1)
	}
	keys := func(want int) {
		t.Helper()
		if n := scan[int](t, c.db,
			`SELECT count(*) FROM pg_index WHERE indrelid = $1::text::regclass`,
			theDay); n != want {
			t.Errorf("got %d keys, want %d", n, want)
		}
	}
	release := c.hold(t)
	defer release()
	time.Sleep(time.Second)
	inUse("an old reader")
	keys(1) // it did not begin
	release()
	release = c.hold(t)
	// it gives up, and cannot drop what it has built either
	inUse("a recent reader")
	release()
	vacuum, err := c.db.BeginTx(t.Context(), nil)
	ok(t, err)
	defer vacuum.Rollback()
	_, err = vacuum.ExecContext(t.Context(), `LOCK TABLE `+theDay+` IN SHARE UPDATE EXCLUSIVE MODE`)
	ok(t, err)
	inUse("a lock on the partition")
	ok(t, vacuum.Rollback())
	if told := c.until(t, 1); len(told) != 1 || told[0].InUse {
		t.Errorf("when all had ended: told %+v", told)
	}
	keys(1)
}

// TestReindexClosed_WhileRetentionDrops drops partitions while their keys are rebuilt.
func TestReindexClosed_WhileRetentionDrops(t *testing.T) {
	c := newReindexing(t, 2)
	const other = "sensor_data_20260305"
	told := c.until(t, 2)
	if len(told) != 2 {
		t.Fatalf("told %+v, want two partitions", told)
	}
	run(t, c.db, `UPDATE compactions SET key_bytes = NULL`)
	c.pass(t, func(d store.Reindexed) {
		if d.Partition != theDay {
			t.Errorf("told %+v of a dropped partition", d)
		}
		run(t, c.db, `DROP TABLE `+other)
	})
	c.pass(t, func(d store.Reindexed) { t.Errorf("told %+v", d) })
	const recorded = `SELECT string_agg(partition, ' ') FROM compactions`
	if got := scan[string](t, c.db, recorded); got != theDay {
		t.Errorf("recorded: got %s, want %s", got, theDay)
	}

	run(t, c.db, `UPDATE compactions SET key_bytes = NULL`)
	release := c.hold(t)
	defer release()
	ended := make(chan error, 1)
	go func() { ended <- c.ReindexClosed(t.Context(), c.now, func(store.Reindexed) {}) }()
	c.halfBuilt(t)
	for _, id := range c.ids {
		_, err := c.UpdateSensor(t.Context(), id, 0,
			store.SensorChange{Retention: &sql.Null[int]{V: 1, Valid: true}})
		ok(t, err)
	}
	var went, waited bool
	ok(t, c.EnforceRetention(t.Context(), noon.AddDate(0, 0, 9), func(r store.RetentionStep) {
		if went = went || r.Dropped; r.InUse && !waited {
			waited = true
			release()
			ok(t, <-ended)
		}
	}))
	if !went || !waited {
		t.Errorf("waited %t, went %t, want both", waited, went)
	}
	write(t, c.Store, store.Reading{SensorID: c.ids[0], Timestamp: noon}) // it may be stored again
}

// TestReindexClosed_WhileReadingsAreWritten has several writers of the same readings: each reading
// is stored once, for one of them.
func TestReindexClosed_WhileReadingsAreWritten(t *testing.T) {
	c := newReindexing(t, 1)
	others := []*store.Store{c.Store, c.other(t).Store, c.other(t).Store}
	var stored, step atomic.Int64
	var writers sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for _, s := range others {
		writers.Go(func() {
			for ctx.Err() == nil {
				var rs []store.Reading
				// the same as other writers at about the same time
				at := noon.Add(time.Duration(step.Add(1)/3) * 40 * time.Millisecond)
				for _, id := range c.ids {
					rs = append(rs,
						store.Reading{
							SensorID:  id,
							Timestamp: at.Add(7 * time.Millisecond),
							Value:     5,
						})
				}
				res, err := s.Write(t.Context(), rs, store.SideWrites{})
				if err != nil {
					t.Error(err)
					return
				}
				for _, o := range res.Outcomes {
					if o == store.Stored {
						stored.Add(1)
					} else if o != store.Duplicate {
						t.Errorf("got %v", o)
					}
				}
			}
		})
	}
	for range 20 {
		run(t, c.db, `REINDEX INDEX CONCURRENTLY `+theKey)
	}
	stop()
	writers.Wait()
	c.checkDay(t, perPartition+1+int(stored.Load()))
	t.Logf("%d readings were stored and %d offered meanwhile", stored.Load(), 50*step.Load())
}
