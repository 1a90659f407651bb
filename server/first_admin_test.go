package server_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

func TestFirstAdmin_IsCreatedOnce(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	st, err := store.Open(t.Context(), dsn, store.DefaultConfig(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	cfg := auth.DefaultConfig()
	cfg.SecretKey = strings.Repeat("x", 32)
	auth, err := auth.New(cfg, st, quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	created, made, err := auth.FirstAdmin(t.Context())
	if err != nil || !created || len(made) < 20 {
		t.Fatalf("at the first start: got %v, %d characters, %v", created, len(made), err)
	}
	if created, again, err := auth.FirstAdmin(t.Context()); err != nil || created || again != "" {
		t.Errorf("at the second: got %v, %q, %v", created, again, err)
	}
	s := startOn(t, dsn)
	if res := s.tryLogin("admin", made); res.StatusCode != 200 {
		t.Errorf("login: got %d: %s", res.StatusCode, res.body)
	}
	if strings.Contains(s.log.String(), made) {
		t.Error("the password is in the log")
	}
}
