package store_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

func TestStore_FailsWhileServerHangs(t *testing.T) {
	server := pgtest.Server(t)
	cfg := store.DefaultConfig()
	cfg.StatementTimeout = 200 * time.Millisecond
	s, err := store.Open(t.Context(), server.DSN(), cfg, slog.New(slog.DiscardHandler))
	ok(t, err)
	defer s.Close()
	g := addGateway(t, s, "g")
	server.Pause()
	began := time.Now()
	_, err = s.Gateway(t.Context(), g.ID)
	isError(t, err, store.ErrUnavailable)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("failed after %v, want less than 5s", took)
	}
	server.Resume()
	_, err = s.Gateway(t.Context(), g.ID)
	ok(t, err)

	server.Stop()
	_, err = s.Gateway(t.Context(), g.ID)
	isError(t, err, store.ErrUnavailable)
	_, err = s.Write(t.Context(), []store.Reading{reading(1, 0, 1)}, store.SideWrites{})
	isError(t, err, store.ErrUnavailable)
	_, err = s.Login(t.Context(), "g", "x")
	isError(t, err, store.ErrUnavailable)
	server.Start()
	if got := write(t, s, reading(1, 0, 1)); got != "[stored]" {
		t.Errorf("got %s", got)
	}

	server.Kill()
	began = time.Now()
	for { // the server is restarted
		_, err = s.Write(t.Context(), []store.Reading{reading(1, 0, 1)}, store.SideWrites{})
		if err == nil {
			break
		}
		if !store.Transient(err) || time.Since(began) > 20*time.Second {
			t.Fatal(err)
		}
	}
}
