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

func TestKeyFromClaimToAnswer(t *testing.T) {
	s, db := openRaw(t)
	ann, bob := addUser(t, s, "ann").ID, addUser(t, s, "bob").ID
	claim := func(user int64, request string) string {
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
		user    int64
		request string
		want    string
	}{
		{"a new key", nothing, ann, "x", "claimed"},
		{"one that is at work", nothing, ann, "x", "in use"},
		{"one that is at work, with another request", nothing, ann, "y", "another request"},
		{"another user's", nothing, bob, "y", "claimed"},
		{
			"one that was given back", func() { ok(t, s.ReleaseIdempotencyKey(t.Context(), ann, "k")) }, ann,
			"y", "claimed",
		},
		{
			"one whose claim has run out, with another request",
			func() { run(t, db, `UPDATE idempotency_keys SET claimed_until = now()`) }, ann, "x",
			"another request",
		},
		{"one whose claim has run out", nothing, ann, "y", "claimed"},
		{"one that was claimed anew", nothing, ann, "y", "in use"},
		{
			"one that was answered",
			func() { ok(t, s.AnswerIdempotencyKey(t.Context(), ann, "k", []byte("first"))) }, ann, "y",
			"answer first",
		},
		{"one that was answered, with another request", nothing, ann, "x", "another request"},
		{
			"one that was answered is not given back",
			func() { ok(t, s.ReleaseIdempotencyKey(t.Context(), ann, "k")) }, ann, "y", "answer first",
		},
		{
			"long after its claim",
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
		{"after a day it begins anew", nothing, ann, "x", "in use"},
	}
	for _, step := range steps {
		step.first()
		if got := claim(step.user, step.request); got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
	}
	ok(t, s.DeleteExpiredIdempotencyKeys(t.Context())) // bob's is a day old
	if n := scan[int](t, db, `SELECT count(*) FROM idempotency_keys`); n != 1 {
		t.Errorf("after the sweep: got %d keys, want 1", n)
	}
}

func TestOfManyClaimsOfAKeyOneIsGiven(t *testing.T) {
	s := open(t)
	user := addUser(t, s, "ann").ID
	for round := range 10 {
		var mu sync.Mutex
		given := 0
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, err := s.ClaimIdempotencyKey(t.Context(), user, fmt.Sprint(round), sha256.Sum256(nil),
					time.Minute)
				if err != nil && !errors.Is(err, store.ErrInUse) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					given++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if given != 1 {
			t.Errorf("given to %d", given)
		}
	}
}
