package ingest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/store"
)

// ledger is what a publisher knows of its readings.
type ledger struct {
	mu    sync.Mutex
	acked map[int]ingest.Receipt
	sent  int
}

// flow publishes readings 0, 1, 2, … of a sensor until stop is called, and returns what was sent
// and acknowledged.
func (b *testPipeline) flow(gateway, sensor string) (l *ledger, stop func()) {
	l = &ledger{acked: map[int]ingest.Receipt{}}
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ctx.Err() == nil; n++ {
			m := ingest.Message{
				Topic:    "sensors/" + gateway + "/" + sensor + "/data",
				Payload:  []byte(sample(n)),
				Gateway:  gateway,
				Received: noon,
			}
			m.Done = func(r ingest.Receipt) {
				l.mu.Lock()
				defer l.mu.Unlock()
				if _, twice := l.acked[n]; twice {
					b.t.Errorf("%d was done twice", n)
				}
				l.acked[n] = r
			}
			if err := b.Submit(ctx, m); err != nil {
				return
			}
			l.mu.Lock()
			l.sent = n + 1
			l.mu.Unlock()
			if n%50 == 0 {
				time.Sleep(time.Millisecond) // a plant, not a flood
			}
		}
	}()
	return l, func() { cancel(); <-ended }
}

func (l *ledger) count() (sent, acked int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent, len(l.acked)
}

// settle waits until everything sent is acknowledged, and compares the ledger with what is stored.
func (b *testPipeline) settle(l *ledger, sensor string) {
	b.t.Helper()
	testutil.Eventually(b.t, testutil.Timeout, "everything sent is acknowledged",
		func() bool { sent, acked := l.count(); return sent == acked })
	rs, err := b.store.Readings(b.t.Context(),
		store.ReadingsQuery{Sensors: []int64{b.id(sensor)}, Ascending: true, Limit: 1e7})
	if err != nil {
		b.t.Fatal(err)
	}
	if len(rs) != l.sent {
		b.t.Errorf("stored %d, sent %d", len(rs), l.sent)
	}
	for i, r := range rs {
		if r.Value != float64(i) || r.Timestamp.UnixMilli() != noon.UnixMilli()+int64(i) {
			b.t.Fatalf("reading %d is %s", i, b.line(r))
		}
	}
	for n, r := range l.acked {
		if r.Code != 0 || r.Accepted+r.Duplicates != 1 {
			b.t.Fatalf("%d: got %+v", n, r)
		}
	}
}

func TestCommit_SurvivesLostConnections(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	one, stopOne := b.flow("g1", "t2")
	two, stopTwo := b.flow("g2", "u1")
	cut := 0
	for cut < 30 {
		time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
		cut += scan[int](t, b.db,
			`
			SELECT count(pg_terminate_backend(pid))
			FROM pg_stat_activity
			WHERE application_name = 'oei-ms ingest' AND datname = current_database()`)
	}
	stopOne()
	stopTwo()
	b.settle(one, "t2")
	b.settle(two, "u1")
	b.stop()
	told := map[string]bool{}
	for _, c := range b.committed {
		for _, r := range c.Readings {
			told[b.line(r)] = true
		}
	}
	if want := one.sent + two.sent; len(told) != want {
		t.Errorf("notified of %d readings, want %d", len(told), want)
	}
	if got := b.recorded(); got != "" {
		t.Errorf("recorded: %s", got)
	}
}

func TestCommit_WaitsForTheDatabase(t *testing.T) {
	server := pgtest.Server(t)
	cfg := ingest.DefaultConfig()
	cfg.MaxBytes = 1 << 20
	b := newTestPipelineAt(t, cfg, server.DSN())
	tests := []struct {
		name       string
		harm, mend func()
		stays      bool
	}{
		{"killed", server.Kill, func() {}, false},
		{"stopped", server.Stop, server.Start, true},
		{"paused", server.Pause, server.Resume, true},
		{"killed again", server.Kill, func() {}, false},
	}
	sensors := []string{"t2", "u1"}
	gateways := []string{"g1", "g2"}
	for i, tt := range tests {
		if i >= len(sensors) { // a sensor of its own each
			sensors, gateways = append(sensors, fmt.Sprint("x", i)), append(gateways, "g1")
			b.sensor(1, sensors[i], nil)
		}
		l, stop := b.flow(gateways[i], sensors[i])
		testutil.Eventually(t, testutil.Timeout, "it flows",
			func() bool { _, acked := l.count(); return acked > 100 })
		tt.harm()
		if tt.stays {
			var before int
			testutil.Eventually(t, testutil.Timeout, tt.name+": the room is full", func() bool {
				sent, acked := l.count()
				full := sent == before && sent > acked
				before = sent
				time.Sleep(50 * time.Millisecond)
				return full
			})
			_, acked := l.count()
			time.Sleep(300 * time.Millisecond)
			if _, later := l.count(); later != acked {
				t.Errorf("%s: %d were done with no database", tt.name, later-acked)
			}
			if waiting := before - acked; waiting > 1<<20/512 {
				t.Errorf("%s: %d messages are held", tt.name, waiting)
			}
		}
		tt.mend()
		sent, _ := l.count()
		testutil.Eventually(t, testutil.Timeout, tt.name+": it flows again",
			func() bool { later, _ := l.count(); return later > sent+100 })
		stop()
		b.settle(l, sensors[i])
	}
}
