package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// ErrLastAdmin means that a change would leave no active admin.
var ErrLastAdmin = errors.New("the last active admin")

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

// UserFilter selects users; nil takes all.
type UserFilter struct {
	Username *string
	Role     *Role
	IsActive *bool
}

// UserChange holds the new values of a user; nil keeps the old one.
type UserChange struct {
	Username, Email, PasswordHash *string
	Role                          *Role
	IsActive                      *bool
}

const userColumns = `id, username, email, password_hash, role, is_active, version,
	created_at, updated_at`

const userWhere = `
	WHERE ($1::text IS NULL OR username = $1)
		AND ($2::text IS NULL OR role = $2)
		AND ($3::boolean IS NULL OR is_active = $3)`

// CreateUser adds u and returns it as stored. A taken username or email is a ConflictError.
func (s *Store) CreateUser(ctx context.Context, u User) (User, error) {
	const q = `
		INSERT INTO users (username, email, password_hash, role, is_active)
		VALUES ($1, $2, $3, $4, $5)
		RETURNING ` + userColumns
	err := s.api.GetContext(ctx, &u, q, u.Username, u.Email, u.PasswordHash, u.Role, u.IsActive)
	return u, explain(fmt.Sprintf("user %q", u.Username), err)
}

// CreateFirstUser adds u if there are no users, and reports whether it did. Of instances that start
// at the same time one adds it.
func (s *Store) CreateFirstUser(ctx context.Context, u User) (bool, error) {
	created := false
	err := inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		const lock = `LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE`
		if _, err := tx.ExecContext(ctx, lock); err != nil {
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

// HasUsers reports whether at least one user exists.
func (s *Store) HasUsers(ctx context.Context) (bool, error) {
	var has bool
	err := s.api.GetContext(ctx, &has, `SELECT EXISTS (SELECT FROM users)`)
	return has, explain("users", err)
}

// UserByName returns the user with this username, or ErrNotFound.
func (s *Store) UserByName(ctx context.Context, username string) (User, error) {
	var u User
	err := s.api.GetContext(ctx, &u, `SELECT `+userColumns+` FROM users WHERE username = $1`,
		username)
	return u, explain("user", err)
}

// SetPassword replaces the password hash of a user and ends the user's login sessions except keep,
// which may be empty.
func (s *Store) SetPassword(ctx context.Context, user int64, hash, keep string) error {
	err := inTx(ctx, s.api, func(tx *sqlx.Tx) error {
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

// ReplacePasswordHash replaces the hash of a user's password by another hash of the same password,
// unless the password was changed meanwhile.
func (s *Store) ReplacePasswordHash(ctx context.Context, user int64, old, hash string) error {
	_, err := s.api.ExecContext(ctx,
		`UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2`, user, old, hash)
	return explain("password", err)
}

// orNotFound returns err, or ErrNotFound if that is nil: for a statement that changed no row.
func orNotFound(err error) error {
	if err != nil {
		return err
	}
	return ErrNotFound
}

// Users returns at most limit users with an id above after, in order of id.
func (s *Store) Users(ctx context.Context, f UserFilter, after int64, limit int) ([]User, error) {
	const q = `SELECT ` + userColumns + ` FROM users ` + userWhere +
		` AND id > $4 ORDER BY id LIMIT $5`
	us := []User{}
	err := s.api.SelectContext(ctx, &us, q, f.Username, f.Role, f.IsActive, after, limit)
	return us, explain("users", err)
}

// CountUsers returns how many users f selects.
func (s *Store) CountUsers(ctx context.Context, f UserFilter) (int64, error) {
	var n int64
	err := s.api.GetContext(ctx, &n, `SELECT count(*) FROM users `+userWhere, f.Username, f.Role,
		f.IsActive)
	return n, explain("users", err)
}

// User returns the user id, or ErrNotFound.
func (s *Store) User(ctx context.Context, id int64) (User, error) {
	var u User
	err := s.api.GetContext(ctx, &u, `SELECT `+userColumns+` FROM users WHERE id = $1`, id)
	return u, explain("user", err)
}

// UpdateUser changes the user id if it still has version (0: any version), else ErrStale. A new
// password and being made inactive end the user's sessions, whose ids are returned. A taken
// username or email is ErrConflict; a change that leaves no active admin is ErrLastAdmin.
func (s *Store) UpdateUser(
	ctx context.Context, id, version int64, c UserChange,
) (u User, ended []string, err error) {
	err = s.keepAdmin(ctx, func(tx *sqlx.Tx) error {
		if err := lockVersion(ctx, tx, "users", id, version); err != nil {
			return err
		}
		const q = `
			UPDATE users
			SET username = coalesce($2, username), email = coalesce($3, email),
				password_hash = coalesce($4, password_hash), role = coalesce($5, role),
				is_active = coalesce($6, is_active), version = version + 1, updated_at = now()
			WHERE id = $1
			RETURNING ` + userColumns
		if err := renameCreator(ctx, tx, id, c.Username); err != nil {
			return err
		}
		if err := tx.GetContext(ctx, &u, q, id, c.Username, c.Email, c.PasswordHash, c.Role,
			c.IsActive); err != nil {
			return err
		}
		switch {
		case !u.IsActive:
			ended, err = endSessions(ctx, tx, id, "user disabled")
		case c.PasswordHash != nil:
			ended, err = endSessions(ctx, tx, id, "password changed")
		}
		return err
	})
	return u, ended, explain("user", err)
}

// renameCreator lets the API keys that user created name the user by the new name, unless that is
// nil.
func renameCreator(ctx context.Context, tx *sqlx.Tx, user int64, name *string) error {
	if name == nil {
		return nil
	}
	const q = `
		UPDATE api_keys
		SET created_by = $2
		WHERE created_by = (SELECT username FROM users WHERE id = $1)`
	_, err := tx.ExecContext(ctx, q, user, *name)
	return err
}

// DeleteUser deletes the user id if it still has version (0: any version). It returns the ids of
// the login sessions that this ends, and how many API keys the user created, which stay. The last
// active admin is ErrLastAdmin. With dryRun nothing is changed.
func (s *Store) DeleteUser(
	ctx context.Context, id, version int64, dryRun bool,
) (ended []string, apiKeys int, err error) {
	errDryRun := errors.New("dry run")
	err = s.keepAdmin(ctx, func(tx *sqlx.Tx) error {
		if err := lockVersion(ctx, tx, "users", id, version); err != nil {
			return err
		}
		if ended, err = endSessions(ctx, tx, id, "user deleted"); err != nil {
			return err
		}
		const q = `
			DELETE FROM users u
			WHERE id = $1
			RETURNING (SELECT count(*) FROM api_keys WHERE created_by = u.username)`
		if err := tx.GetContext(ctx, &apiKeys, q, id); err != nil || !dryRun {
			return err
		}
		if err := checkAdmin(ctx, tx); err != nil {
			return err
		}
		return errDryRun
	})
	if errors.Is(err, errDryRun) {
		err = nil
	}
	return ended, apiKeys, explain("user", err)
}

// keepAdmin runs f in a transaction that must leave an active admin. It locks the active admins, so
// that two transactions cannot remove one each.
func (s *Store) keepAdmin(ctx context.Context, f func(*sqlx.Tx) error) error {
	return inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		const q = `SELECT FROM users WHERE role = 'admin' AND is_active ORDER BY id FOR UPDATE`
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return err
		}
		if err := f(tx); err != nil {
			return err
		}
		return checkAdmin(ctx, tx)
	})
}

// checkAdmin is ErrLastAdmin if there is no active admin.
func checkAdmin(ctx context.Context, tx *sqlx.Tx) error {
	var has bool
	err := tx.GetContext(ctx, &has,
		`SELECT EXISTS (SELECT FROM users WHERE role = 'admin' AND is_active)`)
	if err == nil && !has {
		return ErrLastAdmin
	}
	return err
}

// endSessions ends the login sessions of a user and returns the ids of those that were open.
func endSessions(ctx context.Context, tx *sqlx.Tx, user int64, reason string) ([]string, error) {
	const q = `
		UPDATE sessions
		SET ended_at = now(), end_reason = $2
		WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now()
		RETURNING id::text`
	ids := []string{}
	err := tx.SelectContext(ctx, &ids, q, user, reason)
	return ids, err
}
