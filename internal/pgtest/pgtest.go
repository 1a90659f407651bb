// Package pgtest gives tests a real PostgreSQL: a fresh database for each test, or a server that
// the test may kill.
package pgtest

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver that creates and drops databases
	"go.uber.org/goleak"

	"github.com/oei-ms/oei-ms/internal/postgres"
)

// Main runs a package's tests and ends the process. The tests share a server, which starts when the
// first test needs a database. Main stops it, and fails if a goroutine still runs then.
//
//	func TestMain(m *testing.M) {
//		pgtest.Template(migrate)
//		pgtest.Main(m)
//	}
func Main(m *testing.M, options ...goleak.Option) {
	shared.served = true
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(options...); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest: after the tests:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Template sets prepare, which creates the schema that each database of DSN and Server begins with;
// call it before Main. It runs once for all databases of DSN. It must close its connections.
func Template(prepare func(dsn string) error) { shared.prepare = prepare }

// DSN returns a fresh database with the schema of Template, and drops it at the end of the test.
// Parallel tests may call it.
func DSN(t testing.TB) string {
	t.Helper()
	return shared.fresh(t, templateDatabase)
}

// Empty is DSN without a schema.
func Empty(t testing.TB) string {
	t.Helper()
	return shared.fresh(t, "template0")
}

// templateDatabase has the schema of Template.
const templateDatabase = "template_oei_ms"

var shared sharedServer

// sharedServer is the one server of a test binary.
type sharedServer struct {
	served  bool                   // Main was called and stops it
	prepare func(dsn string) error // nil: no schema

	// held during CREATE DATABASE, too: it needs the template for itself
	mu      sync.Mutex
	dir     string // "" until the first start
	err     error  // of the first start
	cluster *postgres.Cluster
	admin   *sql.DB
	created int // databases so far
}

// fresh creates a copy of template and drops it at the end of the test.
func (s *sharedServer) fresh(t testing.TB, template string) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.served {
		t.Fatal("pgtest: this package's TestMain must call pgtest.Main")
	}
	if s.dir == "" && s.err == nil {
		s.err = s.start()
	}
	if s.err != nil {
		t.Fatalf("pgtest: this test needs PostgreSQL: %v", s.err)
	}
	s.created++
	name := fmt.Sprintf("test_%d", s.created)
	if _, err := s.admin.Exec("CREATE DATABASE " + name + " TEMPLATE " + template); err != nil {
		t.Fatalf("pgtest: create a database: %v", err)
	}
	t.Cleanup(func() {
		if _, err := s.admin.Exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("pgtest: drop the database: %v", err)
		}
	})
	return s.cluster.DSN(name)
}

// start starts the server and creates the template; call stop even if it fails.
func (s *sharedServer) start() (err error) {
	if s.dir, err = makeDir(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg := postgres.Config{DataDir: s.dir, Ephemeral: true}
	if s.cluster, err = postgres.Start(ctx, cfg, log); err != nil {
		return err
	}
	if s.admin, err = sql.Open("postgres", s.cluster.DSN("postgres")); err != nil {
		return err
	}
	if _, err := s.admin.ExecContext(ctx, "CREATE DATABASE "+templateDatabase); err != nil {
		return fmt.Errorf("create the template: %w", err)
	}
	if s.prepare == nil {
		return nil
	}
	if err := s.prepare(s.cluster.DSN(templateDatabase)); err != nil {
		return fmt.Errorf("prepare the template: %w", err)
	}
	return nil
}

// stop stops the server, if it was started, and removes its data.
func (s *sharedServer) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.admin != nil {
		s.admin.Close()
	}
	if s.cluster != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.cluster.Stop(ctx); err != nil {
			return err
		}
	}
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}
