package store

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// maxMQTTSessions is how many MQTT sessions of a gateway are kept; those that expire last stay.
const maxMQTTSessions = 64

// ResumeMQTTSession begins the MQTT session of a client that logged in as p, or continues the one
// it has, and reports whether it had one. With clean the earlier session is discarded; without keep
// the session ends with the connection.
func (s *Store) ResumeMQTTSession(
	ctx context.Context, client string, p Principal, clean, keep bool,
) (present bool, err error) {
	if keep {
		present, err = s.beginMQTTSession(ctx, client, p)
	} else {
		const drop = `
			DELETE FROM mqtt_sessions
			WHERE client_id = $1
			RETURNING coalesce(expires_at > now(), true) AND gateway_id = $2`
		err = s.ingest.GetContext(ctx, &present, drop, storable(client), p.GatewayID)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return present && !clean, explain("mqtt session", err)
}

// beginMQTTSession keeps a session for client and reports whether it had one. If the credential of
// p was revoked meanwhile, the error is sql.ErrNoRows.
func (s *Store) beginMQTTSession(
	ctx context.Context, client string, p Principal,
) (present bool, err error) {
	const q = `
		WITH gateway AS (
			SELECT id
			FROM gateways
			WHERE id = $2
				AND ($3 = 0 OR EXISTS (
					SELECT FROM gateway_credentials WHERE id = $3 AND gateway_id = $2))),
		before AS (
			SELECT coalesce(expires_at > now(), true) AND gateway_id = $2 AS alive
			FROM mqtt_sessions
			WHERE client_id = $1),
		trimmed AS (
			DELETE FROM mqtt_sessions
			WHERE client_id IN (
				SELECT client_id
				FROM mqtt_sessions
				WHERE gateway_id = (SELECT id FROM gateway) AND client_id <> $1
				ORDER BY expires_at DESC NULLS FIRST, client_id
				OFFSET $5))
		INSERT INTO mqtt_sessions (client_id, gateway_id, held_by)
		SELECT $1, id, $4::bigint FROM gateway
		ON CONFLICT (client_id) DO UPDATE
		SET gateway_id = excluded.gateway_id, held_by = excluded.held_by, expires_at = NULL
		RETURNING coalesce((SELECT alive FROM before), false)`
	err = s.ingest.GetContext(ctx, &present, q, storable(client), p.GatewayID, p.CredentialID,
		s.instance, maxMQTTSessions-1)
	return present, err
}

// SuspendMQTTSession lets the MQTT session of a disconnected client expire after ttl. It does
// nothing if the client has connected to another instance since.
func (s *Store) SuspendMQTTSession(ctx context.Context, client string, ttl time.Duration) error {
	const q = `
		UPDATE mqtt_sessions
		SET expires_at = now() + make_interval(secs => $2)
		WHERE client_id = $1 AND held_by = $3`
	_, err := s.ingest.ExecContext(ctx, q, storable(client), ttl.Seconds(), s.instance)
	return explain("mqtt session", err)
}
