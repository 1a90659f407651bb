package auth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/store"
)

// newKeyAuth returns an Auth on dsn that counts failed logins by itself.
func newKeyAuth(t *testing.T, dsn string) *Auth {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
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
	return a
}

func addKey(t *testing.T, a *Auth, name string) (store.APIKey, string) {
	t.Helper()
	secret, prefix := NewAPIKey()
	k, err := a.store.CreateAPIKey(t.Context(),
		store.APIKey{Name: name, Prefix: prefix, Role: store.Viewer}, secret)
	if err != nil {
		t.Fatal(err)
	}
	return k, secret
}

// While another connection holds the table of keys, any statement on it would wait. Requests with a
// known key go on, also after the check that is made once a second.
func TestAPIKey_KnownOneReadsNoKeysFromTheDatabase(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	a := newKeyAuth(t, dsn)
	_, secret := addKey(t, a, "known")
	use := func() {
		t.Helper()
		if _, err := a.Authenticate(t.Context(), "192.0.2.1", secret); err != nil {
			t.Fatal(err)
		}
	}
	use()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.Exec(`LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	t.Run("a wrong secret does, as an unknown prefix does", func(t *testing.T) {
		for _, key := range []string{secret[:40] + "!", flipLast(secret), flipPrefix(secret)} {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			_, err := a.Authenticate(ctx, "192.0.2.1", key)
			cancel()
			waits := !errors.Is(err, ErrInvalidAPIKey)
			if isFormed := apiKeyForm.MatchString(key); waits != isFormed {
				t.Errorf("%s…: got %v", key[:20], err)
			}
		}
	})
	for range 3 {
		use()
		a.keys.mu.Lock()
		a.keys.checked = time.Time{} // as a second later
		a.keys.mu.Unlock()
	}
	if _, err := tx.Exec(`LOCK TABLE api_key_changes IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	a.keys.mu.Lock()
	a.keys.checked = time.Now().Add(time.Hour) // within the second
	a.keys.mu.Unlock()
	for range 100 {
		use()
	}
}

func flipLast(key string) string {
	if key[40] == 'A' {
		return key[:40] + "B"
	}
	return key[:40] + "A"
}

func flipPrefix(key string) string {
	if key[4] == 'A' {
		return "oei_B" + key[5:]
	}
	return "oei_A" + key[5:]
}

// A key that is read while it changes is not kept: here the read waits for a lock meanwhile.
func TestAPIKeyCache_DoesNotKeepWhatChangedMeanwhile(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	a := newKeyAuth(t, dsn)
	k, _ := addKey(t, a, "key")
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	steps := map[string]struct {
		meanwhile func()
		kept      bool
	}{
		"it was forgotten": {func() { a.keys.forget(k.Prefix) }, false},
		"another key was changed": {
			func() { a.keys.mu.Lock(); a.keys.changes++; a.keys.mu.Unlock() }, false,
		},
		"nothing happened": {func() {}, true},
	}
	for name, step := range steps {
		a.keys.forget(k.Prefix)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(`LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE`); err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() {
			_, err := a.keys.get(t.Context(), k.Prefix, func(store.APIKey) bool { return true })
			got <- err
		}()
		const waiting = `
			SELECT count(*)
			FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`
		testutil.Eventually(t, testutil.Timeout, "the read waits", func() bool {
			var n int
			return db.QueryRowContext(t.Context(), waiting).Scan(&n) == nil && n == 1
		})
		step.meanwhile()
		_ = tx.Rollback()
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		a.keys.mu.Lock()
		_, kept := a.keys.keys[k.Prefix]
		a.keys.mu.Unlock()
		if kept != step.kept {
			t.Errorf("%s: kept %v, want %v", name, kept, step.kept)
		}
	}
}

func TestAPIKeyUses_CountLikeABucketOfAMinute(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	u := &apiKeyUses{keys: map[int64]*apiKeyUse{}}
	key := store.APIKey{ID: 1, RequestsPerMinute: new(60)}
	steps := []struct {
		name string
		at   time.Duration
		n    int
		want string // allowed, then remaining, reset and wait after the last
	}{
		{"a burst of all", 0, 60, "60: 0 left, 1m0s, wait 0s"},
		{"one more", 0, 1, "0: 0 left, 1m0s, wait 1s"},
		{"half a second later", 500 * time.Millisecond, 1, "0: 0 left, 59.5s, wait 500ms"},
		{"a second later", time.Second, 2, "1: 0 left, 1m0s, wait 1s"},
		{"a clock that went back", -time.Hour, 1, "0: 0 left, 1m0s, wait 1s"},
		{"a minute later", 61 * time.Second, 1, "1: 59 left, 1s, wait 0s"},
		{"an hour later", time.Hour, 70, "60: 0 left, 1m0s, wait 1s"},
	}
	for _, step := range steps {
		allowed := 0
		var limit Limit
		var wait time.Duration
		for range step.n {
			if limit, wait, _ = u.count(key, "a", 5, start.Add(step.at)); wait == 0 {
				allowed++
			}
		}
		got := fmt.Sprintf("%d: %d left, %v, wait %v", allowed, limit.Remaining,
			limit.Reset.Round(time.Millisecond), wait.Round(time.Millisecond))
		if got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
	}
	if limit, _, _ := u.count(store.APIKey{ID: 2}, "a", 5, start); limit.Quota != 5 {
		t.Errorf("a key without a limit of its own: got %d, want 5", limit.Quota)
	}
}

func TestAPIKeyUses_TellNewAddresses(t *testing.T) {
	u := &apiKeyUses{keys: map[int64]*apiKeyUse{}}
	now := time.Now()
	told := 0
	for i := range 200 {
		for range 3 {
			_, _, isNew := u.count(store.APIKey{ID: 1}, fmt.Sprint("address ", i%100), 1e6, now)
			if isNew {
				told++
			}
		}
	}
	if told != maxKnownAddrs {
		t.Errorf("new addresses: got %d, want %d", told, maxKnownAddrs)
	}
	if uses := u.unstored(); len(uses) != 1 || uses[0].Addr != "address 99" {
		t.Errorf("uses to store: got %+v", uses)
	}
	if uses := u.unstored(); len(uses) != 0 {
		t.Errorf("a second time: got %+v", uses)
	}
	for id := range int64(maxKeyUses + 100) {
		u.count(store.APIKey{ID: 10 + id}, "a", 1, now)
	}
	u.unstored()
	u.count(store.APIKey{ID: 1e9}, "a", 1, now.Add(time.Hour))
	if n := len(u.keys); n != 1 {
		t.Errorf("keys after an hour without use: got %d, want 1", n)
	}
}

func TestHideAPIKeys(t *testing.T) {
	secret, prefix := NewAPIKey()
	if !apiKeyForm.MatchString(secret) || len(secret) != 41 {
		t.Fatalf("new key: got %d characters", len(secret))
	}
	tests := map[string]string{
		"/api/" + secret + "/x":     "/api/" + prefix + "_…/x",
		secret + " and " + secret:   prefix + "_… and " + prefix + "_…",
		"/api/sensors?q=oei_ms":     "/api/sensors?q=oei_ms",
		prefix:                      prefix,
		strings.ToLower(secret):     strings.ToLower(secret),
		"/api/" + secret[:40] + "/": "/api/" + secret[:40] + "/",
	}
	for text, want := range tests {
		got, found := HideAPIKeys(text)
		if got != want || found != (got != text) {
			t.Errorf("got %s %v, want %s", got, found, want)
		}
	}
}

func TestUseTicket_OfAnAPIKeyThatHasExpired(t *testing.T) {
	a := newKeyAuth(t, pgtest.DSN(t)+" synchronous_commit=on")
	k, secret := addKey(t, a, "kiosk")
	p, err := a.Authenticate(t.Context(), "192.0.2.1", secret)
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := a.NewTicket(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	past := sql.Null[time.Time]{V: time.Now().Add(-time.Second), Valid: true}
	if _, err := a.store.UpdateAPIKey(t.Context(), k.ID, 0,
		store.APIKeyChange{ExpiresAt: &past}); err != nil {
		t.Fatal(err)
	}
	a.ForgetAPIKey(k.Prefix)
	if _, err := a.UseTicket(t.Context(), ticket); !errors.Is(err, ErrSessionEnded) {
		t.Errorf("got %v, want %v", err, ErrSessionEnded)
	}
	if err := a.CheckSession(t.Context(), p.SessionID); !errors.Is(err, ErrSessionEnded) {
		t.Errorf("its session: got %v, want %v", err, ErrSessionEnded)
	}
}
