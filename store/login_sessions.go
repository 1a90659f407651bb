package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"
)

// ErrTokenReused means that a used refresh token was presented again and could not be answered with
// its successor. Its session has been ended.
var ErrTokenReused = errors.New("refresh token was used before")

// refreshGrace is how long a used refresh token is still answered with its successor, in seconds.
const refreshGrace = 30

// LoginSession is a login session that has not ended, with its user.
type LoginSession struct {
	ID string
	User
}

// CreateLoginSession begins a session of user that lasts ttl at most, with refresh as its first
// refresh token.
func (s *Store) CreateLoginSession(
	ctx context.Context, user int64, refresh string, ttl time.Duration,
) (string, error) {
	var id string
	err := inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		const q = `
			INSERT INTO sessions (user_id, expires_at)
			VALUES ($1, now() + make_interval(secs => $2))
			RETURNING id::text`
		if err := tx.GetContext(ctx, &id, q, user, ttl.Seconds()); err != nil {
			return err
		}
		return addRefreshToken(ctx, tx, id, refresh)
	})
	return id, explain("session", err)
}

// RotateRefreshToken replaces the refresh token used by next and lets its session expire after ttl.
// A token that is unknown or expired, or whose session has ended or whose user is not active, is
// ErrNotFound.
//
// A token that was used before changes nothing as long as next is its unused successor and no older
// than refreshGrace: the client lost the first answer, or two clients share the token. Otherwise
// its session is ended, and the error is ErrTokenReused, with the session.
func (s *Store) RotateRefreshToken(
	ctx context.Context, used, next string, ttl time.Duration,
) (LoginSession, error) {
	var session LoginSession
	reused := false
	err := inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		var row struct {
			SessionID string `db:"session_id"`
			Used      bool   `db:"used"`
			Recent    bool   `db:"recent"`
			Alive     bool   `db:"alive"`
			User
		}
		const q = `
			SELECT t.session_id::text AS session_id, t.used_at IS NOT NULL AS used,
				coalesce(t.used_at > now() - make_interval(secs => $2), false) AS recent,
				s.ended_at IS NULL AND s.expires_at > now() AND u.is_active AS alive,
				u.id, u.username, u.email, u.password_hash, u.role, u.is_active, u.version,
				u.created_at, u.updated_at
			FROM refresh_tokens t
			JOIN sessions s ON s.id = t.session_id
			JOIN users u ON u.id = s.user_id
			WHERE t.hash = $1
			FOR UPDATE OF s, t`
		if err := tx.GetContext(ctx, &row, q, digest(used), refreshGrace); err != nil {
			return err
		}
		session = LoginSession{ID: row.SessionID, User: row.User}
		if row.Used {
			repeated, err := isUnusedToken(ctx, tx, row.SessionID, next)
			if err != nil {
				return err
			}
			if !row.Recent || !repeated {
				reused = true // even if the session has ended: the attempt is to be logged
				return endSession(ctx, tx, row.SessionID, "refresh token used twice")
			}
		}
		if !row.Alive {
			return ErrNotFound
		}
		if row.Used {
			return nil
		}
		return replaceRefreshToken(ctx, tx, row.SessionID, used, next, ttl)
	})
	if err == nil && reused {
		err = ErrTokenReused
	}
	return session, explain("refresh token", err)
}

// isUnusedToken reports whether token is an unused refresh token of session.
func isUnusedToken(
	ctx context.Context, tx *sqlx.Tx, session, token string,
) (unused bool, err error) {
	const q = `
		SELECT EXISTS (
			SELECT FROM refresh_tokens
			WHERE hash = $1 AND session_id = $2::uuid AND used_at IS NULL)`
	err = tx.GetContext(ctx, &unused, q, digest(token), session)
	return unused, err
}

// replaceRefreshToken marks used as used, adds next, and lets session expire after ttl.
func replaceRefreshToken(
	ctx context.Context, tx *sqlx.Tx, session, used, next string, ttl time.Duration,
) error {
	const use = `UPDATE refresh_tokens SET used_at = now() WHERE hash = $1`
	if _, err := tx.ExecContext(ctx, use, digest(used)); err != nil {
		return err
	}
	const extend = `
		UPDATE sessions
		SET expires_at = now() + make_interval(secs => $2)
		WHERE id = $1`
	if _, err := tx.ExecContext(ctx, extend, session, ttl.Seconds()); err != nil {
		return err
	}
	return addRefreshToken(ctx, tx, session, next)
}

// LoginSession returns the session id if it has not ended and its user is active, else ErrNotFound.
func (s *Store) LoginSession(ctx context.Context, id string) (LoginSession, error) {
	const q = `
		SELECT ` + userColumns + `
		FROM users
		WHERE is_active AND id = (
			SELECT user_id
			FROM sessions
			WHERE id = $1::uuid AND ended_at IS NULL AND expires_at > now())`
	session := LoginSession{ID: id}
	err := s.api.GetContext(ctx, &session.User, q, id)
	return session, explain("session", err)
}

// EndLoginSession ends the session id; ending it twice is harmless.
func (s *Store) EndLoginSession(ctx context.Context, id, reason string) error {
	return explain("session", endSession(ctx, s.api, id, reason))
}

func endSession(ctx context.Context, db sqlx.ExecerContext, id, reason string) error {
	const q = `
		UPDATE sessions
		SET ended_at = now(), end_reason = $2
		WHERE id = $1::uuid AND ended_at IS NULL`
	_, err := db.ExecContext(ctx, q, id, reason)
	return err
}

// DeleteExpiredSessions removes tickets and MQTT sessions that have expired, and sessions a week
// after they expired or ended.
func (s *Store) DeleteExpiredSessions(ctx context.Context) error {
	for _, q := range []string{
		`DELETE FROM mqtt_sessions WHERE expires_at < now()`,
		`DELETE FROM ws_tickets WHERE expires_at < now()`,
		`DELETE FROM sessions WHERE least(expires_at, ended_at) < now() - interval '7 days'`,
	} {
		if _, err := s.api.ExecContext(ctx, q); err != nil {
			return explain("expired sessions", err)
		}
	}
	return nil
}

func addRefreshToken(ctx context.Context, tx *sqlx.Tx, session, token string) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO refresh_tokens (hash, session_id) VALUES ($1, $2::uuid)`, digest(token),
		session)
	return err
}

// digest is what is stored of a secret with high entropy.
func digest(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}
