// Package pgtest gives tests a real PostgreSQL: a fresh database each, or a server of their own to
// kill.
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

	_ "github.com/lib/pq" // the driver that makes and drops databases
	"go.uber.org/goleak"

	"github.com/oei-ms/oei-ms/internal/postgres"
)

// Main runs a package's tests and ends the process. It stops the server that they shared, and fails
// them when a goroutine is left then. The server starts with the first test that asks for a
// database.
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

// Template has prepare make the schema that every database of DSN and Server begins with; call it
// before Main. It runs once for all the databases of DSN. Its connections must be closed when it
// returns.
func Template(prepare func(dsn string) error) { shared.prepare = prepare }

// DSN returns a fresh database with the schema of Template, dropped at the end of the test.
// It is safe to call from parallel tests.
func DSN(t testing.TB) string {
	t.Helper()
	return shared.fresh(t, templateDatabase)
}

// Empty is DSN without the schema.
func Empty(t testing.TB) string {
	t.Helper()
	return shared.fresh(t, "template0")
}

// templateDatabase has the schema of Template.
const templateDatabase = "template_oei_ms"

var shared sharedServer

// sharedServer is the one server of a test binary.
type sharedServer struct {
	served  bool                   // Main is there to stop it
	prepare func(dsn string) error // nil: an empty schema

	// held over CREATE DATABASE too: PostgreSQL lets nobody else use a template meanwhile
	mu      sync.Mutex
	dir     string // "" until the first start
	err     error  // of the first start
	cluster *postgres.Cluster
	admin   *sql.DB
	made    int // databases so far
}

// fresh makes a copy of template for the time of the test.
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
	s.made++
	name := fmt.Sprintf("test_%d", s.made)
	if _, err := s.admin.Exec("CREATE DATABASE " + name + " TEMPLATE " + template); err != nil {
		t.Fatalf("pgtest: make a database: %v", err)
	}
	t.Cleanup(func() {
		if _, err := s.admin.Exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("pgtest: drop the database: %v", err)
		}
	})
	return s.cluster.DSN(name)
}

// start starts the server and makes the template; stop must follow also when it fails.
func (s *sharedServer) start() (err error) {
	if s.dir, err = makeDir(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if s.cluster, err = postgres.Start(ctx, postgres.Config{DataDir: s.dir, Ephemeral: true}, log); err != nil {
		return err
	}
	if s.admin, err = sql.Open("postgres", s.cluster.DSN("postgres")); err != nil {
		return err
	}
	if _, err := s.admin.ExecContext(ctx, "CREATE DATABASE "+templateDatabase); err != nil {
		return fmt.Errorf("make the template: %w", err)
	}
	if s.prepare == nil {
		return nil
	}
	if err := s.prepare(s.cluster.DSN(templateDatabase)); err != nil {
		return fmt.Errorf("prepare the template: %w", err)
	}
	return nil
}

// stop ends the server, if it was started, and removes its data.
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
