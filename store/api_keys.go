package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// APIKey is a key with which a program uses the API.
type APIKey struct {
	ID     int64  `db:"id"`
	Name   string `db:"name"`
	Prefix string `db:"prefix"` // the public part of the key
	Hash   []byte `db:"hash"`   // SHA-256 of the whole key
	Role   Role   `db:"role"`
	// RequestsPerMinute is nil for the setting's.
	RequestsPerMinute *int       `db:"requests_per_minute"`
	ExpiresAt         *time.Time `db:"expires_at"` // nil: never
	CreatedBy         *string    `db:"created_by"` // username; nil: the command line
	LastUsedAt        *time.Time `db:"last_used_at"`
	LastUsedFrom      *string    `db:"last_used_from"` // address
	CreatedAt         time.Time  `db:"created_at"`
	UpdatedAt         time.Time  `db:"updated_at"` // by an admin
	Version           int64      `db:"version"`    // counts changes by admins
}

// APIKeyFilter selects API keys; nil takes all.
type APIKeyFilter struct {
	Name, Prefix, CreatedBy *string
	Role                    *Role
	IsExpired               *bool
	// UnusedSince selects keys that were created before it and not used from it on.
	UnusedSince *time.Time
}

// APIKeyChange holds the new values of an API key; nil keeps the old one.
type APIKeyChange struct {
	Name              *string
	Role              *Role
	RequestsPerMinute *sql.Null[int]       // not Valid: the setting's
	ExpiresAt         *sql.Null[time.Time] // not Valid: never
}

// APIKeyUse is when and from which address the API key with this id was last used.
type APIKeyUse struct {
	ID   int64
	At   time.Time
	Addr string
}

const apiKeyColumns = `id, name, prefix, hash, role, requests_per_minute, expires_at, created_by,
	last_used_at, last_used_from, created_at, updated_at, version`

const apiKeyWhere = `
	WHERE ($1::text IS NULL OR name = $1)
		AND ($2::text IS NULL OR prefix = $2)
		AND ($3::text IS NULL OR created_by = $3)
		AND ($4::text IS NULL OR role = $4)
		AND ($5::boolean IS NULL OR coalesce(expires_at <= now(), false) = $5)
		AND ($6::timestamptz IS NULL
			OR created_at < $6 AND coalesce(last_used_at < $6, true))`

func (f APIKeyFilter) args() []any {
	return []any{f.Name, f.Prefix, f.CreatedBy, f.Role, f.IsExpired, f.UnusedSince}
}

// CreateAPIKey adds k and returns it as stored, with secret, the whole key, as its hash. A taken
// name is a ConflictError.
func (s *Store) CreateAPIKey(ctx context.Context, k APIKey, secret string) (APIKey, error) {
	err := inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		const q = `
			INSERT INTO api_keys (name, prefix, hash, role, requests_per_minute, expires_at,
				created_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7)
			RETURNING ` + apiKeyColumns
		if err := tx.GetContext(ctx, &k, q, k.Name, k.Prefix, digest(secret), k.Role,
			k.RequestsPerMinute, k.ExpiresAt, k.CreatedBy); err != nil {
			return err
		}
		return countAPIKeyChange(ctx, tx)
	})
	return k, explain(fmt.Sprintf("API key %q", k.Name), err)
}

// APIKeys returns at most limit API keys with an id above after, in order of id.
func (s *Store) APIKeys(
	ctx context.Context, f APIKeyFilter, after int64, limit int,
) ([]APIKey, error) {
	const q = `SELECT ` + apiKeyColumns + ` FROM api_keys ` + apiKeyWhere +
		` AND id > $7 ORDER BY id LIMIT $8`
	list := []APIKey{}
	err := s.api.SelectContext(ctx, &list, q, append(f.args(), after, limit)...)
	return list, explain("API keys", err)
}

// CountAPIKeys returns how many API keys f selects.
func (s *Store) CountAPIKeys(ctx context.Context, f APIKeyFilter) (int64, error) {
	var n int64
	err := s.api.GetContext(ctx, &n, `SELECT count(*) FROM api_keys `+apiKeyWhere, f.args()...)
	return n, explain("API keys", err)
}

