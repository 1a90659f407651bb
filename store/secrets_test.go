package store_test

import (
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/store"
)

func TestChannelSecrets_AreEncrypted(t *testing.T) {
	const secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	s, db := openRaw(t)
	webhook := func(name string) store.Channel {
		t.Helper()
		c, err := s.CreateChannel(t.Context(),
			store.Channel{
				Name:   name,
				Kind:   store.Webhook,
				URL:    "https://hooks.example.com/",
				Secret: secret,
			})
		ok(t, err)
		if c.Secret != secret {
			t.Errorf("%s: created with %q", name, c.Secret)
		}
		return c
	}
	stored := func(c store.Channel) string {
		t.Helper()
		return scan[string](t, db, `SELECT secret FROM notification_channels WHERE id = $1`, c.ID)
	}
	plain := webhook("created before the key is set")
	ok(t, s.EncryptSecretsWith("a key"))
	encrypted, same := webhook("encrypted"), webhook("with the same secret")
	if got := stored(encrypted); strings.Contains(got, secret) ||
		!strings.HasPrefix(got, store.EncryptedPrefix) || got == stored(same) {
		t.Errorf("stored: got %q, and %q for the same secret", got, stored(same))
	}
	for _, c := range []store.Channel{plain, encrypted} {
		got, err := s.Channel(t.Context(), c.ID)
		ok(t, err)
		if got.Secret != secret {
			t.Errorf("%s: got %q, want %q", c.Name, got.Secret, secret)
		}
		got.Name += ", renamed"
		got, err = s.UpdateChannel(t.Context(), got)
		ok(t, err)
		if got.Secret != secret || !strings.HasPrefix(stored(c), store.EncryptedPrefix) {
			t.Errorf("%s: after an update got %q, stored as %q", c.Name, got.Secret, stored(c))
		}
	}
	other := openOther(t, db)
	ok(t, other.EncryptSecretsWith("another key"))
	list, err := other.Channels(t.Context(), 0, 10)
	ok(t, err)
	for _, c := range list {
		if c.Secret != stored(c) {
			t.Errorf("%s: with another key got %q, want it as stored", c.Name, c.Secret)
		}
		c.Name += ", again"
		_, err := other.UpdateChannel(t.Context(), c)
		ok(t, err)
		if now, err := s.Channel(t.Context(), c.ID); err != nil || now.Secret != secret {
			t.Errorf("%s: after an update without its key: got %q, %v", c.Name, now.Secret, err)
		}
	}
}
