package store_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

func TestIdempotencyKey_FromClaimToAnswer(t *testing.T) {
	s, db := openRaw(t)
	ann := store.UserOwner(addUser(t, s, "ann").ID)
	bob := store.UserOwner(addUser(t, s, "bob").ID)
	grafana := store.APIKeyOwner(addAPIKey(t, s, "grafana").ID) // has the same id as ann
	claim := func(user store.Owner, request string) string {
		t.Helper()
		answer, err := s.ClaimIdempotencyKey(t.Context(), user, "k", sha256.Sum256([]byte(request)),
			time.Minute)
		switch {
		case errors.Is(err, store.ErrInUse):
			return "in use"
		case errors.Is(err, store.ErrConflict):
			return "another request"
		case err != nil:
			t.Fatal(err)
		case answer == nil:
			return "claimed"
		}
		return "answer " + string(answer)
	}
	nothing := func() {}
	steps := []struct {
		name    string
		first   func()
		user    store.Owner
		request string
		want    string
	}{
		{"a new key", nothing, ann, "x", "claimed"},
		{"a running request", nothing, ann, "x", "in use"},
		{"a running request's key, with another request", nothing, ann, "y", "another request"},
		{"another user's key", nothing, bob, "y", "claimed"},
		{"an API key's key", nothing, grafana, "y", "claimed"},
		{"an API key's running request", nothing, grafana, "y", "in use"},
		{
			"an API key's released key",
			func() { ok(t, s.ReleaseIdempotencyKey(t.Context(), grafana, "k")) },
			grafana, "x", "claimed",
		},
		{
			"an API key's answered key",
			func() { ok(t, s.AnswerIdempotencyKey(t.Context(), grafana, "k", []byte("its"))) },
			grafana, "x", "answer its",
		},
		{
			"a released key",
			func() { ok(t, s.ReleaseIdempotencyKey(t.Context(), ann, "k")) }, ann, "y", "claimed",
		},
		{
			"a key whose claim has expired, with another request",
			func() { run(t, db, `UPDATE idempotency_keys SET claimed_until = now()`) }, ann, "x",
			"another request",
		},
		{"a key whose claim has expired", nothing, ann, "y", "claimed"},
		{"a key that was claimed again", nothing, ann, "y", "in use"},
		{
			"an answered key",
			func() { ok(t, s.AnswerIdempotencyKey(t.Context(), ann, "k", []byte("first"))) },
			ann, "y", "answer first",
		},
		{"an answered key, with another request", nothing, ann, "x", "another request"},
		{
			"an answered key cannot be released",
			func() { ok(t, s.ReleaseIdempotencyKey(t.Context(), ann, "k")) },
			ann, "y", "answer first",
		},
		{
			"an answered key long after its claim",
			func() {
				run(t, db,
					`UPDATE idempotency_keys SET claimed_until = now() - interval '1 hour'`)
			},
			ann, "y", "answer first",
		},
		{
			"after a day",
			func() {
				run(t, db,
					`UPDATE idempotency_keys SET created_at = now() - interval '24 hours 1 second'`)
			},
			ann, "x", "claimed",
		},
		{"after a day, a second time", nothing, ann, "x", "in use"},
	}
	for _, step := range steps {
		step.first()
		if got := claim(step.user, step.request); got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
	}
	ok(t, s.DeleteExpiredIdempotencyKeys(t.Context())) // the others' are a day old
	if n := scan[int](t, db, `SELECT count(*) FROM idempotency_keys`); n != 1 {
		t.Errorf("after deleting the expired: got %d keys, want 1", n)
	}
}

func TestClaimIdempotencyKey_OneOfManySucceeds(t *testing.T) {
	s := open(t)
	user := store.UserOwner(addUser(t, s, "ann").ID)
	for round := range 10 {
		var mu sync.Mutex
		claims := 0
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, err := s.ClaimIdempotencyKey(t.Context(), user, fmt.Sprint(round),
					sha256.Sum256(nil), time.Minute)
				if err != nil && !errors.Is(err, store.ErrInUse) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					claims++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if claims != 1 {
			t.Errorf("claims: got %d, want 1", claims)
		}
	}
}
