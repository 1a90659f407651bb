package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

// hold keeps every transaction with readings from its commit until release is called.
func (b *testPipeline) hold() (release func()) {
	b.t.Helper()
	tx, err := b.db.BeginTx(b.t.Context(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := tx.Exec(`LOCK TABLE latest IN ACCESS EXCLUSIVE MODE`); err != nil {
		b.t.Fatal(err)
	}
	return sync.OnceFunc(func() { _ = tx.Rollback() })
}

// sample is one reading of a sensor, n milliseconds after noon; its value is n.
func sample(n int) string {
	return fmt.Sprintf(`{"value":%d,"timestamp":%d}`, n, noon.UnixMilli()+int64(n))
}

func TestDone_FollowsTheCommit(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	release := b.hold()
	defer release()
	var visible atomic.Int32
	done := make(chan struct{})
	err := b.Submit(t.Context(),
		ingest.Message{Topic: "sensors/g1/t2/data", Payload: []byte(sample(1)), Gateway: "g1", Received: noon, Done: func(ingest.Receipt) {
			var n int32
			if err := b.db.QueryRow(`SELECT count(*) FROM sensor_data`).Scan(&n); err != nil {
				t.Error(err)
			}
			visible.Store(n)
			close(done)
		}})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the transaction waits for its lock", func() bool {
		return scan[int](t, b.db,
			`SELECT count(*) FROM pg_stat_activity WHERE application_name = 'oei-ms ingest' AND wait_event_type = 'Lock'`) > 0
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
				m := ingest.Message{Topic: topic, Payload: []byte(payload), Gateway: gateway, Received: noon, Done: func(ingest.Receipt) {
					mu.Lock()
					defer mu.Unlock()
					done[gateway] = append(done[gateway], n)
					all.Done()
				}}
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
	until(t, "all are done", func() bool { return int(done.Load()) == taken+1 })

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
	until(t, "all are done", func() bool { return int(done.Load()) == taken+3 })
	if err := submit("g1", "t2", taken, limit); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
}

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
	until(b.t, "everything sent is acknowledged",
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
			`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'oei-ms ingest' AND datname = current_database()`)
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
	if got := b.refused(); got != "" {
		t.Errorf("refused: %s", got)
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
		until(t, "it flows", func() bool { _, acked := l.count(); return acked > 100 })
		tt.harm()
		if tt.stays {
			var before int
			until(t, tt.name+": the room is full", func() bool {
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
		until(t, tt.name+": it flows again",
			func() bool { later, _ := l.count(); return later > sent+100 })
		stop()
		b.settle(l, sensors[i])
	}
}

func TestStop(t *testing.T) {
	t.Run("what was taken is committed first, and nothing more is taken", func(t *testing.T) {
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
		p := newBenchPipeline(t, b)
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

// newBenchPipeline runs a second pipeline on b's store, with a short grace.
func newBenchPipeline(t *testing.T, b *testPipeline) *testPipeline {
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
	until(t, "the write waits", func() bool {
		return scan[int](t, b.db,
			`SELECT count(*) FROM pg_stat_activity WHERE application_name = 'oei-ms ingest' AND wait_event_type = 'Lock'`) > 0
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	release()
	until(t, "what was taken is stored all the same",
		func() bool { return scan[int](t, b.db, `SELECT count(*) FROM sensor_data`) == 1 })
	if _, err := b.Write(ctx, []store.Reading{{SensorID: b.id("t2"), Value: 1}}); err == nil {
		t.Error("a caller that is gone was answered")
	}
}

func TestPresence(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	is := func(gateway string) string {
		return scan[string](t, b.db,
			`SELECT format('%s %s %s', status, to_char(last_seen_at, 'HH24:MI:SS'), clock_skew_ms) FROM gateways WHERE key = $1`, gateway)
	}
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	steps := []struct {
		name, as, topic, payload string
		second                   int
		want                     string // of g1
	}{
		{
			"a reading means that it is there", "g1", "sensors/g1/t2/data", sample(1), 1,
			"online 12:00:01 ",
		},
		{
			"it says that it goes", "g1", "gateways/g1/status", `{"status":"offline"}`, 2,
			"offline 12:00:02 ",
		},
		{
			"a refused sample of its own sensor says that it is there", "g1", "sensors/g1/t2/data",
			`{"value":"x"}`, 3, "online 12:00:03 ",
		},
		{
			"it says how late it is", "g1", "gateways/1/status",
			`{"status":"online","timestamp":"2026-03-04T11:59:58.5Z"}`, 4, "online 12:00:04 -5500",
		},
		{
			"somebody else says that it is gone", "g2", "gateways/g1/status",
			`{"status":"offline"}`, 5, "online 12:00:04 -5500",
		},
		{
			"somebody else publishes for it", "g2", "sensors/g1/t2/data", sample(2), 6,
			"online 12:00:04 -5500",
		},
		{
			"nonsense says nothing", "g1", "gateways/g1/status", `{"status":"dead"}`, 7,
			"online 12:00:04 -5500",
		},
		{"it goes", "g1", "gateways/g1/status", `{"status":"offline"}`, 8, "offline 12:00:08 -5500"},
		{
			"and comes", "g1", "gateways/g1/data", `[{"sensor":"t2","value":1}]`, 9,
			"online 12:00:09 -5500",
		},
	}
	for _, s := range steps {
		b.wait(b.send(s.as, s.topic, s.payload, at(s.second)))
		if got := is("g1"); got != s.want {
			t.Errorf("%s: got %q, want %q", s.name, got, s.want)
		}
	}
	t.Run("when it was last heard of is written now and then, and at the end", func(t *testing.T) {
		b.wait(b.send("g1", "sensors/g1/t2/data", sample(20), at(20)))
		if got := is("g1"); got != "online 12:00:09 -5500" && got != "online 12:00:20 -5500" {
			t.Errorf("got %q", got)
		}
		b.wait(b.send("g1", "sensors/g1/t2/data", sample(21), at(21)))
		b.stop()
		if got := is("g1"); got != "online 12:00:21 -5500" {
			t.Errorf("got %q", got)
		}
	})
	var said []string
	for _, c := range b.committed {
		for _, p := range c.Presence {
			if p.GatewayID == 1 {
				said = append(said, p.Status)
			}
		}
	}
	if got, want := strings.Join(said, " "), "online offline online offline online"; got != want {
		t.Errorf("notified: got %s, want %s", got, want)
	}
}

func TestPresence_SeveralStatusesInOneTransaction(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	release := b.hold()
	defer release()
	b.send("g1", "sensors/g1/t2/data", sample(0), noon) // occupies the lane
	var last <-chan ingest.Receipt
	for _, payload := range []string{
		`{"status":"online"}`, `{"status":"offline"}`, `{"status":"online"}`,
		`{"status":"offline"}`,
	} {
		last = b.send("g1", "gateways/g1/status", payload, noon)
	}
	release()
	b.wait(last)
	if got := scan[string](t, b.db, `SELECT status FROM gateways WHERE key = 'g1'`); got != "offline" {
		t.Errorf("got %s", got)
	}
}

func TestCatalog_IsUpToDate(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	publish := func(gateway, sensor string) string {
		t.Helper()
		r := b.publish(gateway, "sensors/"+gateway+"/"+sensor+"/data",
			fmt.Sprintf(`{"value":1,"timestamp":%d}`, noon.UnixMilli()-rand.Int64N(1e9)))
		reason, _, _ := strings.Cut(r.Text, ":")
		return reason
	}
	becomes := func(gateway, sensor, want string) {
		t.Helper()
		until(t, gateway+"/"+sensor+" becomes "+want,
			func() bool { return publish(gateway, sensor) == want })
	}
	if got := publish("g1", "fresh"); got != "unknown_sensor" {
		t.Errorf("got %q", got)
	}
	fresh := b.sensor(1, "fresh", nil)
	if got := publish("g1", "fresh"); got != "" {
		t.Errorf("registered a moment ago: got %q", got)
	}
	if got := publish("new", "s"); got != "unknown_gateway" {
		t.Errorf("got %q", got)
	}
	id := b.gateway("new")
	b.sensor(id, "s", nil)
	if got := publish("new", "s"); got != "" {
		t.Errorf("a gateway registered a moment ago: got %q", got)
	}
	change := func(c store.SensorChange) {
		t.Helper()
		if _, err := b.store.UpdateSensor(t.Context(), fresh, 0, c); err != nil {
			t.Fatal(err)
		}
	}
	change(store.SensorChange{IsActive: ptr(false)})
	becomes("g1", "fresh", "inactive")
	change(store.SensorChange{IsActive: ptr(true)})
	becomes("g1", "fresh", "")
	change(store.SensorChange{Key: ptr("renamed")})
	becomes("g1", "fresh", "unknown_sensor")
	becomes("g1", "renamed", "")
	if _, err := b.store.DeleteSensor(t.Context(), fresh, 0, false); err != nil {
		t.Fatal(err)
	}
	becomes("g1", "renamed", "unknown_sensor")
	if _, err := b.store.UpdateGateway(t.Context(), id, 0,
		store.GatewayChange{IsActive: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	becomes("new", "s", "inactive")
	if _, err := b.store.UpdateGateway(t.Context(), id, 0,
		store.GatewayChange{IsActive: ptr(true), Key: ptr("newer")}); err != nil {
		t.Fatal(err)
	}
	becomes("new", "s", "unknown_gateway")
	becomes("newer", "s", "")
	if _, err := b.store.DeleteGateway(t.Context(), id, 0, true, false); err != nil {
		t.Fatal(err)
	}
	becomes("newer", "s", "unknown_gateway")
	t.Run("a range that is changed counts at once", func(t *testing.T) {
		n := 0
		quality := func() string {
			n++
			b.publish("g1", t1,
				fmt.Sprintf(`{"value":50,"timestamp":%d}`, noon.UnixMilli()+int64(n)))
			return scan[string](t, b.db,
				`SELECT quality::text FROM sensor_data WHERE sensor_id = $1 ORDER BY timestamp DESC LIMIT 1`, b.id("t1"))
		}
		if got := quality(); got != "0" {
			t.Errorf("got %s", got)
		}
		if _, err := b.db.Exec(`UPDATE sensors SET max_value = 40 WHERE key = 't1'`); err != nil {
			t.Fatal(err)
		}
		until(t, "50 is outside", func() bool { return quality() == "1" })
	})
	t.Run("a gateway that takes another's id as its key is the one that is meant",
		func(t *testing.T) {
			if got := b.publish("g2", "sensors/2/u1/data", sample(1)); got.Accepted != 1 {
				t.Errorf("got %+v", got)
			}
			two := b.gateway("2")
			b.sensor(two, "w", nil)
			until(t, "the key counts",
				func() bool { return b.publish("2", "sensors/2/w/data", `{"value":1}`).Code == 0 })
		})
}

// TestDatabaseRefusal_IsRecorded has the database refuse what passed every check.
func TestDatabaseRefusal_IsRecorded(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	if _, err := b.db.Exec(`ALTER TABLE sensor_data ADD CONSTRAINT lucky CHECK (value <> 13)`); err != nil {
		t.Fatal(err)
	}
	release := b.hold()
	defer release()
	first := b.send("g1", "sensors/g1/t2/data", sample(0), noon)
	var receipts []<-chan ingest.Receipt
	for n := range 30 {
		receipts = append(receipts, b.send("g1", "sensors/g1/t2/data", sample(n), noon))
	}
	release()
	b.wait(first)
	for n, done := range receipts {
		r := b.wait(done)
		if want := 0; n == 13 &&
			(r.Code != 0x83 || !strings.HasPrefix(r.Text, "database_refused")) || n != 13 &&
			r.RejectedTotal != want {
			t.Errorf("%d: got %+v", n, r)
		}
	}
	if n := scan[int](t, b.db, `SELECT count(*) FROM sensor_data`); n != 29 {
		t.Errorf("stored: got %d, want 29", n)
	}
	if got := b.refused(); got != "g1 sensors/g1/t2/data database_refused 1" {
		t.Errorf("refused: got %s", got)
	}
	results, err := b.Write(t.Context(),
		[]store.Reading{{SensorID: b.id("t2"), Value: 13}, {SensorID: b.id("t1"), Value: 1}})
	if err != nil || len(results) != 2 || results[0].Outcome != store.Rejected ||
		results[1].Outcome != store.Rejected {
		t.Errorf("by HTTP: got %+v, %v", results, err)
	}
}

func TestConfig_NamesEveryInvalidSetting(t *testing.T) {
	if err := ingest.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := ingest.Config{BatchRows: 1e6, Linger: -1, MaxAhead: -1}.Validate()
	for _, want := range []string{
		"OEI_INGEST_COMMITTERS: 0 is", "OEI_INGEST_BATCH_ROWS: 1000000 is",
		"OEI_INGEST_LINGER: -1ns is", "OEI_INGEST_MAX_PAYLOAD: 0 is",
		"OEI_INGEST_MAX_BYTES: 0 holds",
		"OEI_INGEST_MAX_AGE: 0s is", "OEI_INGEST_MAX_AHEAD: -1ns is out of range; use 0s to 24h",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %s", err, want)
		}
	}
}

// TestIdentity_IsTheGatewayID is a key that is given to another gateway while a connection that
// began under it is still open.
func TestIdentity_IsTheGatewayID(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	const topic = "sensors/g1/t1/data"
	// too old, but looked up
	if r := b.publish("g1", topic, `{"value":1,"timestamp":1}`); r.Text == "" || r.RejectedTotal != 1 {
		t.Fatalf("got %+v", r)
	}
	former := b.gateways["g1"]
	if _, err := b.store.UpdateGateway(t.Context(), former, 0,
		store.GatewayChange{Key: ptr("g1-old")}); err != nil {
		t.Fatal(err)
	}
	heir := b.gateway("g1")
	sensor := b.sensor(heir, "t1", nil)
	publish := func(gateway int64, topic, payload string) ingest.Receipt {
		done := make(chan ingest.Receipt, 1)
		m := ingest.Message{
			Topic:     topic,
			Payload:   []byte(payload),
			GatewayID: gateway,
			Gateway:   "g1",
			Received:  noon,
			Done:      func(r ingest.Receipt) { done <- r },
		}
		if err := b.Submit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		return b.wait(done)
	}
	if r := publish(heir, topic, `{"value":7}`); r.Accepted != 1 {
		t.Errorf("the gateway that has the key: got %+v", r)
	}
	const lost = `not_owner: key "g1" belongs to another gateway since the login of the publisher`
	if r := publish(former, topic, `{"value":8}`); r.Code != 0x87 || r.Text != lost {
		t.Errorf("the gateway that had it: got %+v", r)
	}
	if r := publish(former, "gateways/g1/status", `{"status":"offline"}`); r.Code != 0x87 {
		t.Errorf("a status of the gateway that had it: got %+v", r)
	}
	if r := publish(former, "gateways/"+fmt.Sprint(former)+"/status", `{"status":"offline"}`); r.Accepted != 1 {
		t.Errorf("a status of its own: got %+v", r)
	}
	const q = `SELECT string_agg(format('%s %s %s', gateway_id, gateway, reason), E'\n' ORDER BY id) FROM rejections WHERE reason = 'not_owner'`
	if got, want := scan[string](t, b.db, q), strings.Repeat(fmt.Sprintf("%d g1-old not_owner\n",
		former), 2); got+"\n" != want {
		t.Errorf("recorded: got %q, want %q", got, want)
	}
	const values = `SELECT string_agg(format('%s %s', sensor_id, value), ' ') FROM sensor_data`
	if got, want := scan[string](t, b.db, values), fmt.Sprintf("%d 7", sensor); got != want {
		t.Errorf("stored: got %q, want %q", got, want)
	}
}
