package server_test

import (
	"fmt"
	"strings"
	"sync"
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

func TestTooManyFailedLoginsHaveToWait(t *testing.T) {
	s := start(t)
	for i := range 10 {
		if got := s.tryLogin("viewer", "wrong", "X-Forwarded-For", fmt.Sprintf("10.0.0.%d", i)).StatusCode; got != 401 {
			t.Fatalf("failure %d: got %d, want 401", i+1, got)
		}
	}
	res := s.tryLogin("viewer", password, "X-Forwarded-For", "10.0.0.99")
	if res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("the right password after 10 failures: got %d, Retry-After %q, want 429",
			res.StatusCode, res.Header.Get("Retry-After"))
	}
	if got := s.tryLogin("operator", password).StatusCode; got != 200 {
		t.Errorf("another user from the same address: got %d, want 200", got)
	}
	for i := range 90 {
		s.tryLogin(fmt.Sprintf("user-%d", i), "wrong")
	}
	if got := s.tryLogin("operator", password).StatusCode; got != 429 {
		t.Errorf("any user after 100 failures from one address: got %d, want 429", got)
	}
}

func TestTriesAtOnceAreCountedBeforeTheyAreMade(t *testing.T) {
	s := start(t)
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			got := s.tryLogin("viewer", "wrong").StatusCode
			mu.Lock()
			statuses[got]++
			mu.Unlock()
		})
	}
	all.Wait()
	if statuses[401] != 10 || statuses[429] != 30 {
		t.Errorf("40 tries at once: got %v, want 10 401 and 30 429", statuses)
	}
}

func TestSuccessForgetsTheFailuresOfTheUser(t *testing.T) {
	s := start(t)
	for range 3 {
		for range 9 {
			s.tryLogin("viewer", "wrong")
		}
		if got := s.tryLogin("viewer", password).StatusCode; got != 200 {
			t.Fatalf("after 9 failures: got %d, want 200", got)
		}
	}
}

func TestTrustedProxySaysWhoAsks(t *testing.T) {
	s := start(t,
		func(c *config, _ *server.Deps) {
			c.TrustedProxies = []string{
				"127.0.0.1", "10.0.0.0/8",
			}
		})
	fail := func(forwarded string) int {
		return s.tryLogin("viewer", "wrong", "X-Forwarded-For", forwarded).StatusCode
	}
	for range 10 {
		fail("192.0.2.1, 10.1.1.1")
	}
	for forwarded, want := range map[string]int{
		"192.0.2.1":                     429,
		"192.0.2.1, 10.2.2.2, 10.3.3.3": 429,
		// what the client itself has put in front counts for nothing
		"198.51.100.7, 192.0.2.1": 429,
		"192.0.2.2":               401,
		"garbage":                 401,
	} {
		if got := fail(forwarded); got != want {
			t.Errorf("for %s: got %d, want %d", forwarded, got, want)
		}
	}
}
