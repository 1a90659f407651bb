package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

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

// durable is a parameter that Open requires, and that the server of the tests does not have.
const durable = " synchronous_commit=on"

// open opens a store on a fresh database.
func open(t testing.TB) *store.Store {
	t.Helper()
	s, _ := openRaw(t)
	return s
}

// openRaw is open with a connection to the same database that does not go through the store.
func openRaw(t testing.TB) (*store.Store, *sql.DB) {
	t.Helper()
	dsn := pgtest.DSN(t) + durable
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return openAt(t, dsn), db
}

func openAt(t testing.TB, dsn string) *store.Store {
	t.Helper()
	return openWith(t, dsn, func(*store.Config) {})
}

func openWith(t testing.TB, dsn string, set func(*store.Config)) *store.Store {
	t.Helper()
	cfg := store.DefaultConfig()
	cfg.Partition = "day" // tests rely on the names
	set(&cfg)
	s, err := store.Open(t.Context(), dsn, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// addGateway adds an active gateway.
func addGateway(t testing.TB, s *store.Store, key string) store.Gateway {
	t.Helper()
	g, err := s.CreateGateway(t.Context(),
		store.Gateway{Key: key, Name: key, IsActive: true, Metadata: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// addSensor adds an active sensor.
func addSensor(t testing.TB, s *store.Store, gateway int64, key string) store.Sensor {
	t.Helper()
	v, err := s.CreateSensor(t.Context(),
		store.Sensor{
			GatewayID: gateway,
			Key:       key,
			Name:      key,
			Type:      "temperature",
			IsActive:  true,
			Tags:      "{}",
		})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// noon is near the timestamps of the readings in these tests.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// reading returns a good reading, minute minutes after noon.
func reading(sensor int64, minute int, value float64) store.Reading {
	at := noon.Add(time.Duration(minute) * time.Minute)
	return store.Reading{
		SensorID:  sensor,
		Timestamp: at,
		Received:  at.Add(time.Second),
		Value:     value,
	}
}

// write writes rs and returns their outcomes, such as "[stored duplicate]".
func write(t testing.TB, s *store.Store, rs ...store.Reading) string {
	t.Helper()
	res, err := s.Write(t.Context(), rs, store.SideWrites{})
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	return words(res.Outcomes)
}

// words formats outcomes, such as "[stored duplicate]".
func words(outcomes []store.Outcome) string {
	list := make([]string, len(outcomes))
	for i, o := range outcomes {
		list[i] = o.String()
	}
	return fmt.Sprint(list)
}

// all returns every reading of the sensors, oldest first.
func all(t testing.TB, s *store.Store, sensors ...int64) []store.Reading {
	t.Helper()
	rs, err := s.Readings(t.Context(),
		store.ReadingsQuery{Sensors: sensors, Ascending: true, Limit: 1e6})
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// line formats what tests compare of a reading.
func line(r store.Reading) string {
	return fmt.Sprintf("%d %s %v %v %#x", r.SensorID, r.Timestamp.UTC().Format(time.RFC3339Nano),
		r.Value, r.Quality, r.StatusCode)
}

func lines(rs []store.Reading) []string {
	out := make([]string, len(rs))
	for i, r := range rs {
		out[i] = line(r)
	}
	return out
}

// isError fails the test if err is not want; nil: no error.
func isError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error: got %v, want %v", err, want)
	}
}

// ok ends the test if err is not nil.
func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rounds returns how often to repeat a race: n, or five times OEI_FAULT_ROUNDS if that is set.
func rounds(t *testing.T, n int) int {
	t.Helper()
	if s := os.Getenv("OEI_FAULT_ROUNDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("OEI_FAULT_ROUNDS: %v", err)
		}
		n *= 5
	}
	return n
}

func ptr[T any](v T) *T { return &v }

// scan reads one value without the store.
func scan[T any](t testing.TB, db *sql.DB, q string, args ...any) (v T) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), q, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return v
}

// run executes q without the store.
func run(t testing.TB, db *sql.DB, q string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), q, args...); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
}
