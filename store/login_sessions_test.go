package store_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

func TestRotateRefreshToken_RepeatedWithinGrace(t *testing.T) {
	s, db := openRaw(t)
	ann := addUser(t, s, "ann")
	age := func(t *testing.T, token string, seconds int) {
		t.Helper()
		run(t, db, `UPDATE refresh_tokens SET used_at = now() - make_interval(secs => $2)
			WHERE hash = sha256($1::bytea)`, token, seconds)
	}
	rotate := func(t *testing.T, used, next string, want error) {
		t.Helper()
		_, err := s.RotateRefreshToken(t.Context(), used, next, time.Hour)
		isError(t, err, want)
	}
	tests := map[string]struct {
		between func(t *testing.T, session string)
		want    error
		ended   string // reason; empty: the session has not ended
	}{
		"at once": {func(*testing.T, string) {}, nil, ""},
		"29 seconds later": {
			func(t *testing.T, _ string) { age(t, "0", 29) }, nil, "",
		},
		"several times": {
			func(t *testing.T, _ string) { rotate(t, "0", "1", nil); rotate(t, "0", "1", nil) },
			nil, "",
		},
		"31 seconds later": {
			func(t *testing.T, _ string) { age(t, "0", 31) },
			store.ErrTokenReused, "refresh token used twice",
		},
		"31 seconds later after a repetition": {
			func(t *testing.T, _ string) { rotate(t, "0", "1", nil); age(t, "0", 31) },
			store.ErrTokenReused, "refresh token used twice",
		},
		"after its successor was used": {
			func(t *testing.T, _ string) { rotate(t, "1", "2", nil) },
			store.ErrTokenReused, "refresh token used twice",
		},
		"after the session has ended": {
			func(t *testing.T, session string) {
				ok(t, s.EndLoginSession(t.Context(), session, "logout"))
			},
			store.ErrNotFound, "logout",
		},
		"after the user was disabled": {
			func(t *testing.T, _ string) {
				run(t, db, `UPDATE users SET is_active = false`)
				t.Cleanup(func() { _, _ = db.Exec(`UPDATE users SET is_active = true`) })
			},
			store.ErrNotFound, "",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, db, `TRUNCATE refresh_tokens`)
			id, err := s.CreateLoginSession(t.Context(), ann.ID, "0", time.Hour)
			ok(t, err)
			rotate(t, "0", "1", nil)
			tt.between(t, id)
			session, err := s.RotateRefreshToken(t.Context(), "0", "1", time.Hour)
			isError(t, err, tt.want)
			if session.ID != id || session.Username != "ann" {
				t.Errorf("session: got %+v, want %s of ann", session, id)
			}
			ended := scan[sql.NullString](t, db, `SELECT end_reason FROM sessions WHERE id = $1`,
				id)
			if ended.String != tt.ended {
				t.Errorf("session ended: got %q, want %q", ended.String, tt.ended)
			}
			if tt.want == nil {
				rotate(t, "1", "2", nil)
			}
		})
	}
	t.Run("a token of another session is no successor", func(t *testing.T) {
		_, err := s.CreateLoginSession(t.Context(), ann.ID, "a0", time.Hour)
		ok(t, err)
		_, err = s.CreateLoginSession(t.Context(), ann.ID, "b1", time.Hour)
		ok(t, err)
		rotate(t, "a0", "a1", nil)
		rotate(t, "a0", "b1", store.ErrTokenReused)
	})
}

// Both callers are in their transactions before the first can commit: a third transaction locks the
// token's row until both wait for it. Callers that are only started at the same time do not show a
// missing lock, because the first commits while the second still connects.
func TestRotateRefreshToken_TwoCallersAtOnce(t *testing.T) {
	tests := map[string]struct {
		next   [2]string
		second error // of the caller that gets the lock second
	}{
		"the same successor is created once and both get it": {[2]string{"same", "same"}, nil},
		"one of two successors is created": {
			[2]string{"one", "other"}, store.ErrTokenReused,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, db := openRaw(t)
			ann := addUser(t, s, "ann")
			id, err := s.CreateLoginSession(t.Context(), ann.ID, "first", time.Hour)
			ok(t, err)
			blocking, err := db.BeginTx(t.Context(), nil)
			ok(t, err)
			_, err = blocking.Exec(`SELECT FROM refresh_tokens FOR UPDATE`)
			ok(t, err)
			errs := make(chan error, 2)
			for _, next := range tt.next {
				go func() {
					_, err := s.RotateRefreshToken(t.Context(), "first", next, time.Hour)
					errs <- err
				}()
			}
			const waiting = `
				SELECT count(*)
				FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock'`
			within(t, "both callers wait", func() bool { return scan[int](t, db, waiting) == 2 })
			ok(t, blocking.Rollback())
			got := []error{<-errs, <-errs}
			if got[0] != nil {
				got[0], got[1] = got[1], got[0]
			}
			isError(t, got[0], nil)
			isError(t, got[1], tt.second)
			const count = `SELECT count(*) FROM refresh_tokens WHERE session_id = $1`
			if n := scan[int](t, db, count, id); n != 2 {
				t.Errorf("tokens of the session: got %d, want the first and one successor", n)
			}
		})
	}
}
