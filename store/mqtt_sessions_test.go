package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

func TestMQTTSessions(t *testing.T) {
	s, db := openRaw(t)
	g := addGateway(t, s, "g")
	c, _, _, err := s.AddCredential(t.Context(), g.ID, "x")
	ok(t, err)
	p := store.Principal{GatewayID: g.ID, GatewayKey: "g", CredentialID: c.ID}
	suspend := func(while time.Duration) func() error {
		return func() error { return s.SuspendMQTTSession(t.Context(), "g:1", while) }
	}
	steps := []struct {
		name        string
		before      func() error
		clean, keep bool
		present     bool
	}{
		{"a client without a session", nil, false, true, false},
		{"after the instance was killed", nil, false, true, true},
		{"disconnected, not expired", suspend(time.Hour), false, true, true},
		{"disconnected, expired", suspend(-time.Second), false, true, false},
		{"a clean start discards it", nil, true, true, false},
		{"a clean start began another", nil, false, true, true},
		{"a connection that does not keep it resumes it", nil, false, false, true},
		{"and ends it", nil, false, false, false},
		{"it is ended for later connections, too", nil, false, true, false},
		{
			"suspending a session that does not exist is harmless",
			func() error { return s.SuspendMQTTSession(t.Context(), "other\x00\xff", time.Hour) },
			false, true, true,
		},
	}
	for _, step := range steps {
		if step.before != nil {
			ok(t, step.before())
		}
		present, err := s.ResumeMQTTSession(t.Context(), "g:1", p, step.clean, step.keep)
		if err != nil || present != step.present {
			t.Errorf("%s: got %v, %v", step.name, present, err)
		}
	}
	heir := addGateway(t, s, "heir")
	theirs, _, _, err := s.AddCredential(t.Context(), heir.ID, "x")
	ok(t, err)
	for _, keep := range []bool{true, false} {
		for _, credential := range []int64{theirs.ID, 0} {
			_, err = s.ResumeMQTTSession(t.Context(), "g:2", p, false, true)
			ok(t, err)
			other := store.Principal{GatewayID: heir.ID, CredentialID: credential}
			present, err := s.ResumeMQTTSession(t.Context(), "g:2", other, false, keep)
			if present || err != nil {
				t.Errorf("of another gateway: got %v, %v", present, err)
			}
		}
	}
	_, err = s.ResumeMQTTSession(t.Context(), "g:\x00\xff", p, false, true)
	ok(t, err)
	ok(t, s.SuspendMQTTSession(t.Context(), "g:1", -time.Second))
	ok(t, s.DeleteExpiredSessions(t.Context()))
	if n := scan[int](t, db, `SELECT count(*) FROM mqtt_sessions`); n != 1 {
		t.Errorf("after deleting the expired: got %d, want 1", n)
	}
	_, err = s.DeleteGateway(t.Context(), g.ID, 0, false, false)
	ok(t, err)
	if n := scan[int](t, db, `SELECT count(*) FROM mqtt_sessions`); n != 0 {
		t.Errorf("of a deleted gateway: got %d, want 0", n)
	}
	present, err := s.ResumeMQTTSession(t.Context(), "g:1", p, false, true)
	if present || err != nil {
		t.Errorf("with a deleted credential: got %v, %v", present, err)
	}
}

func TestMQTTSessions_AreLimitedPerGateway(t *testing.T) {
	s, db := openRaw(t)
	g := addGateway(t, s, "g")
	c, _, _, err := s.AddCredential(t.Context(), g.ID, "x")
	ok(t, err)
	p := store.Principal{GatewayID: g.ID, GatewayKey: "g", CredentialID: c.ID}
	for i := range 80 {
		client := fmt.Sprintf("g:%d", i)
		_, err := s.ResumeMQTTSession(t.Context(), client, p, false, true)
		ok(t, err)
		if i != 3 { // stays connected
			ok(t, s.SuspendMQTTSession(t.Context(), client, time.Hour+time.Duration(i)*time.Minute))
		}
	}
	if n := scan[int](t, db, `SELECT count(*) FROM mqtt_sessions`); n != 64 {
		t.Errorf("got %d, want 64", n)
	}
	for client, want := range map[string]bool{"g:0": false, "g:3": true, "g:79": true} {
		present, err := s.ResumeMQTTSession(t.Context(), client, p, false, true)
		if present != want || err != nil {
			t.Errorf("%s: got %v, %v, want %v", client, present, err, want)
		}
	}
}
