package auth

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/internal/redistest"
)

func TestGatewayLogins_AreLimitedLikeThoseOfUsers(t *testing.T) {
	t.Run("counted in this process", func(t *testing.T) { testGatewayLogins(t, "") })
	t.Run("counted in Redis", func(t *testing.T) { testGatewayLogins(t, redistest.Start(t).URL()) })
}

func testGatewayLogins(t *testing.T, redisURL string) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.SecretKey, cfg.RedisURL = strings.Repeat("x", minSecretKey), redisURL
	a, err := New(cfg, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	begin := func(addr, key string) (allowed bool) {
		t.Helper()
		wait, err := a.BeginGatewayLogin(t.Context(), addr, key)
		if err != nil || wait < 0 {
			t.Fatal(wait, err)
		}
		return wait == 0
	}
	end := func(addr, key string, right bool) {
		t.Helper()
		if err := a.EndGatewayLogin(t.Context(), addr, key, right); err != nil {
			t.Fatal(err)
		}
	}
	const home, away = "192.0.2.1", "192.0.2.2"
	if !begin(home, "good") {
		t.Fatal("the first attempt is refused")
	}
	end(home, "good", true)
	for range 15 { // as while the database does not answer
		if !begin(home, "g0") {
			t.Error("an attempt that was taken back counts")
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
		t.Errorf("%d wrong secrets were checked, want 100 from one address", failed)
	}
	if begin(home, "new") {
		t.Error("one more gateway at the address is allowed")
	}
	if !begin(away, "g1") {
		t.Error("a gateway at another address is refused")
	}
	for range 10 {
		if !begin(home, "good") {
			t.Error("a gateway that has logged in from there is refused for failures of others")
		}
	}
	if begin(home, "good") {
		t.Error("the failures of a gateway that has logged in do not count")
	}
	failed = 0
	for i := range 12 {
		if begin(fmt.Sprintf("2001:db8::%d", i), "g1") {
			failed++
		}
	}
	if failed != 10 {
		t.Errorf("%d wrong secrets were checked from one network of IPv6, want 10", failed)
	}
	attempt, err := a.limiter.begin(t.Context(), keysOf(home, "viewer"))
	if err != nil || attempt.wait != 0 {
		t.Errorf("a user at the address has to wait %v, %v", attempt.wait, err)
	}
}
