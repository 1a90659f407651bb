package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/lib/pq"
)

// Ref names a sensor as a topic or payload does: by ids or keys. With an empty Sensor it names the
// gateway.
type Ref struct{ Gateway, Sensor string }

// Point is what ingest has to know of a sensor and its gateway.
type Point struct {
	GatewayID  int64  `db:"gateway_id"`
	GatewayKey string `db:"gateway_key"`
	// the gateway that has the sensor: not GatewayID when an id names another gateway's
	OwnerID  int64    `db:"owner_id"`
	SensorID int64    `db:"sensor_id"` // 0: there is no such sensor
	Active   bool     `db:"active"`    // the gateway and, if there is one, the sensor are in use
	System   bool     `db:"system"`    // the gateway is the server's own
	Type     string   `db:"type"`      // the sensor's
	MinValue *float64 `db:"min_value"`
	MaxValue *float64 `db:"max_value"`

	Retention time.Duration `db:"retention"` // for how long its readings are kept; 0: for ever
}

// retentionOf is how long sensor s keeps its readings, in nanoseconds, as a time.Duration has them.
func (s *Store) retentionOf() string {
	return fmt.Sprintf("coalesce(s.retention_days * %d, %d)", day, s.retention)
}

// Points looks refs up. One without a gateway is absent from the result. What is one's key and
// another's id is the key.
func (s *Store) Points(ctx context.Context, refs []Ref) (map[Ref]Point, error) {
	var rows []struct {
		N int `db:"n"`
		Point
	}
	q := `
		SELECT r.n, g.id AS gateway_id, g.key AS gateway_key, coalesce(s.gateway_id, 0) AS owner_id, coalesce(s.id, 0) AS sensor_id,
			g.is_active AND coalesce(s.is_active, true) AS active, g.is_system AS system, coalesce(s.type, '') AS type, s.min_value, s.max_value, ` + s.retentionOf() + ` AS retention
		FROM unnest($1::text[], $2::text[], $3::int[], $4::int[]) WITH ORDINALITY AS r (gateway, sensor, gateway_id, sensor_id, n)
		JOIN gateways g ON g.key = r.gateway OR g.id = r.gateway_id
		LEFT JOIN sensors s ON (s.gateway_id = g.id AND s.key = r.sensor) OR s.id = r.sensor_id
		ORDER BY g.key = r.gateway, s.gateway_id = g.id AND s.key = r.sensor` // of several rows for one ref the last counts
	gateways, sensors := make([]string, len(refs)), make([]string, len(refs))
	gatewayIDs, sensorIDs := make([]int64, len(refs)), make([]int64, len(refs))
	for i, r := range refs {
		gateways[i], sensors[i], gatewayIDs[i], sensorIDs[i] = r.Gateway, r.Sensor, id(r.Gateway), id(r.Sensor)
	}
	if err := s.ingest.SelectContext(ctx, &rows, q, pq.Array(gateways), pq.Array(sensors),
		int32s(gatewayIDs), int32s(sensorIDs)); err != nil {
		return nil, explain("catalog", err)
	}
	points := make(map[Ref]Point, len(rows))
	for _, row := range rows {
		points[refs[row.N-1]] = row.Point
	}
	return points, nil
}

// PointsByID looks sensors up by id; an unknown one is absent from the result.
func (s *Store) PointsByID(ctx context.Context, ids []int64) (map[int64]Point, error) {
	var rows []Point
	q := `
		SELECT g.id AS gateway_id, g.key AS gateway_key, g.id AS owner_id, s.id AS sensor_id, g.is_active AND s.is_active AS active,
			g.is_system AS system, s.type, s.min_value, s.max_value, ` + s.retentionOf() + ` AS retention
		FROM sensors s
		JOIN gateways g ON g.id = s.gateway_id
		WHERE s.id = ANY ($1::int[])`
	if err := s.ingest.SelectContext(ctx, &rows, q, int32s(unique(ids))); err != nil {
		return nil, explain("catalog", err)
	}
	points := make(map[int64]Point, len(rows))
	for _, p := range rows {
		points[p.SensorID] = p
	}
	return points, nil
}

// Watch calls changed with the id of each gateway that changed, or whose sensors or credentials
// did, until ctx ends; with 0 when changes may have been missed. It calls changed(0) first.
func (s *Store) Watch(ctx context.Context, changed func(gateway int64)) error {
	return s.listen(ctx, "catalog", func(payload string) { changed(id(payload)) })
}

// id is the number that s is, or 0, which is no id.
func id(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != s {
		return 0
	}
	return n
}
