package store_test

import (
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/store"
)

func TestSecretsOfChannelsAreSealed(t *testing.T) {
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
	kept := func(c store.Channel) string {
		t.Helper()
		return scan[string](t, db, `SELECT secret FROM notification_channels WHERE id = $1`, c.ID)
	}
	plain := webhook("made before")
	ok(t, s.EncryptSecretsWith("a key"))
	sealed, again := webhook("sealed"), webhook("the same")
	if k := kept(sealed); strings.Contains(k, secret) || !strings.HasPrefix(k, store.EncryptedPrefix) ||
		k == kept(again) {
		t.Errorf("kept is %q, and of another the same", k)
	}
	for _, c := range []store.Channel{plain, sealed} {
		got, err := s.Channel(t.Context(), c.ID)
		ok(t, err)
		if got.Secret != secret {
			t.Errorf("%s: got %q, want %q", c.Name, got.Secret, secret)
		}
		got.Name += ", renamed"
		got, err = s.UpdateChannel(t.Context(), got)
		ok(t, err)
		if got.Secret != secret || !strings.HasPrefix(kept(c), store.EncryptedPrefix) {
			t.Errorf("%s: changed it is %q, kept as %q", c.Name, got.Secret, kept(c))
		}
	}
	other := openOther(t, db)
	ok(t, other.EncryptSecretsWith("another key"))
	list, err := other.Channels(t.Context(), 0, 10)
	ok(t, err)
	for _, c := range list {
		if c.Secret != kept(c) {
			t.Errorf("%s: another key opens it, or spoils it: %q", c.Name, c.Secret)
		}
		c.Name += ", again"
		_, err := other.UpdateChannel(t.Context(), c)
		ok(t, err)
		if now, err := s.Channel(t.Context(), c.ID); err != nil || now.Secret != secret {
			t.Errorf("%s: after a change by who cannot open it: %q, %v", c.Name, now.Secret, err)
		}
	}
}
