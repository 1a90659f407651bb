package store_test

import (
	"database/sql"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

func addUser(t testing.TB, s *store.Store, name string) store.User {
	t.Helper()
	u, err := s.CreateUser(t.Context(), store.User{
		Username:     name,
		Email:        name + "@example.com",
		PasswordHash: "hash",
		Role:         store.Operator,
		IsActive:     true,
	})
	ok(t, err)
	return u
}

func TestUsers(t *testing.T) {
	s := open(t)
	if has, err := s.HasUsers(t.Context()); has || err != nil {
		t.Errorf("has users: got %v, %v", has, err)
	}
	ann := addUser(t, s, "ann")
	if ann.ID == 0 || ann.Role != store.Operator || !ann.IsActive ||
		ann.CreatedAt.Location() != time.UTC && ann.CreatedAt.UTC().IsZero() {
		t.Errorf("created: got %+v", ann)
	}
	found, err := s.UserByName(t.Context(), "ann")
	if err != nil || found != ann {
		t.Errorf("got %+v, %v, want %+v", found, err, ann)
	}
	_, err = s.UserByName(t.Context(), "Ann")
	isError(t, err, store.ErrNotFound)
	bad := map[string]struct {
		change func(*store.User)
		want   error
	}{
		"a taken username is a conflict": {
			func(u *store.User) { u.Username = "ann" }, store.ErrConflict,
		},
		"a taken email is a conflict": {
			func(u *store.User) { u.Email = ann.Email }, store.ErrConflict,
		},
		"an unknown role is not valid": {
			func(u *store.User) { u.Role = "root" }, store.ErrInvalid,
		},
		"a long name is not valid": {
			func(u *store.User) { u.Username = strings.Repeat("x", 51) }, store.ErrInvalid,
		},
		"a NUL is not valid": {
			func(u *store.User) { u.Username = "a\x00b" }, store.ErrInvalid,
		},
		"text that is not UTF-8 is not valid": {
			func(u *store.User) { u.Username = "a\xff" }, store.ErrInvalid,
		},
	}
	for name, tt := range bad {
		t.Run(name, func(t *testing.T) {
			u := store.User{
				Username:     "bob",
				Email:        "bob@example.com",
				PasswordHash: "h",
				Role:         store.Viewer,
			}
			tt.change(&u)
			_, err := s.CreateUser(t.Context(), u)
			isError(t, err, tt.want)
		})
	}
	t.Run("a password hash is replaced only if it is still the given one", func(t *testing.T) {
		ok(t, s.ReplacePasswordHash(t.Context(), ann.ID, "other", "lost"))
		ok(t, s.ReplacePasswordHash(t.Context(), ann.ID, "hash", "hash2"))
		if u, _ := s.UserByName(t.Context(), "ann"); u.PasswordHash != "hash2" {
			t.Errorf("got %q", u.PasswordHash)
		}
	})
	isError(t, s.SetPassword(t.Context(), 12345, "x", ""), store.ErrNotFound)
}

func TestCreateFirstUser_CreatesOneOfMany(t *testing.T) {
	s := open(t)
	var count atomic.Int32
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		wg.Go(func() {
			created, err := s.CreateFirstUser(t.Context(),
				store.User{Username: name, Email: name, PasswordHash: "h", Role: store.Admin})
			if err != nil {
				t.Error(err)
			}
			if created {
				count.Add(1)
			}
		})
	}
	wg.Wait()
	if n := count.Load(); n != 1 {
		t.Errorf("first users: got %d, want 1", n)
	}
}

func TestRoles(t *testing.T) {
	order := []store.Role{store.Viewer, store.Operator, store.Engineer, store.Admin}
	for i, r := range order {
		for j, other := range order {
			if got, want := r.Includes(other), i >= j; got != want {
				t.Errorf("%s includes %s: got %v", r, other, got)
			}
		}
		if r.Includes("") || store.Role("").Includes(r) || store.Role("root").Includes(r) {
			t.Errorf("%s: includes an unknown role, or is included in one", r)
		}
	}
}

