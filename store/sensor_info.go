package store

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Ref names a sensor as a topic or payload does: by ids or keys. With an empty Sensor it names the
// gateway.
type Ref struct{ Gateway, Sensor string }

// SensorInfo is what ingest needs to know of a sensor and its gateway.
type SensorInfo struct {
	GatewayID  int64  `db:"gateway_id"`
	GatewayKey string `db:"gateway_key"`
	// the gateway that owns the sensor; differs from GatewayID when an id names another's sensor
	OwnerID  int64    `db:"owner_id"`
	SensorID int64    `db:"sensor_id"` // 0: the sensor does not exist
	IsActive bool     `db:"is_active"` // the gateway and, if it exists, the sensor are in use
	IsSystem bool     `db:"is_system"` // the gateway is the server's own
	Type     string   `db:"type"`      // of the sensor
	MinValue *float64 `db:"min_value"`
	MaxValue *float64 `db:"max_value"`

	Retention time.Duration `db:"retention"` // how long its readings are kept; 0: for ever
}

// retentionOf is the SQL of the retention of the sensor s in nanoseconds, as a time.Duration.
func (s *Store) retentionOf() string {
	return fmt.Sprintf("coalesce(s.retention_days * %d, %d)", day, s.retention)
}

// SensorInfos looks up refs. A ref whose gateway does not exist is absent from the result. A name
// that is the key of one gateway or sensor and the id of another means the key.
func (s *Store) SensorInfos(ctx context.Context, refs []Ref) (map[Ref]SensorInfo, error) {
	var rows []struct {
		N int `db:"n"`
		SensorInfo
	}
	// of several rows for one ref the last counts
	q := `
		SELECT r.n, g.id AS gateway_id, g.key AS gateway_key,
			coalesce(s.gateway_id, 0) AS owner_id, coalesce(s.id, 0) AS sensor_id,
			g.is_active AND coalesce(s.is_active, true) AS is_active, g.is_system,
			coalesce(s.type, '') AS type, s.min_value, s.max_value,
			` + s.retentionOf() + ` AS retention
		FROM unnest($1::text[], $2::text[], $3::int[], $4::int[])
			WITH ORDINALITY AS r (gateway, sensor, gateway_id, sensor_id, n)
		JOIN gateways g ON g.key = r.gateway OR g.id = r.gateway_id
		LEFT JOIN sensors s
			ON (s.gateway_id = g.id AND s.key = r.sensor) OR s.id = r.sensor_id
		ORDER BY g.key = r.gateway, s.gateway_id = g.id AND s.key = r.sensor`
	if err := s.ingest.SelectContext(ctx, &rows, q,
		column(refs, asText, func(r Ref) string { return r.Gateway }),
		column(refs, asText, func(r Ref) string { return r.Sensor }),
		column(refs, asInt4, func(r Ref) int64 { return parseID(r.Gateway) }),
		column(refs, asInt4, func(r Ref) int64 { return parseID(r.Sensor) })); err != nil {
		return nil, explain("sensors", err)
	}
	infos := make(map[Ref]SensorInfo, len(rows))
	for _, row := range rows {
		infos[refs[row.N-1]] = row.SensorInfo
	}
	return infos, nil
}

// SensorInfosByID looks up sensors by id. An unknown id is absent from the result.
func (s *Store) SensorInfosByID(
	ctx context.Context, ids []int64,
) (map[int64]SensorInfo, error) {
	var rows []SensorInfo
	q := `
		SELECT g.id AS gateway_id, g.key AS gateway_key, g.id AS owner_id, s.id AS sensor_id,
			g.is_active AND s.is_active AS is_active, g.is_system, s.type, s.min_value,
			s.max_value, ` + s.retentionOf() + ` AS retention
		FROM sensors s
		JOIN gateways g ON g.id = s.gateway_id
		WHERE s.id = ANY ($1::int[])`
	if err := s.ingest.SelectContext(ctx, &rows, q, int32s(unique(ids))); err != nil {
		return nil, explain("sensors", err)
	}
	infos := make(map[int64]SensorInfo, len(rows))
	for _, row := range rows {
		infos[row.SensorID] = row
	}
	return infos, nil
}

// ListenCatalog calls changed with the id of each gateway that changes, or whose sensors or
// credentials change, until ctx ends. It calls changed(0) at the beginning and whenever it may have
// missed changes.
func (s *Store) ListenCatalog(ctx context.Context, changed func(gateway int64)) error {
	return s.listen(ctx, "catalog", func(payload string) { changed(parseID(payload)) })
}

// parseID returns the id that s is in its only spelling, or 0, which is not an id.
func parseID(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != s {
		return 0
	}
	return n
}
