package store

import (
	"context"
	"time"
)

// CreateTicket stores a WebSocket ticket of the login session, valid for ttl.
func (s *Store) CreateTicket(ctx context.Context, session, ticket string, ttl time.Duration) error {
	const q = `
		INSERT INTO ws_tickets (hash, session_id, expires_at)
		VALUES ($1, $2::uuid, now() + make_interval(secs => $3))`
	_, err := s.api.ExecContext(ctx, q, digest(ticket), session, ttl.Seconds())
	return explain("ticket", err)
}

// CreateAPIKeyTicket stores a WebSocket ticket of the API key, valid for ttl.
func (s *Store) CreateAPIKeyTicket(
	ctx context.Context, key int64, ticket string, ttl time.Duration,
) error {
	const q = `
		INSERT INTO ws_tickets (hash, api_key_id, expires_at)
		VALUES ($1, $2, now() + make_interval(secs => $3))`
	_, err := s.api.ExecContext(ctx, q, digest(ticket), key, ttl.Seconds())
	return explain("ticket", err)
}

// UseTicket deletes the ticket and returns its login session, or the prefix of its API key. An
// unknown, used or expired ticket, or one of an ended session, is ErrNotFound.
func (s *Store) UseTicket(
	ctx context.Context, ticket string,
) (session LoginSession, keyPrefix string, err error) {
	const q = `
		DELETE FROM ws_tickets t
		WHERE hash = $1 AND expires_at > now()
		RETURNING coalesce(session_id::text, ''),
			coalesce((SELECT prefix FROM api_keys WHERE id = t.api_key_id), '')`
	var id string
	err = s.api.QueryRowContext(ctx, q, digest(ticket)).Scan(&id, &keyPrefix)
	if err != nil || keyPrefix != "" {
		return LoginSession{}, keyPrefix, explain("ticket", err)
	}
	session, err = s.LoginSession(ctx, id)
	return session, "", err
}
