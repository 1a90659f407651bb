package store

import (
	"context"
	"errors"
)

// CreateGatewayWithFreeKey is CreateGateway, but a gateway whose key is taken gets the first free one
// of g.Key-2, g.Key-3 and so on.
func (s *Store) CreateGatewayWithFreeKey(ctx context.Context, g Gateway) (Gateway, error) {
	return numbered(func() (Gateway, error) {
		numbered, err := g, error(nil)
		numbered.Key, err = s.freeKey(ctx, `SELECT key FROM gateways`, g.Key)
		if err != nil {
			return Gateway{}, explain("gateway", err)
		}
		return s.CreateGateway(ctx, numbered)
	})
}

// CreateSensorWithFreeKey is CreateSensor, but a sensor whose key is taken gets the first free one of
// v.Key-2, v.Key-3 and so on.
func (s *Store) CreateSensorWithFreeKey(ctx context.Context, v Sensor) (Sensor, error) {
	return numbered(func() (Sensor, error) {
		numbered, err := v, error(nil)
		numbered.Key, err = s.freeKey(ctx, `SELECT key FROM sensors WHERE gateway_id = $2`, v.Key,
			v.GatewayID)
		if err != nil {
			return Sensor{}, explain("sensor", err)
		}
		return s.CreateSensor(ctx, numbered)
	})
}

// numbered repeats create while another request takes the key that was free. Each repetition means
// that one of the other requests succeeded, so it ends.
func numbered[T any](create func() (T, error)) (T, error) {
	for {
		v, err := create()
		if !errors.Is(err, ErrConflict) {
			return v, err
		}
	}
}

// freeKey returns key, or key with the smallest number from 2 that makes it one that taken does not
// select. Of one more candidates than there are keys taken, one is free.
func (s *Store) freeKey(ctx context.Context, taken, key string, args ...any) (string, error) {
	q := `
		WITH taken AS (` + taken + `)
		SELECT candidate
		FROM generate_series(1, 1 + (SELECT count(*) FROM taken)) AS n
		CROSS JOIN LATERAL (
			SELECT CASE n WHEN 1 THEN $1 ELSE left($1, 63 - length(n::text)) || '-' || n END AS candidate) c
		WHERE NOT EXISTS (SELECT FROM taken WHERE key = candidate)
		ORDER BY n
		LIMIT 1`
	var free string
	err := s.api.GetContext(ctx, &free, q, append([]any{key}, args...)...)
	return free, err
}
