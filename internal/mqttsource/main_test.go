package mqttsource_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/pgtest"
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

const (
	topic = "sensors/g1/t1/data"
	limit = 2 * time.Minute // how long a test waits for an event
)

var discard = slog.New(slog.DiscardHandler)

// newPipeline runs a pipeline on a database with the sensor t1 of the gateway g1.
func newPipeline(t *testing.T) (*ingest.Pipeline, *sql.DB) {
	t.Helper()
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s, err := store.Open(t.Context(), dsn, store.DefaultConfig(), discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	g, err := s.CreateGateway(t.Context(),
		store.Gateway{Key: "g1", Name: "g1", IsActive: true, Metadata: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateSensor(t.Context(), store.Sensor{
		GatewayID: g.ID,
		Key:       "t1",
		Name:      "t1",
		Type:      "temperature",
		IsActive:  true,
		Tags:      "{}",
	}); err != nil {
		t.Fatal(err)
	}
	p := ingest.New(ingest.DefaultConfig(), s, func(ingest.Committed) {}, discard,
		prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, 10*time.Second) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("pipeline: %v", err)
		}
	})
	return p, db
}

// count waits until query counts want rows.
func count(t *testing.T, db *sql.DB, query string, want int) {
	t.Helper()
	testutil.Eventually(t, testutil.Timeout, fmt.Sprintf("%s is %d", query, want), func() bool {
		var got int
		if err := db.QueryRowContext(t.Context(), query).Scan(&got); err != nil {
			t.Fatal(err)
		}
		return got == want
	})
}

// reading is a payload whose timestamp is n milliseconds from a fixed instant.
func reading(n int) string {
	noon := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	return fmt.Sprintf(`{"value":%d,"timestamp":%d}`, n, noon.UnixMilli()+int64(n))
}

// documented returns the code block of the documentation that begins with the comment name.
func documented(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations/mosquitto.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```conf\n# "+name+"\n")
	block, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatalf("docs/operations/mosquitto.md has no %s", name)
	}
	return block
}