// APIKey returns the API key id, or ErrNotFound.
func (s *Store) APIKey(ctx context.Context, id int64) (APIKey, error) {
	var k APIKey
	err := s.api.GetContext(ctx, &k, `SELECT `+apiKeyColumns+` FROM api_keys WHERE id = $1`, id)
	return k, explain("API key", err)
}

// APIKeyByPrefix returns the API key with this prefix, or ErrNotFound. An expired one is returned.
func (s *Store) APIKeyByPrefix(ctx context.Context, prefix string) (APIKey, error) {
	var k APIKey
	err := s.api.GetContext(ctx, &k, `SELECT `+apiKeyColumns+` FROM api_keys WHERE prefix = $1`,
		prefix)
	return k, explain("API key", err)
}

// UpdateAPIKey changes the API key id if it still has version (0: any version), else ErrStale. A
// taken name is a ConflictError.
func (s *Store) UpdateAPIKey(
	ctx context.Context, id, version int64, c APIKeyChange,
) (k APIKey, err error) {
	err = inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		if err := lockVersion(ctx, tx, "api_keys", id, version); err != nil {
			return err
		}
		const q = `
			UPDATE api_keys
			SET name = coalesce($2, name), role = coalesce($3, role),
				requests_per_minute = CASE WHEN $4 THEN $5::int ELSE requests_per_minute END,
				expires_at = CASE WHEN $6 THEN $7::timestamptz ELSE expires_at END,
				version = version + 1, updated_at = now()
			WHERE id = $1
			RETURNING ` + apiKeyColumns
		if err := tx.GetContext(ctx, &k, q, id, c.Name, c.Role,
			c.RequestsPerMinute != nil, orZero(c.RequestsPerMinute),
			c.ExpiresAt != nil, orZero(c.ExpiresAt)); err != nil {
			return err
		}
		return countAPIKeyChange(ctx, tx)
	})
	return k, explain("API key", err)
}

// DeleteAPIKey deletes the API key id if it still has version (0: any version), and returns it.
func (s *Store) DeleteAPIKey(ctx context.Context, id, version int64) (k APIKey, err error) {
	err = inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		if err := lockVersion(ctx, tx, "api_keys", id, version); err != nil {
			return err
		}
		const q = `DELETE FROM api_keys WHERE id = $1 RETURNING ` + apiKeyColumns
		if err := tx.GetContext(ctx, &k, q, id); err != nil {
			return err
		}
		return countAPIKeyChange(ctx, tx)
	})
	return k, explain("API key", err)
}

// countAPIKeyChange makes every instance read API keys again, once tx has committed.
func countAPIKeyChange(ctx context.Context, tx *sqlx.Tx) error {
	_, err := tx.ExecContext(ctx, `UPDATE api_key_changes SET changes = changes + 1`)
	return err
}

// APIKeyChanges counts changes of API keys. As long as it is the same, so are all keys, except for
// their use.
func (s *Store) APIKeyChanges(ctx context.Context) (int64, error) {
	var n int64
	err := s.api.GetContext(ctx, &n, `SELECT changes FROM api_key_changes`)
	return n, explain("API keys", err)
}

// AddAPIKeyUses records when keys were last used, unless a later use is recorded. Keys that do not
// exist are ignored.
func (s *Store) AddAPIKeyUses(ctx context.Context, uses []APIKeyUse) error {
	// Rows are locked in order of id, so that two instances never wait for each other in a circle.
	const q = `
		WITH locked AS (
			SELECT id
			FROM api_keys
			WHERE id = ANY($1::int[])
			ORDER BY id
			FOR UPDATE)
		UPDATE api_keys k
		SET last_used_at = u.at, last_used_from = u.addr
		FROM locked
		JOIN unnest($1::int[], $2::timestamptz[], $3::text[]) AS u (id, at, addr) USING (id)
		WHERE k.id = locked.id AND coalesce(k.last_used_at < u.at, true)`
	_, err := s.api.ExecContext(ctx, q,
		column(uses, asInt4, func(u APIKeyUse) int64 { return u.ID }),
		column(uses, asTimestamptz, func(u APIKeyUse) time.Time { return u.At }),
		column(uses, asText, func(u APIKeyUse) string { return u.Addr }))
	return explain("API key uses", err)
}
