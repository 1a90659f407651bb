package store

import (
	"context"
	"errors"
)

// CreateGatewayWithFreeKey creates g. When its key is taken, the gateway gets the first free key of
// g.Key-2, g.Key-3 and so on.
func (s *Store) CreateGatewayWithFreeKey(ctx context.Context, g Gateway) (Gateway, error) {
	return retryConflicts(func() (Gateway, error) {
		key, err := s.freeKey(ctx, `SELECT key FROM gateways`, g.Key)
		if err != nil {
			return Gateway{}, explain("gateway", err)
		}
		withKey := g
		withKey.Key = key
		return s.CreateGateway(ctx, withKey)
	})
}

// CreateSensorWithFreeKey creates v. When its key is taken, the sensor gets the first free key of
// v.Key-2, v.Key-3 and so on.
func (s *Store) CreateSensorWithFreeKey(ctx context.Context, v Sensor) (Sensor, error) {
	return retryConflicts(func() (Sensor, error) {
		const taken = `SELECT key FROM sensors WHERE gateway_id = $2`
		key, err := s.freeKey(ctx, taken, v.Key, v.GatewayID)
		if err != nil {
			return Sensor{}, explain("sensor", err)
		}
		withKey := v
		withKey.Key = key
		return s.CreateSensor(ctx, withKey)
	})
}

// retryConflicts repeats create while another request takes the key that was free. Each repetition
// means that another request has succeeded, so it ends.
func retryConflicts[T any](create func() (T, error)) (T, error) {
	for {
		v, err := create()
		if !errors.Is(err, ErrConflict) {
			return v, err
		}
	}
}

// freeKey returns key or, when the query taken selects it, key with the smallest number from 2 on
// that taken does not select. One of n+1 candidates is free when n keys are taken.
func (s *Store) freeKey(ctx context.Context, taken, key string, args ...any) (string, error) {
	q := `
		WITH taken AS (` + taken + `)
		SELECT candidate
		FROM generate_series(1, 1 + (SELECT count(*) FROM taken)) AS n
		CROSS JOIN LATERAL (
			SELECT CASE n
				WHEN 1 THEN $1
				ELSE left($1, 63 - length(n::text)) || '-' || n END AS candidate) c
		WHERE NOT EXISTS (SELECT FROM taken WHERE key = candidate)
		ORDER BY n
		LIMIT 1`
	var free string
	err := s.api.GetContext(ctx, &free, q, append([]any{key}, args...)...)
	return free, err
}
