package ingest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/store"
)

func TestDone_FollowsTheCommit(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	release := b.hold()
	defer release()
	var visible atomic.Int32
	done := make(chan struct{})
	err := b.Submit(t.Context(),
		ingest.Message{
			Topic:    "sensors/g1/t2/data",
			Payload:  []byte(sample(1)),
			Gateway:  "g1",
			Received: noon,
			Done: func(ingest.Receipt) {
				var n int32
				if err := b.db.QueryRow(`SELECT count(*) FROM sensor_data`).Scan(&n); err != nil {
					t.Error(err)
				}
				visible.Store(n)
				close(done)
			},
		})
	if err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, testutil.Timeout, "the transaction waits for its lock", func() bool {
		return scan[int](t, b.db, waitingTransactions) > 0
	})
	select {
	case <-done:
		t.Error("done before the commit")
	default:
	}
	release()
	<-done
	if n := visible.Load(); n != 1 {
		t.Errorf("another connection saw %d readings when it was done, want 1", n)
	}
}

func TestDone_IsInOrderForEachGateway(t *testing.T) {
	cfg := ingest.DefaultConfig()
	cfg.BatchRows = 7 // many transactions
	b := newTestPipeline(t, cfg)
	const each = 400
	var mu sync.Mutex
	done := map[string][]int{}
	var all sync.WaitGroup
	all.Add(2 * each)
	for gateway, topic := range map[string]string{
		"g1": "sensors/g1/t2/data", "g2": "sensors/g2/u1/data",
	} {
		go func() {
			for n := range each {
				payload := sample(n)
				if n%10 == 9 {
					payload = "poison"
				}
				m := ingest.Message{
					Topic: topic, Payload: []byte(payload), Gateway: gateway,
					Received: noon, Done: func(ingest.Receipt) {
						mu.Lock()
						defer mu.Unlock()
						done[gateway] = append(done[gateway], n)
						all.Done()
					},
				}
				if err := b.Submit(t.Context(), m); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	all.Wait()
	for gateway, order := range done {
		if len(order) != each || !slices.IsSorted(order) {
			t.Errorf("%s: %d done in the order %v", gateway, len(order), order)
		}
	}
}

func TestSubmit_WaitsWhileTheWindowIsFull(t *testing.T) {
	cfg := ingest.DefaultConfig()
	cfg.MaxBytes = 20 << 10
	b := newTestPipeline(t, cfg)
	release := b.hold()
	defer release()
	var done atomic.Int32
	// as an external broker does, which vouches for all gateways
	submit := func(n int, patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return b.Submit(ctx,
			ingest.Message{
				Topic:    "sensors/g1/t2/data",
				Payload:  []byte(sample(n)),
				Received: noon,
				Done:     func(ingest.Receipt) { done.Add(1) },
			})
	}
	taken := 0
	for submit(taken, 300*time.Millisecond) == nil {
		if taken++; taken > 100 {
			t.Fatal("it takes everything")
		}
	}
	if taken < 10 || done.Load() != 0 {
		t.Errorf("taken %d, done %d", taken, done.Load())
	}
	if err := submit(taken, time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("when full: got %v", err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- submit(taken, limit) }()
	release()
	if err := <-waiting; err != nil {
		t.Errorf("when there is room again: %v", err)
	}
	testutil.Eventually(t, testutil.Timeout, "all are done",
		func() bool { return int(done.Load()) == taken+1 })

	t.Run("a message larger than all the room is taken alone", func(t *testing.T) {
		large := "[" + strings.Repeat(sample(1)+",", 200) + sample(1) + "]"
		if r := b.publish("g1", "sensors/g1/t2/data", large); r.Duplicates != 201 {
			t.Errorf("got %+v", r)
		}
	})
}

func TestSubmit_APublisherLeavesRoomForOthers(t *testing.T) {
	cfg := ingest.DefaultConfig()
	cfg.MaxBytes = 20 << 10
	b := newTestPipeline(t, cfg)
	release := b.hold()
	defer release()
	var done atomic.Int32
	submit := func(gateway, sensor string, n int, patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		m := ingest.Message{
			Topic:    "sensors/" + gateway + "/" + sensor + "/data",
			Payload:  []byte(sample(n)),
			Gateway:  gateway,
			Received: noon,
		}
		m.Done = func(ingest.Receipt) { done.Add(1) }
		return b.Submit(ctx, m)
	}
	taken := 0
	for submit("g1", "t2", taken, 300*time.Millisecond) == nil {
		if taken++; taken > 100 {
			t.Fatal("it takes everything")
		}
	}
	for n := range 3 {
		if err := submit("g2", "u1", n, limit); err != nil {
			t.Fatalf("another gateway, message %d: %v", n, err)
		}
	}
	release()
	testutil.Eventually(t, testutil.Timeout, "all are done",
		func() bool { return int(done.Load()) == taken+3 })
	if err := submit("g1", "t2", taken, limit); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
}

func TestStop(t *testing.T) {
	t.Run("messages in flight are committed, and no more are taken", func(t *testing.T) {
		b := newTestPipeline(t, ingest.DefaultConfig())
		release := b.hold()
		defer release()
		var receipts []<-chan ingest.Receipt
		for n := range 1000 {
			receipts = append(receipts, b.send("g1", "sensors/g1/t2/data", sample(n), noon))
		}
		time.AfterFunc(50*time.Millisecond, release)
		b.stop()
		for n, done := range receipts {
			select {
			case r := <-done:
				if r.Accepted != 1 {
					t.Errorf("%d: got %+v", n, r)
				}
			default:
				t.Fatalf("%d is not done", n)
			}
		}
		if n := scan[int](t, b.db, `SELECT count(*) FROM sensor_data`); n != 1000 {
			t.Errorf("stored %d", n)
		}
		for range 100 {
			err := b.Submit(t.Context(),
				ingest.Message{
					Topic:   "sensors/g1/t2/data",
					Payload: []byte(sample(1)),
					Done:    func(ingest.Receipt) { t.Error("done after the stop") },
				})
			if !errors.Is(err, ingest.ErrStopped) {
				t.Fatalf("submit: got %v", err)
			}
			if _, err := b.Write(t.Context(), []store.Reading{{SensorID: 1, Value: 1}}); !errors.Is(
				err, store.ErrUnavailable,
			) {
				t.Fatalf("write: got %v", err)
			}
		}
	})
	t.Run("without a database it ends after its grace and nothing is done", func(t *testing.T) {
		server := pgtest.Server(t)
		b := newTestPipelineAt(t, ingest.DefaultConfig(), server.DSN())
		b.publish("g1", "sensors/g1/t2/data", sample(0))
		b.stop()
		p := restartedPipeline(t, b)
		server.Stop()
		var done atomic.Int32
		for n := range 100 {
			m := ingest.Message{
				Topic:   "sensors/g1/t2/data",
				Payload: []byte(sample(n)),
				Gateway: "g1",
				Done:    func(ingest.Receipt) { done.Add(1) },
			}
			if err := p.Submit(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		p.stop()
		if took := time.Since(began); took > 5*time.Second || done.Load() != 0 {
			t.Errorf("it took %v, %d done", took, done.Load())
		}
	})
}

// restartedPipeline runs a second pipeline on b's store, with a short grace.
func restartedPipeline(t *testing.T, b *testPipeline) *testPipeline {
	t.Helper()
	p := &testPipeline{t: t, dsn: b.dsn, db: b.db, store: b.store, names: b.names}
	p.Pipeline = ingest.New(ingest.DefaultConfig(), b.store, func(ingest.Committed) {}, discard,
		newRegistry())
	p.start(200 * time.Millisecond)
	return p
}

func TestWrite_OfACallerThatHasGone(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	release := b.hold()
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := b.Write(ctx,
			[]store.Reading{
				{SensorID: b.id("t2"), Timestamp: time.Now().UTC().Truncate(time.Second), Value: 1},
			})
		ended <- err
	}()
	testutil.Eventually(t, testutil.Timeout, "the write waits", func() bool {
		return scan[int](t, b.db, waitingTransactions) > 0
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	release()
	testutil.Eventually(t, testutil.Timeout, "its readings are stored all the same",
		func() bool { return scan[int](t, b.db, `SELECT count(*) FROM sensor_data`) == 1 })
	if _, err := b.Write(ctx, []store.Reading{{SensorID: b.id("t2"), Value: 1}}); err == nil {
		t.Error("a caller that has gone was answered")
	}
}

func TestLag_IsTheAgeOfTheOldestMessageInFlight(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	if lag := b.Lag(noon); lag != 0 {
		t.Errorf("idle: got %v, want 0", lag)
	}
	hold, err := b.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold.Exec(`LOCK TABLE sensor_data`); err != nil {
		t.Fatal(err)
	}
	first := b.send("g1", t1, `{"value":1}`, noon)
	testutil.Eventually(t, testutil.Timeout, "it waits",
		func() bool { return b.Lag(noon) == 0 && b.Lag(noon.Add(time.Minute)) == time.Minute })
	second := b.send("g1", t1, `{"value":2}`, noon.Add(30*time.Second))
	if lag := b.Lag(noon.Add(time.Minute)); lag != time.Minute {
		t.Errorf("with a later message waiting: got %v, want 1m", lag)
	}
	if err := hold.Rollback(); err != nil {
		t.Fatal(err)
	}
	b.wait(first)
	b.wait(second)
	testutil.Eventually(t, testutil.Timeout, "it is idle again",
		func() bool { return b.Lag(noon.Add(time.Minute)) == 0 })
}
