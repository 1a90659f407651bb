package pgtest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

var prepared atomic.Int32

func TestMain(m *testing.M) {
	Template(func(dsn string) error {
		prepared.Add(1)
		db, err := sql.Open("postgres", dsn)
		if err != nil {
			return err
		}
		defer db.Close()
		_, err = db.Exec("CREATE TABLE numbers (n int)")
		return err
	})
	Main(m)
}

func TestDSN_IsAFreshDatabase(t *testing.T) {
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			dsn := DSN(t)
			t.Logf("created in %v", time.Since(began).Round(time.Millisecond))
			db := open(t, dsn)
			if n := add(t, db); n != 1 {
				t.Errorf("rows: got %d, want 1", n)
			}
		})
	}
	t.Run("the template is prepared once", func(t *testing.T) {
		DSN(t)
		before := prepared.Load() // Server calls prepare, too
		DSN(t)
		if n := prepared.Load() - before; before == 0 || n != 0 {
			t.Errorf("got %d times, then %d more", before, n)
		}
	})
}

func TestDSN_IsDroppedAfterTheTest(t *testing.T) {
	var dsn string
	t.Run("a test that leaves a connection open", func(t *testing.T) {
		dsn = DSN(t)
		db := open(t, dsn)
		if _, err := db.Exec("SELECT 1"); err != nil {
			t.Fatal(err)
		}
	})
	if err := open(t, dsn).Ping(); err == nil {
		t.Error("the database still exists")
	}
}

func TestEmpty_HasNoTables(t *testing.T) {
	var n int
	const q = `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`
	if err := open(t, Empty(t)).QueryRow(q).Scan(&n); err != nil || n != 0 {
		t.Errorf("tables: got %d, %v, want 0", n, err)
	}
}

func TestServer_AnswersAfterKillPauseAndStop(t *testing.T) {
	s := Server(t)
	db, dsn := open(t, s.DSN()), s.DSN()
	add(t, db)
	steps := []struct {
		name   string
		damage func()
		repair func()
		stays  bool // unavailable until repair
	}{
		{"killed", s.Kill, func() {}, false},
		{"paused", s.Pause, s.Resume, true},
		{"stopped", s.Stop, s.Start, true},
		{"paused, then stopped", func() { s.Pause(); s.Stop() }, s.Start, true},
	}
	for i, step := range steps {
		step.damage()
		answered := make(chan error, 1)
		go func() { answered <- db.Ping() }() // lib/pq may wait until the repair
		select {
		case err := <-answered:
			if err == nil && step.stays {
				t.Errorf("%s: the server answers", step.name)
			}
			answered <- nil
		case <-time.After(300 * time.Millisecond):
		}
		step.repair()
		<-answered
		if err := waitForAnswer(t, db, 10*time.Second); err != nil {
			t.Errorf("%s: no answer: %v", step.name, err)
		}
		if got, want := add(t, db), i+2; got != want {
			t.Errorf("%s: rows: got %d, want %d", step.name, got, want)
		}
		if s.DSN() != dsn {
			t.Errorf("%s: DSN: got %s, want %s", step.name, s.DSN(), dsn)
		}
	}
}

func TestDir_RemovesThoseOfKilledProcesses(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dead := filepath.Join(os.TempDir(), dirPrefix+"99999999-1")
	if err := os.MkdirAll(dead, 0o700); err != nil {
		t.Fatal(err)
	}
	mine, again := Dir(t), Dir(t)
	for dir, want := range map[string]bool{dead: false, mine: true, again: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s exists: got %v, want %v", filepath.Base(dir), err == nil, want)
		}
	}
}

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// add inserts a row and returns the number of rows.
func add(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	if _, err := db.Exec("INSERT INTO numbers VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRow("SELECT count(*) FROM numbers").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// waitForAnswer waits until the database answers.
func waitForAnswer(t *testing.T, db *sql.DB, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		pingCtx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		err := db.PingContext(pingCtx)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
