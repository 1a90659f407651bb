package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/redistest"
	"github.com/oei-ms/oei-ms/server"
)

func TestFailedLoginsAreCountedForAllInstancesWhileRedisIsThere(t *testing.T) {
	redis := redistest.Start(t)
	redis.Kill() // it comes later
	withRedis := func(c *config, _ *server.Deps) { c.Auth.RedisURL = redis.URL() }
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	a, b := startOn(t, dsn, withRedis), startOn(t, dsn, withRedis)
	fail := func(s *system, username string, n int) (last int) {
		for range n {
			last = s.tryLogin(username, "wrong").StatusCode
		}
		return last
	}
	if got := fail(a, "viewer", 10); got != 401 {
		t.Errorf("without Redis, which is not there yet: got %d", got)
	}
	if x, y := fail(a, "viewer", 1), fail(b, "viewer", 1); x != 429 || y != 401 {
		t.Errorf("then each counts for itself: got %d and %d, want 429 and 401", x, y)
	}
	redis.Run()
	within(t, 10*time.Second, "Redis is used", func() bool {
		_, errA := a.auth.CheckRedis(t.Context())
		_, errB := b.auth.CheckRedis(t.Context())
		return errA == nil && errB == nil
	})
	if x, y, z := fail(a, "operator", 5), fail(b, "operator", 5), fail(b, "operator", 1); x != 401 || y != 401 || z != 429 {
		t.Errorf("5 failures at one and 6 at the other: got %d, %d, %d, want 401, 401, 429", x, y,
			z)
	}
	res := a.tryLogin("operator", password)
	if res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("the right password at the first: got %d", res.StatusCode)
	}
	fail(a, "engineer", 9)
	began := time.Now()
	if got := b.tryLogin("engineer", password).StatusCode; got != 200 {
		t.Errorf("after 9 failures: got %d", got)
	}
	usual := time.Since(began) // of a machine that may be slow
	if got := fail(a, "engineer", 9); got != 401 {
		t.Errorf("after a success: got %d", got)
	}
	redis.Kill()
	began = time.Now()
	if got := a.tryLogin("operator", password).StatusCode; got != 200 {
		t.Errorf("with Redis gone: got %d", got)
	}
	if took := time.Since(began); took > 3*time.Second+10*usual {
		t.Errorf("a login with Redis gone took %v, with it %v", took, usual)
	}
	if strings.Count(a.log.String(), fmt.Sprint(password)) > 0 {
		t.Error("the password is in the log")
	}
}
