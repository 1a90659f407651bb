package store_test

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// addAPIKey adds an API key of a viewer, whose prefix and secret follow from name.
func addAPIKey(t testing.TB, s *store.Store, name string) store.APIKey {
	t.Helper()
	k, err := s.CreateAPIKey(t.Context(), store.APIKey{
		Name:      name,
		Prefix:    "oei_" + name,
		Role:      store.Viewer,
		CreatedBy: ptr("ann"),
	}, "secret of "+name)
	ok(t, err)
	return k
}

func TestAPIKeys_EachChangeIsCounted(t *testing.T) {
	s := open(t)
	changes := func() int64 {
		t.Helper()
		n, err := s.APIKeyChanges(t.Context())
		ok(t, err)
		return n
	}
	expect := func(what string, want int64) {
		t.Helper()
		if got := changes(); got != want {
			t.Errorf("changes after %s: got %d, want %d", what, got, want)
		}
	}
	expect("nothing", 0)
	k := addAPIKey(t, s, "grafana")
	expect("a creation", 1)
	_, err := s.CreateAPIKey(t.Context(), store.APIKey{
		Name:   "grafana",
		Prefix: "other",
		Role:   store.Viewer,
	}, "x")
	isError(t, err, store.ErrConflict)
	expect("a creation that failed", 1)
	_, err = s.UpdateAPIKey(t.Context(), k.ID, k.Version, store.APIKeyChange{Name: ptr("g")})
	ok(t, err)
	expect("an update", 2)
	_, err = s.UpdateAPIKey(t.Context(), k.ID, k.Version, store.APIKeyChange{Name: ptr("h")})
	isError(t, err, store.ErrStale)
	expect("a stale update", 2)
	ok(t, s.AddAPIKeyUses(t.Context(), []store.APIKeyUse{{ID: k.ID, At: noon, Addr: "a"}}))
	expect("a use", 2)
	_, err = s.DeleteAPIKey(t.Context(), k.ID, 1)
	isError(t, err, store.ErrStale)
	_, err = s.DeleteAPIKey(t.Context(), k.ID, 2)
	ok(t, err)
	expect("a deletion", 3)
	_, err = s.APIKeyByPrefix(t.Context(), k.Prefix)
	isError(t, err, store.ErrNotFound)
	_, err = s.DeleteAPIKey(t.Context(), k.ID, 0)
	isError(t, err, store.ErrNotFound)
}

func TestUpdateAPIKey_KeepsWhatIsNotGiven(t *testing.T) {
	s := open(t)
	id := addAPIKey(t, s, "grafana").ID
	later := noon.Add(time.Hour)
	limit := func(v int, valid bool) *sql.Null[int] { return &sql.Null[int]{V: v, Valid: valid} }
	expiry := func(valid bool) *sql.Null[time.Time] {
		return &sql.Null[time.Time]{V: later, Valid: valid}
	}
	steps := []struct {
		name   string
		change store.APIKeyChange
		want   string // name, role, limit, expiry
	}{
		{
			"all",
			store.APIKeyChange{ptr("g"), ptr(store.Admin), limit(5, true), expiry(true)},
			"g admin 5 13:00",
		},
		{"a name", store.APIKeyChange{Name: ptr("h")}, "h admin 5 13:00"},
		{"no limit", store.APIKeyChange{RequestsPerMinute: limit(0, false)}, "h admin - 13:00"},
		{"no expiry", store.APIKeyChange{ExpiresAt: expiry(false)}, "h admin - -"},
		{"a role", store.APIKeyChange{Role: ptr(store.Operator)}, "h operator - -"},
	}
	for _, step := range steps {
		k, err := s.UpdateAPIKey(t.Context(), id, 0, step.change)
		ok(t, err)
		perMinute, expires := "-", "-"
		if k.RequestsPerMinute != nil {
			perMinute = fmt.Sprint(*k.RequestsPerMinute)
		}
		if k.ExpiresAt != nil {
			expires = k.ExpiresAt.UTC().Format("15:04")
		}
		if got := fmt.Sprint(k.Name, " ", k.Role, " ", perMinute, " ", expires); got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
	}
}

