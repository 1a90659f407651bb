package auth

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/redistest"
	"github.com/oei-ms/oei-ms/internal/syncbuf"
	"github.com/oei-ms/oei-ms/store"
)

const password = "a password of tests"

// newTestAuth returns an Auth on dsn with failed logins counted in redis, and its log.
func newTestAuth(t *testing.T, dsn string, redis *redistest.Server) (*Auth, *syncbuf.Buffer) {
	t.Helper()
	text := &syncbuf.Buffer{}
	log := slog.New(slog.NewTextHandler(text, nil))
	st, err := store.Open(t.Context(), dsn, store.DefaultConfig(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	cfg := DefaultConfig()
	cfg.SecretKey = strings.Repeat("x", minSecretKey)
	a, err := New(cfg, st, log, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	limiter, err := newRedisLimiter(redis.URL(), 50*time.Millisecond, log)
	if err != nil {
		t.Fatal(err)
	}
	a.limiter, a.gateways.limiter = limiter, limiter
	t.Cleanup(a.Close)
	return a, text
}

func TestFailedLogins_AreCountedForAllInstancesWhileRedisAnswers(t *testing.T) {
	redis := redistest.Start(t)
	redis.Kill() // it starts later
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	a, text := newTestAuth(t, dsn, redis)
	b, _ := newTestAuth(t, dsn, redis)
	for _, name := range []string{"viewer", "operator", "engineer"} {
		_, err := a.store.CreateUser(t.Context(), store.User{
			Username:     name,
			Email:        name + "@localhost",
			PasswordHash: hashPassword(password),
			Role:         store.Viewer,
			IsActive:     true,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	login := func(a *Auth, username, password string) error {
		_, _, err := a.Login(t.Context(), "192.0.2.1", username, password)
		return err
	}
	fail := func(a *Auth, username string, n int) (last string) {
		t.Helper()
		for range n {
			err := login(a, username, "wrong")
			_, limited := errors.AsType[*TooManyAttemptsError](err)
			switch {
			case limited:
				last = "limited"
			case errors.Is(err, ErrWrongCredentials):
				last = "wrong"
			default:
				t.Fatalf("a wrong password: got %v", err)
			}
		}
		return last
	}
	if got := fail(a, "viewer", 10); got != "wrong" {
		t.Errorf("10 failures before Redis has started: got %s", got)
	}
	if x, y := fail(a, "viewer", 1), fail(b, "viewer", 1); x != "limited" || y != "wrong" {
		t.Errorf("one more, counted by each instance: got %s and %s, want limited and wrong", x, y)
	}
	redis.Run()
	for _, in := range []*Auth{a, b} {
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if _, err := in.CheckRedis(t.Context()); err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatal("Redis is not used")
			}
		}
	}
	if x, y, z := fail(a, "operator",
		5), fail(b, "operator", 5), fail(b, "operator", 1); x != "wrong" ||
		y != "wrong" || z != "limited" {
		t.Errorf("5 failures at one instance and 6 at the other: got %s, %s, %s", x, y, z)
	}
	if err := login(a, "operator", password); err == nil {
		t.Error("the right password at the first instance: got no error")
	}
	fail(a, "engineer", 9)
	if err := login(b, "engineer", password); err != nil {
		t.Errorf("the right password after 9 failures: got %v", err)
	}
	if got := fail(a, "engineer", 9); got != "wrong" {
		t.Errorf("9 failures after a success: got %s", got)
	}
	redis.Kill()
	if err := login(a, "operator", password); err != nil {
		t.Errorf("after Redis has stopped: got %v", err)
	}
	if strings.Contains(text.String(), password) {
		t.Error("the password is in the log")
	}
}
