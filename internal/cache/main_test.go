package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/redistest"
	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/store"
)

func TestMain(m *testing.M) {
	pgtest.Template(func(dsn string) error {
		_, _, err := store.Migrate(context.Background(), dsn)
		return err
	})
	pgtest.Main(m)
}

// world is a database with rollups and a Redis, which instances share.
type world struct {
	t     *testing.T
	db    *sql.DB
	dsn   string
	redis *redistest.Server
	ctx   context.Context // ends with the test, before the database
	runs  *sync.WaitGroup
	store *store.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t:     t,
		dsn:   pgtest.DSN(t) + " synchronous_commit=on",
		redis: redistest.Start(t),
		runs:  &sync.WaitGroup{},
	}
	var err error
	if w.db, err = sql.Open("postgres", w.dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.db.Close() })
	w.store = w.open()
	var stop func()
	w.ctx, stop = context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(func() { stop(); w.runs.Wait() })
	if _, err := w.store.PrepareRollups(t.Context()); err != nil {
		t.Fatal(err)
	}
	g, err := w.store.CreateGateway(t.Context(),
		store.Gateway{Key: "g", Name: "g", IsActive: true, Metadata: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		v := store.Sensor{
			GatewayID: g.ID,
			Key:       fmt.Sprint(i),
			Name:      "x",
			Type:      "x",
			IsActive:  true,
			Tags:      "{}",
		}
		if _, err := w.store.CreateSensor(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.write(4, 0, 0); err != nil { // creates the partition
		t.Fatal(err)
	}
	w.rollUp(w.ctx)
	w.runs.Go(func() {
		for w.ctx.Err() == nil {
			w.rollUp(w.ctx)
			time.Sleep(50 * time.Millisecond)
		}
	})
	return w
}

func (w *world) rollUp(ctx context.Context) {
	if _, _, err := w.store.RollUp(ctx, 100); err != nil && ctx.Err() == nil {
		w.t.Errorf("roll up: %v", err)
	}
}

func (w *world) open() *store.Store {
	w.t.Helper()
	st, err := store.Open(w.t.Context(), w.dsn, store.DefaultConfig(),
		slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = st.Close() })
	return st
}

// instance is a cache with its own connections.
type instance struct {
	*Cache
	w     *world
	store *store.Store
}

func (w *world) instance() *instance {
	w.t.Helper()
	in := &instance{w: w, store: w.open()}
	var err error
	if in.Cache, err = New(DefaultConfig(), w.redis.URL(), in.store.Changes,
		slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err != nil {
		w.t.Fatal(err)
	}
	in.every = 50 * time.Millisecond
	if in.redis, err = newRedis(w.redis.URL(), 200*time.Millisecond, in.log); err != nil {
		w.t.Fatal(err)
	}
	w.runs.Go(func() {
		if err := in.Run(w.ctx); err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
	return in
}

// ask returns how many readings sensor has in the hours from..to after noon, and the greatest
// value: "2 21.5"; "none" without the sensor.
func (in *instance) ask(sensor int64, from, to int) string {
	in.w.t.Helper()
	q := *hours(from, to)
	q.Sensors = []int64{sensor}
	copy(q.Key[:], fmt.Sprint(sensor, from, to))
	got, err := in.Get(in.w.t.Context(), q, func(ctx context.Context) (Answer, error) {
		if truth := in.w.truth(ctx, sensor, from, to); truth != "none" {
			return text(truth), nil
		}
		return Answer{}, store.ErrNotFound
	})
	if errors.Is(err, store.ErrNotFound) {
		return "none"
	}
	if err != nil {
		in.w.t.Errorf("ask: %v", err)
	}
	return string(got.Body)
}

// truth is what ask has to return, by the readings.
func (w *world) truth(ctx context.Context, sensor int64, from, to int) (answer string) {
	q := hours(from, to)
	const count = `
		SELECT CASE WHEN EXISTS (SELECT FROM sensors WHERE id = $1) THEN count(*) || ' ' ||
		coalesce(max(value), 0) ELSE 'none' END
		FROM sensor_data
		WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3`
	if err := w.db.QueryRowContext(ctx, count, sensor, q.From, q.To).Scan(&answer); err != nil &&
		ctx.Err() == nil {
		w.t.Errorf("count: %v", err)
	}
	return answer
}

// hits waits until an answer about sensor comes from memory or from redis. For redis it clears the
// memory.
func (in *instance) hits(from string, sensor int64) {
	in.w.t.Helper()
	before := in.counted(from)
	testutil.Eventually(in.w.t, testutil.Timeout, "an answer from "+from, func() bool {
		if from == "redis" {
			in.forget()
		}
		in.ask(sensor, 0, 24)
		return in.counted(from) > before
	})
}

// forget clears the memory.
func (in *instance) forget() { in.memory = newMemory(in.cfg.Bytes, in.metrics) }

// write stores a reading some minutes after noon.
func (w *world) write(sensor int64, minute int, value float64) error {
	at := noon.Add(time.Duration(minute) * time.Minute)
	r := store.Reading{SensorID: sensor, Timestamp: at, Received: at, Value: value}
	_, err := w.store.Write(w.t.Context(), []store.Reading{r},
		store.SideWrites{})
	return err
}
