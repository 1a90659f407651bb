package store_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/oei-ms/oei-ms/store"
)

func TestCredentials(t *testing.T) {
	s, db := openRaw(t)
	g, other := addGateway(t, s, "g"), addGateway(t, s, "other")
	add := func(secret string) (store.Credential, *int64) {
		t.Helper()
		c, key, revoked, err := s.AddCredential(t.Context(), g.ID, secret)
		if err != nil || key != "g" || c.GatewayID != g.ID || c.LastUsedAt != nil {
			t.Fatalf("got %+v, %q, %v", c, key, err)
		}
		return c, revoked
	}
	login := func(key, secret string, want int64) {
		t.Helper()
		p, err := s.Login(t.Context(), key, secret)
		if want == 0 {
			isError(t, err, store.ErrNotFound)
			return
		}
		if err != nil || p != (store.Principal{g.ID, key, want}) {
			t.Errorf("login %s %s: got %+v, %v, want credential %d", key, secret, p, err, want)
		}
	}
	valid := func(key string, credentials ...int64) string {
		t.Helper()
		principals := make([]store.Principal, len(credentials))
		for i, id := range credentials {
			principals[i] = store.Principal{GatewayID: g.ID, GatewayKey: key, CredentialID: id}
		}
		valid, err := s.CheckPrincipals(t.Context(), principals)
		ok(t, err)
		return fmt.Sprint(valid)
	}
	login("g", "one", 0)
	one, revoked := add("one")
	if revoked != nil {
		t.Errorf("revoked: got %d", *revoked)
	}
	two, revoked := add("two")
	if revoked != nil {
		t.Errorf("revoked: got %d", *revoked)
	}
	login("g", "one", one.ID)
	login("g", "two", two.ID)
	login("G", "two", 0)
	login("other", "two", 0)
	login("g", "", 0)
	login("g\x00", "two", 0)
	login("g\xff", "two", 0)
	cs, err := s.Credentials(t.Context(), g.ID)
	if err != nil || len(cs) != 2 || cs[0].ID != one.ID || cs[0].LastUsedAt == nil ||
		cs[1].ID != two.ID {
		t.Errorf("got %+v, %v", cs, err)
	}
	three, revoked := add("three")
	if revoked == nil || *revoked != one.ID {
		t.Errorf("the third revokes: got %v, want %d", revoked, one.ID)
	}
	login("g", "one", 0)
	if got := valid("g", one.ID, two.ID, three.ID, 999); got != "[false true true false]" {
		t.Errorf("one was revoked, 999 is unknown: got %s", got)
	}
	isError(t, s.RevokeCredential(t.Context(), other.ID, two.ID), store.ErrNotFound)
	ok(t, s.RevokeCredential(t.Context(), g.ID, two.ID))
	isError(t, s.RevokeCredential(t.Context(), g.ID, two.ID), store.ErrNotFound)
	login("g", "two", 0)

	_, err = s.UpdateGateway(t.Context(), g.ID, 0, store.GatewayChange{IsActive: ptr(false)})
	ok(t, err)
	login("g", "three", 0)
	if got := valid("g", three.ID); got != "[false]" {
		t.Errorf("of a gateway that is not in use: got %s", got)
	}
	_, err = s.UpdateGateway(t.Context(), g.ID, 0,
		store.GatewayChange{IsActive: ptr(true), Key: ptr("g2")})
	ok(t, err)
	if g, g2 := valid("g", three.ID), valid("g2", three.ID); g != "[false]" || g2 != "[true]" {
		t.Errorf("of a renamed gateway: got %s by its old key, %s by its new one", g, g2)
	}
	const unhashed = `SELECT count(*) FROM gateway_credentials WHERE length(hash) <> 32`
	if n := scan[int](t, db, unhashed); n != 0 {
		t.Error("a secret is not stored as its hash")
	}
	_, _, _, err = s.AddCredential(t.Context(), 999, "x")
	isError(t, err, store.ErrNotFound)
	_, err = s.Credentials(t.Context(), 999)
	isError(t, err, store.ErrNotFound)

	t.Run("of many that are added at once two remain", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				_, _, _, err := s.AddCredential(t.Context(), other.ID, fmt.Sprint(i))
				isError(t, err, nil)
			})
		}
		wg.Wait()
		if cs, _ := s.Credentials(t.Context(), other.ID); len(cs) != 2 {
			t.Errorf("got %d, want 2", len(cs))
		}
	})
}

func TestLoginByCertificate(t *testing.T) {
	s, db := openRaw(t)
	g, idle := addGateway(t, s, "g"), addGateway(t, s, "idle")
	_, err := db.ExecContext(t.Context(), `UPDATE gateways SET is_active = false WHERE id = $1`,
		idle.ID)
	ok(t, err)
	for _, key := range []string{"idle", "none", "G", "g\x00", "g\xff", ""} {
		_, err := s.LoginByCertificate(t.Context(), key)
		isError(t, err, store.ErrNotFound)
	}
	p, err := s.LoginByCertificate(t.Context(), "g")
	if err != nil || p != (store.Principal{GatewayID: g.ID, GatewayKey: "g"}) {
		t.Fatalf("got %+v, %v", p, err)
	}
	c, _, _, err := s.AddCredential(t.Context(), g.ID, "x")
	ok(t, err)
	checkValid := func(want string) {
		t.Helper()
		valid, err := s.CheckPrincipals(t.Context(), []store.Principal{
			p,
			{GatewayID: g.ID, GatewayKey: "g", CredentialID: c.ID},
			{GatewayID: idle.ID, GatewayKey: "idle"},
			{GatewayID: idle.ID, GatewayKey: "idle", CredentialID: c.ID},
			{GatewayID: 999, GatewayKey: "none"},
		})
		ok(t, err)
		if got := fmt.Sprint(valid); got != want {
			t.Errorf("valid: got %s, want %s", got, want)
		}
	}
	checkValid("[true true false false false]")
	for i, want := range []bool{false, true} {
		present, err := s.ResumeMQTTSession(t.Context(), "g", p, false, true)
		if err != nil || present != want {
			t.Errorf("session %d: got %v, %v", i, present, err)
		}
	}
	_, err = db.ExecContext(t.Context(), `UPDATE gateways SET is_active = false`)
	ok(t, err)
	checkValid("[false false false false false]")
}
