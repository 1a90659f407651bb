package store

import (
	"context"
	"crypto/subtle"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// credentialsInForce is how many secrets of a gateway are valid at a time: the one in use and the
// one it moves to.
const credentialsInForce = 2

// Credential is a secret a gateway may connect with; the secret itself is not kept.
type Credential struct {
	ID         int64      `db:"id"`
	GatewayID  int64      `db:"gateway_id"`
	CreatedAt  time.Time  `db:"created_at"`
	LastUsedAt *time.Time `db:"last_used_at"`
}

// Credentials returns the credentials of a gateway that are in force, oldest first, or ErrNotFound
// without such a gateway.
func (s *Store) Credentials(ctx context.Context, gateway int64) ([]Credential, error) {
	if _, err := s.Gateway(ctx, gateway); err != nil {
		return nil, err
	}
	cs := []Credential{}
	const q = `SELECT id, gateway_id, created_at, last_used_at FROM gateway_credentials WHERE gateway_id = $1 ORDER BY id`
	err := s.api.SelectContext(ctx, &cs, q, gateway)
	return cs, explain("credentials", err)
}

// AddCredential adds secret to a gateway and returns the gateway's key. When there are too many
// then, the oldest is revoked and its id returned.
func (s *Store) AddCredential(
	ctx context.Context, gateway int64, secret string,
) (c Credential, key string, revoked *int64, err error) {
	err = tx(ctx, s.api, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &key, `SELECT key FROM gateways WHERE id = $1 FOR UPDATE`,
			gateway); err != nil {
			return err
		}
		if err := ownGateway(ctx, tx, gateway); err != nil {
			return err
		}
		const add = `INSERT INTO gateway_credentials (gateway_id, hash) VALUES ($1, $2) RETURNING id, gateway_id, created_at, last_used_at`
		if err := tx.GetContext(ctx, &c, add, gateway, digest(secret)); err != nil {
			return err
		}
		var gone []int64
		const trim = `
			DELETE FROM gateway_credentials
			WHERE id IN (SELECT id FROM gateway_credentials WHERE gateway_id = $1 ORDER BY id DESC OFFSET $2)
			RETURNING id`
		if err := tx.SelectContext(ctx, &gone, trim, gateway, credentialsInForce); err != nil {
			return err
		}
		if len(gone) > 0 {
			revoked = &gone[0]
		}
		return nil
	})
	return c, key, revoked, explain("gateway", err)
}

// RevokeCredential revokes a credential of a gateway, or returns ErrNotFound.
func (s *Store) RevokeCredential(ctx context.Context, gateway, id int64) error {
	res, err := s.api.ExecContext(ctx,
		`DELETE FROM gateway_credentials WHERE gateway_id = $1 AND id = $2`, gateway, id)
	if err == nil {
		var n int64
		if n, err = res.RowsAffected(); n == 0 {
			err = orNotFound(err)
		}
	}
	return explain("credential", err)
}

// Login checks the secret of the gateway with this key and returns the gateway's and the
// credential's id. Anything wrong, the gateway not being active included, is ErrNotFound. It uses
// the ingest connections: connecting must not wait for queries.
func (s *Store) Login(
	ctx context.Context, key, secret string,
) (gateway, credential int64, err error) {
	var rows []struct {
		ID        int64  `db:"id"`
		GatewayID int64  `db:"gateway_id"`
		Hash      []byte `db:"hash"`
	}
	if key != storable(key) { // nobody's, and the database would not take it
		return 0, 0, explain("credential", ErrNotFound)
	}
	const q = `
		SELECT c.id, c.gateway_id, c.hash
		FROM gateway_credentials c
		JOIN gateways g ON g.id = c.gateway_id
		WHERE g.key = $1 AND g.is_active`
	if err := s.ingest.SelectContext(ctx, &rows, q, key); err != nil {
		return 0, 0, explain("credential", err)
	}
	sum := digest(secret)
	for _, r := range rows {
		if subtle.ConstantTimeCompare(sum, r.Hash) == 1 {
			_, err := s.ingest.ExecContext(ctx,
				`UPDATE gateway_credentials SET last_used_at = now() WHERE id = $1`, r.ID)
			return r.GatewayID, r.ID, explain("credential", err)
		}
	}
	return 0, 0, explain("credential", ErrNotFound)
}

// Certified returns what stands for a credential of the gateway with this key when it has shown a
// certificate: its own id, negated. Without such a gateway, or one that is not active, it is
// ErrNotFound.
func (s *Store) Certified(ctx context.Context, key string) (credential int64, err error) {
	err = ErrNotFound
	if key == storable(key) {
		err = s.ingest.GetContext(ctx, &credential,
			`SELECT -id FROM gateways WHERE key = $1 AND is_active AND NOT is_system`, key)
	}
	return credential, explain("gateway", err)
}

// HasGateway reports whether there is a gateway, in use or not, with one of these keys.
func (s *Store) HasGateway(ctx context.Context, keys []string) (found bool, err error) {
	storables := make([]string, len(keys))
	for i, key := range keys {
		storables[i] = storable(key)
	}
	err = s.ingest.GetContext(ctx, &found,
		`SELECT EXISTS (SELECT FROM gateways WHERE key = ANY ($1::text[]))`, pq.Array(storables))
	return found, explain("gateway", err)
}

// InForce returns those of the credentials with these ids that still let their gateway in, with its
// key as it is now.
func (s *Store) InForce(ctx context.Context, ids []int64) (map[int64]string, error) {
	var rows []struct {
		ID  int64  `db:"id"`
		Key string `db:"key"`
	}
	const q = `
		SELECT c.id, g.key
		FROM gateway_credentials c
		JOIN gateways g ON g.id = c.gateway_id
		WHERE c.id = ANY ($1::int[]) AND g.is_active
		UNION ALL
		SELECT -id, key
		FROM gateways
		WHERE id IN (SELECT -unnest($1::int[])) AND is_active`
	if err := s.ingest.SelectContext(ctx, &rows, q, int32s(ids)); err != nil {
		return nil, explain("credentials", err)
	}
	keys := make(map[int64]string, len(rows))
	for _, r := range rows {
		keys[r.ID] = r.Key
	}
	return keys, nil
}
