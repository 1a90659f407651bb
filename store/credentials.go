package store

import (
	"context"
	"crypto/subtle"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// maxCredentials is how many credentials a gateway has at a time: the one in use and its successor.
const maxCredentials = 2

// Credential is a secret that a gateway may connect with; only its hash is stored.
type Credential struct {
	ID         int64      `db:"id"`
	GatewayID  int64      `db:"gateway_id"`
	CreatedAt  time.Time  `db:"created_at"`
	LastUsedAt *time.Time `db:"last_used_at"`
}

// Principal is a gateway that has logged in. It is valid as long as its credential exists and the
// gateway is in use under the same key.
type Principal struct {
	GatewayID    int64
	GatewayKey   string // at the login
	CredentialID int64  // 0: it logged in with a client certificate
}

// Credentials returns the credentials of a gateway, oldest first. An unknown gateway is
// ErrNotFound.
func (s *Store) Credentials(ctx context.Context, gateway int64) ([]Credential, error) {
	if _, err := s.Gateway(ctx, gateway); err != nil {
		return nil, err
	}
	const q = `
		SELECT id, gateway_id, created_at, last_used_at
		FROM gateway_credentials
		WHERE gateway_id = $1
		ORDER BY id`
	credentials := []Credential{}
	err := s.api.SelectContext(ctx, &credentials, q, gateway)
	return credentials, explain("credentials", err)
}

// AddCredential adds a credential with secret and returns it with the gateway's key. If the gateway
// has more than maxCredentials then, the oldest is revoked and its id returned.
func (s *Store) AddCredential(
	ctx context.Context, gateway int64, secret string,
) (c Credential, key string, revoked *int64, err error) {
	err = inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &key, `SELECT key FROM gateways WHERE id = $1 FOR UPDATE`,
			gateway); err != nil {
			return err
		}
		if err := refuseSystemGateway(ctx, tx, gateway); err != nil {
			return err
		}
		const add = `
			INSERT INTO gateway_credentials (gateway_id, hash)
			VALUES ($1, $2)
			RETURNING id, gateway_id, created_at, last_used_at`
		if err := tx.GetContext(ctx, &c, add, gateway, digest(secret)); err != nil {
			return err
		}
		var ids []int64
		const revoke = `
			DELETE FROM gateway_credentials
			WHERE id IN (
				SELECT id
				FROM gateway_credentials
				WHERE gateway_id = $1
				ORDER BY id DESC
				OFFSET $2)
			RETURNING id`
		if err := tx.SelectContext(ctx, &ids, revoke, gateway, maxCredentials); err != nil {
			return err
		}
		if len(ids) > 0 {
			revoked = &ids[0]
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

// Login returns the gateway with this key, if secret is one of its credentials and the gateway is
// in use; else ErrNotFound. It uses the ingest connections: connecting must not wait for queries.
func (s *Store) Login(ctx context.Context, key, secret string) (Principal, error) {
	var rows []struct {
		ID        int64  `db:"id"`
		GatewayID int64  `db:"gateway_id"`
		Hash      []byte `db:"hash"`
	}
	if key != storable(key) { // no gateway has it, and the database would not accept it
		return Principal{}, explain("credential", ErrNotFound)
	}
	const q = `
		SELECT c.id, c.gateway_id, c.hash
		FROM gateway_credentials c
		JOIN gateways g ON g.id = c.gateway_id
		WHERE g.key = $1 AND g.is_active`
	if err := s.ingest.SelectContext(ctx, &rows, q, key); err != nil {
		return Principal{}, explain("credential", err)
	}
	sum := digest(secret)
	for _, r := range rows {
		if subtle.ConstantTimeCompare(sum, r.Hash) == 1 {
			_, err := s.ingest.ExecContext(ctx,
				`UPDATE gateway_credentials SET last_used_at = now() WHERE id = $1`, r.ID)
			return Principal{r.GatewayID, key, r.ID}, explain("credential", err)
		}
	}
	return Principal{}, explain("credential", ErrNotFound)
}

// LoginByCertificate returns the gateway with this key, whose certificate was verified, if it is in
// use; else ErrNotFound.
func (s *Store) LoginByCertificate(ctx context.Context, key string) (Principal, error) {
	if key != storable(key) {
		return Principal{}, explain("gateway", ErrNotFound)
	}
	p := Principal{GatewayKey: key}
	err := s.ingest.GetContext(ctx, &p.GatewayID,
		`SELECT id FROM gateways WHERE key = $1 AND is_active AND NOT is_system`, key)
	return p, explain("gateway", err)
}

// HasGateway reports whether a gateway, in use or not, has one of these keys.
func (s *Store) HasGateway(ctx context.Context, keys []string) (found bool, err error) {
	storables := make([]string, len(keys))
	for i, key := range keys {
		storables[i] = storable(key)
	}
	err = s.ingest.GetContext(ctx, &found,
		`SELECT EXISTS (SELECT FROM gateways WHERE key = ANY ($1::text[]))`, pq.Array(storables))
	return found, explain("gateway", err)
}

// CheckPrincipals reports for each principal whether it is still valid.
func (s *Store) CheckPrincipals(ctx context.Context, principals []Principal) ([]bool, error) {
	const q = `
		SELECT g.id IS NOT NULL AND (p.credential_id = 0 OR c.id IS NOT NULL)
		FROM unnest($1::int[], $2::text[], $3::int[])
			WITH ORDINALITY AS p (gateway_id, gateway_key, credential_id, n)
		LEFT JOIN gateways g ON g.id = p.gateway_id AND g.key = p.gateway_key AND g.is_active
		LEFT JOIN gateway_credentials c ON c.id = p.credential_id AND c.gateway_id = p.gateway_id
		ORDER BY p.n`
	var valid []bool
	err := s.ingest.SelectContext(ctx, &valid, q,
		column(principals, asInt4, func(p Principal) int64 { return p.GatewayID }),
		column(principals, asText, func(p Principal) string { return p.GatewayKey }),
		column(principals, asInt4, func(p Principal) int64 { return p.CredentialID }))
	return valid, explain("credentials", err)
}