func TestLoginSessions(t *testing.T) {
	s, db := openRaw(t)
	ann := addUser(t, s, "ann")
	begin := func(t *testing.T, token string) string {
		t.Helper()
		id, err := s.CreateLoginSession(t.Context(), ann.ID, token, time.Hour)
		ok(t, err)
		return id
	}
	endReason := func(session string) string {
		return scan[string](t, db, `SELECT end_reason FROM sessions WHERE id = $1`, session)
	}
	t.Run("a refresh token can be rotated once, its successor, too",
		func(t *testing.T) {
			id := begin(t, "r1")
			for _, step := range [][2]string{{"r1", "r2"}, {"r2", "r3"}, {"r3", "r4"}} {
				session, err := s.RotateRefreshToken(t.Context(), step[0], step[1], time.Hour)
				if err != nil || session.ID != id || session.User.ID != ann.ID ||
					session.Username != "ann" {
					t.Fatalf("%s: got %+v, %v", step[0], session, err)
				}
			}
			session, err := s.LoginSession(t.Context(), id)
			if err != nil || session.User != ann {
				t.Errorf("got %+v, %v", session, err)
			}
		})
	t.Run("a token that is used twice ends its session", func(t *testing.T) {
		id := begin(t, "f1")
		_, err := s.RotateRefreshToken(t.Context(), "f1", "f2", time.Hour)
		ok(t, err)
		session, err := s.RotateRefreshToken(t.Context(), "f1", "stolen", time.Hour)
		isError(t, err, store.ErrTokenReused)
		if session.ID != id {
			t.Errorf("session: got %q, want %q", session.ID, id)
		}
		for _, token := range []string{"f2", "stolen"} {
			_, err := s.RotateRefreshToken(t.Context(), token, "f3", time.Hour)
			isError(t, err, store.ErrNotFound)
		}
		_, err = s.LoginSession(t.Context(), id)
		isError(t, err, store.ErrNotFound)
		if got := endReason(id); got != "refresh token used twice" {
			t.Errorf("reason: got %q", got)
		}
	})
	t.Run("unknown, expired, ended and disabled users' sessions are not found", func(t *testing.T) {
		_, err := s.RotateRefreshToken(t.Context(), "never", "x", time.Hour)
		isError(t, err, store.ErrNotFound)
		id, err := s.CreateLoginSession(t.Context(), ann.ID, "late", -time.Second)
		ok(t, err)
		ended := begin(t, "ended")
		ok(t, s.EndLoginSession(t.Context(), ended, "logout"))
		ok(t, s.EndLoginSession(t.Context(), ended, "again"))
		if got := endReason(ended); got != "logout" {
			t.Errorf("reason: got %q", got)
		}
		disabled := begin(t, "disabled")
		run(t, db, `UPDATE users SET is_active = false`)
		defer run(t, db, `UPDATE users SET is_active = true`)
		for token, id := range map[string]string{"late": id, "ended": ended, "disabled": disabled} {
			_, err := s.RotateRefreshToken(t.Context(), token, "x", time.Hour)
			isError(t, err, store.ErrNotFound)
			_, err = s.LoginSession(t.Context(), id)
			isError(t, err, store.ErrNotFound)
		}
	})
	t.Run("a new password ends the other sessions", func(t *testing.T) {
		mine, other := begin(t, "p1"), begin(t, "p2")
		ok(t, s.SetPassword(t.Context(), ann.ID, "new", mine))
		_, err := s.LoginSession(t.Context(), mine)
		ok(t, err)
		_, err = s.LoginSession(t.Context(), other)
		isError(t, err, store.ErrNotFound)
		ok(t, s.SetPassword(t.Context(), ann.ID, "newer", ""))
		_, err = s.LoginSession(t.Context(), mine)
		isError(t, err, store.ErrNotFound)
	})
	t.Run("a malformed session id is not valid, and an unknown user gets no session",
		func(t *testing.T) {
			_, err := s.LoginSession(t.Context(), "x")
			isError(t, err, store.ErrInvalid)
			_, err = s.CreateLoginSession(t.Context(), 999, "n", time.Hour)
			isError(t, err, store.ErrInUse)
		})
	t.Run("a token is stored as its hash", func(t *testing.T) {
		begin(t, "clear")
		const q = `
			SELECT count(*)
			FROM refresh_tokens
			WHERE position('clear'::bytea IN hash) > 0 OR length(hash) <> 32`
		if n := scan[int](t, db, q); n != 0 {
			t.Errorf("got %d", n)
		}
	})
}

func TestTickets(t *testing.T) {
	s, db := openRaw(t)
	id, err := s.CreateLoginSession(t.Context(), addUser(t, s, "ann").ID, "r", time.Hour)
	ok(t, err)
	ok(t, s.CreateTicket(t.Context(), id, "once", time.Minute))
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			session, _, err := s.UseTicket(t.Context(), "once")
			if err == nil && session.ID == id && session.Username == "ann" {
				won.Add(1)
			} else {
				isError(t, err, store.ErrNotFound)
			}
		})
	}
	wg.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("used: got %d times, want 1", n)
	}
	ok(t, s.CreateTicket(t.Context(), id, "late", -time.Second))
	_, _, err = s.UseTicket(t.Context(), "late")
	isError(t, err, store.ErrNotFound)
	ok(t, s.CreateTicket(t.Context(), id, "after", time.Minute))
	ok(t, s.EndLoginSession(t.Context(), id, "logout"))
	_, _, err = s.UseTicket(t.Context(), "after")
	isError(t, err, store.ErrNotFound)
	isError(t,
		s.CreateTicket(t.Context(), "4b5c1a4e-0000-4000-8000-000000000000", "stray", time.Minute),
		store.ErrInUse)

	t.Run("expired tickets are deleted, and their sessions a week later", func(t *testing.T) {
		user := scan[int64](t, db, `SELECT id FROM users`)
		fresh, err := s.CreateLoginSession(t.Context(), user, "fresh", time.Hour)
		ok(t, err)
		ok(t, s.CreateTicket(t.Context(), fresh, "good", time.Minute))
		ok(t, s.DeleteExpiredSessions(t.Context()))
		if n := scan[int](t, db, `SELECT count(*) FROM ws_tickets`); n != 1 {
			t.Errorf("tickets: got %d, want the good one", n)
		}
		if n := scan[int](t, db, `SELECT count(*) FROM sessions`); n != 2 {
			t.Errorf("sessions: got %d, want both", n)
		}
		run(t, db, `UPDATE sessions SET ended_at = now() - interval '8 days' WHERE id = $1`, id)
		ok(t, s.DeleteExpiredSessions(t.Context()))
		var left sql.NullString
		ok(t, db.QueryRow(`SELECT string_agg(id::text, ' ') FROM sessions`).Scan(&left))
		if left.String != fresh {
			t.Errorf("left: got %q, want %q", left.String, fresh)
		}
	})
}