func TestAPIKeys_Filtered(t *testing.T) {
	s, db := openRaw(t)
	for _, name := range []string{"fresh", "used", "idle", "over"} {
		addAPIKey(t, s, name)
	}
	run(t, db, `UPDATE api_keys SET created_at = $1`, noon)
	run(t, db, `UPDATE api_keys SET created_at = now() WHERE name = 'fresh'`)
	run(t, db, `UPDATE api_keys SET last_used_at = $1 WHERE name = 'idle'`, noon)
	run(t, db, `UPDATE api_keys SET last_used_at = $1 WHERE name = 'used'`, noon.Add(2*time.Hour))
	run(t, db, `
		UPDATE api_keys
		SET expires_at = now(), role = 'admin', created_by = NULL
		WHERE name = 'over'`)
	tests := map[string]struct {
		filter store.APIKeyFilter
		want   string
	}{
		"all":         {store.APIKeyFilter{}, "[fresh used idle over]"},
		"name":        {store.APIKeyFilter{Name: ptr("idle")}, "[idle]"},
		"prefix":      {store.APIKeyFilter{Prefix: ptr("oei_used")}, "[used]"},
		"creator":     {store.APIKeyFilter{CreatedBy: ptr("ann")}, "[fresh used idle]"},
		"role":        {store.APIKeyFilter{Role: ptr(store.Admin)}, "[over]"},
		"expired":     {store.APIKeyFilter{IsExpired: ptr(true)}, "[over]"},
		"not expired": {store.APIKeyFilter{IsExpired: ptr(false)}, "[fresh used idle]"},
		"unused for hours": {
			store.APIKeyFilter{UnusedSince: ptr(noon.Add(time.Hour))}, "[idle over]",
		},
	}
	for name, tt := range tests {
		list, err := s.APIKeys(t.Context(), tt.filter, 0, 10)
		ok(t, err)
		names := []string{}
		for _, k := range list {
			names = append(names, k.Name)
		}
		n, err := s.CountAPIKeys(t.Context(), tt.filter)
		ok(t, err)
		if got := fmt.Sprint(names); got != tt.want || int(n) != len(names) {
			t.Errorf("%s: got %s and %d, want %s", name, got, n, tt.want)
		}
	}
}

func TestAddAPIKeyUses_KeepsTheLatest(t *testing.T) {
	s := open(t)
	a, b := addAPIKey(t, s, "a"), addAPIKey(t, s, "b")
	later := noon.Add(time.Second)
	ok(t, s.AddAPIKeyUses(t.Context(), []store.APIKeyUse{
		{ID: b.ID, At: later, Addr: "192.0.2.1"},
		{ID: a.ID, At: noon, Addr: "192.0.2.2"},
		{ID: 999, At: noon, Addr: "gone"},
	}))
	ok(t, s.AddAPIKeyUses(t.Context(), []store.APIKeyUse{
		{ID: a.ID, At: later, Addr: "192.0.2.3"}, {ID: b.ID, At: noon, Addr: "late"},
	}))
	for id, want := range map[int64]string{a.ID: "192.0.2.3", b.ID: "192.0.2.1"} {
		k, err := s.APIKey(t.Context(), id)
		ok(t, err)
		if k.LastUsedFrom == nil || *k.LastUsedFrom != want || !k.LastUsedAt.Equal(later) {
			t.Errorf("key %d: got %v at %v, want %s at %v", id, k.LastUsedFrom, k.LastUsedAt, want,
				later)
		}
		if k.Version != 1 {
			t.Errorf("key %d: a use has changed its version to %d", id, k.Version)
		}
	}
}

func TestAPIKey_IsStoredAsItsHash(t *testing.T) {
	s, db := openRaw(t)
	addAPIKey(t, s, "grafana")
	ok(t, s.CreateAPIKeyTicket(t.Context(), 1, "ticket", time.Minute))
	const q = `
		SELECT count(*)
		FROM api_keys
		WHERE hash = sha256('secret of grafana'::bytea)
			AND position('secret' IN api_keys::text) = 0`
	if n := scan[int](t, db, q); n != 1 {
		t.Errorf("keys stored as their hash alone: got %d, want 1", n)
	}
	t.Run("its ticket is of use once, and gone with it", func(t *testing.T) {
		session, prefix, err := s.UseTicket(t.Context(), "ticket")
		ok(t, err)
		if prefix != "oei_grafana" || session.ID != "" {
			t.Errorf("ticket: got %q and %+v", prefix, session)
		}
		_, _, err = s.UseTicket(t.Context(), "ticket")
		isError(t, err, store.ErrNotFound)
		ok(t, s.CreateAPIKeyTicket(t.Context(), 1, "second", time.Minute))
		_, err = s.DeleteAPIKey(t.Context(), 1, 0)
		ok(t, err)
		_, _, err = s.UseTicket(t.Context(), "second")
		isError(t, err, store.ErrNotFound)
	})
}

func TestDeleteUser_KeepsAPIKeysAndCountsThem(t *testing.T) {
	s := open(t)
	ann := addUser(t, s, "ann")
	_, err := s.CreateUser(t.Context(), store.User{
		Username:     "root",
		Email:        "root",
		PasswordHash: "x",
		Role:         store.Admin,
		IsActive:     true,
	})
	ok(t, err)
	addAPIKey(t, s, "a")
	addAPIKey(t, s, "b")
	_, _, err = s.UpdateUser(t.Context(), ann.ID, 0, store.UserChange{Username: ptr("anna")})
	ok(t, err)
	for _, dryRun := range []bool{true, false} {
		_, keys, err := s.DeleteUser(t.Context(), ann.ID, 0, dryRun)
		ok(t, err)
		if keys != 2 {
			t.Errorf("keys, dry run %v: got %d, want 2", dryRun, keys)
		}
	}
	n, err := s.CountAPIKeys(t.Context(), store.APIKeyFilter{CreatedBy: ptr("anna")})
	ok(t, err)
	if n != 2 {
		t.Errorf("keys left: got %d, want 2", n)
	}
}
