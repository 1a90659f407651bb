package pgtest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/postgres"
)

// Instance is a durable PostgreSQL server of one test, which may kill and stop it. Its methods fail
// the test on errors; call them from the test's goroutine.
type Instance struct {
	t       testing.TB
	cfg     postgres.Config
	cluster *postgres.Cluster // nil while stopped
	dsn     string
}

// Server starts an Instance with the schema of Template, and stops it at the end of the test.
func Server(t testing.TB) *Instance {
	t.Helper()
	s := &Instance{t: t, cfg: postgres.Config{DataDir: Dir(t)}}
	s.Start()
	t.Cleanup(s.Stop)
	if shared.prepare != nil {
		if err := shared.prepare(s.dsn); err != nil {
			t.Fatalf("pgtest: prepare the server: %v", err)
		}
	}
	return s
}

// DSN returns the address of the database, which stays the same after Kill, Stop and Start.
func (s *Instance) DSN() string { return s.dsn }

// Start starts the server after Stop and waits until it answers.
func (s *Instance) Start() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cluster, err := postgres.Start(ctx, s.cfg, slog.New(slog.NewTextHandler(s.t.Output(), nil)))
	if err != nil {
		s.t.Fatalf("pgtest: this test needs PostgreSQL: %v", err)
	}
	s.cluster, s.dsn = cluster, cluster.DSN(postgres.Database)
}

// Stop shuts the server down, after resuming a paused one.
func (s *Instance) Stop() {
	s.t.Helper()
	if s.cluster == nil {
		return
	}
	s.Resume()
	if err := s.cluster.Stop(context.Background()); err != nil {
		s.t.Errorf("pgtest: stop: %v", err)
	}
	s.cluster = nil
}

// Pids returns the server's processes; on systems other than Linux only the first.
func (s *Instance) Pids() []int {
	if s.cluster == nil {
		return nil
	}
	return s.cluster.Pids()
}

// Kill sends SIGKILL to all processes of the server. The cluster's supervisor restarts it.
func (s *Instance) Kill() {
	s.t.Helper()
	s.signal(s.Pids(), os.Kill)
}

// Pause stops all processes of the server until Resume: connections stay open and get no answers.
func (s *Instance) Pause() {
	s.t.Helper()
	var paused []int
	for {
		running := slices.DeleteFunc(s.Pids(),
			func(pid int) bool { return slices.Contains(paused, pid) })
		if len(running) == 0 {
			return
		}
		s.signal(running, pause) // a process that still runs may have started another meanwhile
		paused = append(paused, running...)
	}
}

// Resume continues the processes.
func (s *Instance) Resume() {
	s.t.Helper()
	s.signal(s.Pids(), resume)
}

// signal sends sig to those of pids that still exist.
func (s *Instance) signal(pids []int, sig os.Signal) {
	s.t.Helper()
	for _, pid := range pids {
		p, err := os.FindProcess(pid)
		if err == nil {
			err = errors.Join(p.Signal(sig), p.Release())
		}
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			s.t.Errorf("pgtest: %v to %d: %v", sig, pid, err)
		}
	}
}
