package store

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// maxSessions is how many MQTT sessions of a gateway are kept; those that would end last stay.
const maxSessions = 64

// ResumeMQTTSession begins the MQTT session of a client that logged in with a credential, or goes on
// with the one it has, and reports whether there was one. With clean the earlier one counts for
// nothing; without keep the session ends with the connection.
func (s *Store) ResumeMQTTSession(
	ctx context.Context, client string, credential int64, clean, keep bool,
) (present bool, err error) {
	const begin = `
		WITH gateway AS (
			SELECT gateway_id AS id FROM gateway_credentials WHERE id = $2
			UNION ALL
			SELECT id FROM gateways WHERE id = -$2::int),
		before AS (
			SELECT coalesce(expires_at > now(), true) AND gateway_id = (SELECT id FROM gateway) AS alive
			FROM mqtt_sessions
			WHERE client_id = $1),
		trimmed AS (
			DELETE FROM mqtt_sessions
			WHERE client_id IN (
				SELECT client_id
				FROM mqtt_sessions
				WHERE gateway_id = (SELECT id FROM gateway) AND client_id <> $1
				ORDER BY expires_at DESC NULLS FIRST, client_id
				OFFSET $4))
		INSERT INTO mqtt_sessions (client_id, gateway_id, held_by)
		SELECT $1, id, $3::bigint FROM gateway
		ON CONFLICT (client_id) DO UPDATE
		SET gateway_id = excluded.gateway_id, held_by = excluded.held_by, expires_at = NULL
		RETURNING coalesce((SELECT alive FROM before), false)`
	const drop = `
		DELETE FROM mqtt_sessions
		WHERE client_id = $1 AND $3::bigint IS NOT NULL
		RETURNING coalesce(expires_at > now(), true) AND gateway_id IN (
			SELECT gateway_id FROM gateway_credentials WHERE id = $2
			UNION ALL
			SELECT -$2::int)`
	q, args := drop, []any{storable(client), credential, s.instance}
	if keep {
		q, args = begin, append(args, maxSessions-1)
	}
	err = s.ingest.GetContext(ctx, &present, q, args...)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return present && !clean, explain("mqtt session", err)
}

// SuspendMQTTSession keeps the MQTT session of a client that is gone for a while; for no time at all it
// is removed. When the client has connected to another instance since, it does nothing.
func (s *Store) SuspendMQTTSession(ctx context.Context, client string, while time.Duration) error {
	const q = `
		UPDATE mqtt_sessions
		SET expires_at = now() + make_interval(secs => $2)
		WHERE client_id = $1 AND held_by = $3`
	_, err := s.ingest.ExecContext(ctx, q, storable(client), while.Seconds(), s.instance)
	return explain("mqtt session", err)
}
