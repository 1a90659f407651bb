package server_test

import (
	"fmt"
	"testing"

	"github.com/oei-ms/oei-ms/internal/redistest"
	"github.com/oei-ms/oei-ms/server"
)

func TestGatewayLogins_AreLimitedAsThoseOfPeople(t *testing.T) {
	t.Run("counted here", func(t *testing.T) { testGatewayLogins(t) })
	t.Run("counted in Redis", func(t *testing.T) {
		redis := redistest.Start(t)
		testGatewayLogins(t, func(c *server.Config, _ *server.Deps) { c.RedisURL = redis.URL() })
	})
}

func testGatewayLogins(t *testing.T, options ...option) {
	t.Helper()
	s := start(t, options...)
	begin := func(addr, key string) bool {
		t.Helper()
		wait, err := s.auth.BeginGatewayLogin(t.Context(), addr, key)
		if err != nil || wait < 0 {
			t.Fatal(wait, err)
		}
		return wait == 0
	}
	end := func(addr, key string, right bool) {
		t.Helper()
		if err := s.auth.EndGatewayLogin(t.Context(), addr, key, right); err != nil {
			t.Fatal(err)
		}
	}
	const home, away = "192.0.2.1", "192.0.2.2"
	if !begin(home, "good") {
		t.Fatal("the first try is refused")
	}
	end(home, "good", true)
	for range 15 { // the database is away
		if !begin(home, "g0") {
			t.Error("a try that was taken back counts")
		}
		end(home, "g0", false)
	}
	failed := 0
	for i := range 20 { // of 100 for the address
		for range 12 {
			if begin(home, fmt.Sprintf("g%d", i)) {
				failed++
			}
		}
	}
	if failed != 100 {
		t.Errorf("%d wrong secrets were looked at, want 100 from an address", failed)
	}
	if begin(home, "new") {
		t.Error("one more from the address is looked at")
	}
	if !begin(away, "g1") {
		t.Error("another address is refused")
	}
	for range 10 {
		if !begin(home, "good") {
			t.Error("one that has logged in from there is refused for the failures of others")
		}
	}
	if begin(home, "good") {
		t.Error("its own failures do not count")
	}
	failed = 0
	for i := range 12 {
		if begin(fmt.Sprintf("2001:db8::%d", i), "g1") {
			failed++
		}
	}
	if failed != 10 {
		t.Errorf("%d wrong secrets from one network of IPv6, want 10", failed)
	}
	if got := s.tryLogin("viewer", password).StatusCode; got != 200 {
		t.Errorf("a person: got %d", got)
	}
}
