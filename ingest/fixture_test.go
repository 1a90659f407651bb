package ingest_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

func TestMain(m *testing.M) {
	pgtest.Template(func(dsn string) error {
		_, _, err := store.Migrate(context.Background(), dsn)
		return err
	})
	pgtest.Main(m)
}

// noon is when every message of these tests arrives, if they do not say otherwise.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// testPipeline is a running pipeline on a database with two gateways.
type testPipeline struct {
	*ingest.Pipeline
	t     testing.TB
	dsn   string
	db    *sql.DB // a connection of the test's own
	store *store.Store
	reg   *prometheus.Registry
	stop  func() // stops the pipeline and waits for it

	mu        sync.Mutex
	committed []ingest.Committed
	names     map[int64]string // of the sensors
	gateways  map[string]int64 // ids by key at the beginning
}

// limit is how long a test waits for an event.
const limit = 2 * time.Minute

func newTestPipeline(t testing.TB, cfg ingest.Config) *testPipeline {
	t.Helper()
	return newTestPipelineAt(t, cfg, pgtest.DSN(t)+" synchronous_commit=on")
}

func newTestPipelineAt(t testing.TB, cfg ingest.Config, dsn string) *testPipeline {
	t.Helper()
	return newTestPipelineWith(t, cfg, dsn, store.DefaultConfig())
}

func newTestPipelineWith(
	t testing.TB, cfg ingest.Config, dsn string, storeConfig store.Config,
) *testPipeline {
	t.Helper()
	b := &testPipeline{
		t:        t,
		dsn:      dsn,
		names:    map[int64]string{},
		gateways: map[string]int64{"g8": 88},
		reg:      newRegistry(),
	}
	var err error
	if b.db, err = sql.Open("postgres", dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.db.Close() })
	if b.store, err = store.Open(t.Context(), dsn, storeConfig, discard); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.store.Close() })
	g1, g2, idle := b.gateway("g1"), b.gateway("g2"), b.gateway("idle")
	b.sensor(g1, "t1", func(s *store.Sensor) { s.MinValue, s.MaxValue = ptr(0.), ptr(100.) })
	b.sensor(g1, "t2", nil)
	b.sensor(g1, "off", func(s *store.Sensor) { s.IsActive = false })
	b.sensor(g2, "u1", nil)
	b.sensor(idle, "i1", nil)
	b.sensor(g1, "week", func(s *store.Sensor) { s.Retention = ptr(7) })
	if _, err := b.store.UpdateGateway(t.Context(), idle, 0,
		store.GatewayChange{IsActive: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	notify := func(c ingest.Committed) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.committed = append(b.committed,
			ingest.Committed{
				Readings: append([]store.Reading(nil), c.Readings...),
				Presence: c.Presence,
			})
	}
	b.Pipeline = ingest.New(cfg, b.store, notify, discard, b.reg)
	b.start(10 * time.Second)
	return b
}

// start runs the pipeline.
func (b *testPipeline) start(grace time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx, grace) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				b.t.Errorf("run: %v", err)
			}
		case <-time.After(2 * limit):
			b.t.Error("the pipeline does not stop")
		}
	})
	b.t.Cleanup(b.stop)
}

func (b *testPipeline) gateway(key string) int64 {
	b.t.Helper()
	g, err := b.store.CreateGateway(b.t.Context(),
		store.Gateway{Key: key, Name: key, IsActive: true, Metadata: "{}"})
	if err != nil {
		b.t.Fatal(err)
	}
	b.gateways[key] = g.ID
	return g.ID
}

func (b *testPipeline) sensor(gateway int64, key string, change func(*store.Sensor)) int64 {
	b.t.Helper()
	s := store.Sensor{
		GatewayID: gateway,
		Key:       key,
		Name:      key,
		Type:      "temperature",
		IsActive:  true,
		Tags:      "{}",
	}
	if change != nil {
		change(&s)
	}
	s, err := b.store.CreateSensor(b.t.Context(), s)
	if err != nil {
		b.t.Fatal(err)
	}
	b.names[s.ID] = key
	return s.ID
}

// id returns the id of the sensor with this key.
func (b *testPipeline) id(key string) int64 {
	for id, name := range b.names {
		if name == key {
			return id
		}
	}
	b.t.Fatalf("no sensor %q", key)
	return 0
}

// send submits a message and returns where its receipt will be.
func (b *testPipeline) send(as, topic, payload string, received time.Time) <-chan ingest.Receipt {
	b.t.Helper()
	done := make(chan ingest.Receipt, 2)
	m := ingest.Message{
		Topic:     topic,
		Payload:   []byte(payload),
		GatewayID: b.gateways[as],
		Gateway:   as,
		Received:  received,
		Done:      func(r ingest.Receipt) { done <- r },
	}
	if err := b.Submit(b.t.Context(), m); err != nil {
		b.t.Fatalf("submit: %v", err)
	}
	return done
}

// wait waits for a receipt.
func (b *testPipeline) wait(done <-chan ingest.Receipt) ingest.Receipt {
	b.t.Helper()
	select {
	case r := <-done:
		return r
	case <-time.After(limit):
		b.t.Fatal("no receipt")
		return ingest.Receipt{}
	}
}

// publish sends a message that arrives at noon and waits for its receipt.
func (b *testPipeline) publish(as, topic, payload string) ingest.Receipt {
	b.t.Helper()
	return b.wait(b.send(as, topic, payload, noon))
}

// stored is every reading, one a line: sensor, instant, value, quality, status code.
func (b *testPipeline) stored() string {
	b.t.Helper()
	rs, err := b.store.Readings(b.t.Context(),
		store.ReadingsQuery{Sensors: ids(b.names), Ascending: true, Limit: 1e6})
	if err != nil {
		b.t.Fatal(err)
	}
	var lines []string
	for _, r := range rs {
		lines = append(lines, b.line(r))
	}
	return strings.Join(lines, "\n")
}

func (b *testPipeline) line(r store.Reading) string {
	line := fmt.Sprintf("%s %s %v %v", b.names[r.SensorID],
		r.Timestamp.UTC().Format("2006-01-02T15:04:05.999999"), r.Value, r.Quality)
	if r.StatusCode != 0 {
		line += fmt.Sprintf(" %#08x", r.StatusCode)
	}
	return line
}

// recorded returns every rejection, one a line: gateway, topic, reason, count.
func (b *testPipeline) recorded() string {
	b.t.Helper()
	const q = `
		SELECT coalesce(string_agg(
			format('%s %s %s %s', gateway, topic, reason, count), E'\n' ORDER BY id), '')
		FROM rejections`
	return scan[string](b.t, b.db, q)
}

func scan[T any](t testing.TB, db *sql.DB, q string, args ...any) (v T) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), q, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return v
}

func ids(names map[int64]string) (ids []int64) {
	for id := range names {
		ids = append(ids, id)
	}
	return ids
}

func ptr[T any](v T) *T { return &v }

var discard = slog.New(slog.DiscardHandler)

func newRegistry() *prometheus.Registry { return prometheus.NewRegistry() }

// waitingTransactions counts transactions of the pipeline that wait for a lock.
const waitingTransactions = `
	SELECT count(*)
	FROM pg_stat_activity
	WHERE application_name = 'oei-ms ingest' AND wait_event_type = 'Lock'`

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
