package server_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/oei-ms/oei-ms/server"
)

func TestLogin_WaitsAfterTooManyFailures(t *testing.T) {
	s := start(t)
	for i := range 10 {
		if got := s.tryLogin("viewer", "wrong", "X-Forwarded-For",
			fmt.Sprintf("10.0.0.%d", i)).StatusCode; got != 401 {
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

func TestLogin_ConcurrentAttemptsAreCounted(t *testing.T) {
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

func TestLogin_SuccessForgetsFailures(t *testing.T) {
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

func TestTrustedProxies_GiveTheClientAddress(t *testing.T) {
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
