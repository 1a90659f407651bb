package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// Role is what a user may do; each includes the ones before it.
type Role string

// The roles, least first.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
	Engineer Role = "engineer"
	Admin    Role = "admin"
)

var rank = map[Role]int{Viewer: 1, Operator: 2, Engineer: 3, Admin: 4}

// Valid reports whether r is one of the roles.
func (r Role) Valid() bool { return rank[r] > 0 }

// Includes reports whether r may do what other may. An unknown role may nothing.
func (r Role) Includes(other Role) bool { return r.Valid() && other.Valid() && rank[r] >= rank[other] }

// User is a person or program that logs in.
type User struct {
	ID           int64     `db:"id"`
	Username     string    `db:"username"`
	Email        string    `db:"email"`
	PasswordHash string    `db:"password_hash"`
	Role         Role      `db:"role"`
	IsActive     bool      `db:"is_active"`
	Version      int64     `db:"version"` // counts changes by admins
	CreatedAt    time.Time `db:"created_at"`
	UpdatedAt    time.Time `db:"updated_at"`
}

const userColumns = `id, username, email, password_hash, role, is_active, version, created_at, updated_at`

// CreateUser adds u and returns it with its id. A taken username or email is ErrConflict.
func (s *Store) CreateUser(ctx context.Context, u User) (User, error) {
	const q = `
		INSERT INTO users (username, email, password_hash, role, is_active)
		VALUES ($1, $2, $3, $4, $5)
		RETURNING ` + userColumns
	err := s.api.GetContext(ctx, &u, q, u.Username, u.Email, u.PasswordHash, u.Role, u.IsActive)
	return u, explain(fmt.Sprintf("user %q", u.Username), emailTaken(err))
}

// CreateFirstUser adds u when there is no user at all, and reports whether it did. Instances that
// start together make one.
func (s *Store) CreateFirstUser(ctx context.Context, u User) (bool, error) {
	created := false
	err := tx(ctx, s.api, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		const q = `
			INSERT INTO users (username, email, password_hash, role, is_active)
			SELECT $1, $2, $3, $4, true
			WHERE NOT EXISTS (SELECT FROM users)`
		res, err := tx.ExecContext(ctx, q, u.Username, u.Email, u.PasswordHash, u.Role)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		created = n == 1
		return err
	})
	return created, explain("first user", err)
}

// HasUsers reports whether there is any user.
func (s *Store) HasUsers(ctx context.Context) (bool, error) {
	var has bool
	err := s.api.GetContext(ctx, &has, `SELECT EXISTS (SELECT FROM users)`)
	return has, explain("users", err)
}

// UserByName returns the user who logs in as username, or ErrNotFound.
func (s *Store) UserByName(ctx context.Context, username string) (User, error) {
	var u User
	err := s.api.GetContext(ctx, &u, `SELECT `+userColumns+` FROM users WHERE username = $1`,
		username)
	return u, explain("user", err)
}

// SetPassword replaces the password hash of a user and ends all sessions but keep, which may be
// empty.
func (s *Store) SetPassword(ctx context.Context, user int64, hash, keep string) error {
	err := tx(ctx, s.api, func(tx *sqlx.Tx) error {
		res, err := tx.ExecContext(ctx,
			`UPDATE users SET password_hash = $2, updated_at = now() WHERE id = $1`, user, hash)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return orNotFound(err)
		}
		const q = `
			UPDATE sessions
			SET ended_at = now(), end_reason = 'password changed'
			WHERE user_id = $1 AND ended_at IS NULL AND id::text <> $2`
		_, err = tx.ExecContext(ctx, q, user, keep)
		return err
	})
	return explain("password", err)
}

// Rehash replaces the password hash of a user by one of the same password, unless it was changed
// meanwhile.
func (s *Store) Rehash(ctx context.Context, user int64, old, hash string) error {
	_, err := s.api.ExecContext(ctx,
		`UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2`, user, old, hash)
	return explain("password", err)
}

// orNotFound is for a statement that met no row.
func orNotFound(err error) error {
	if err != nil {
		return err
	}
	return ErrNotFound
}
