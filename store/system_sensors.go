package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
)

// systemKey is the key of the server's own gateway, unless another gateway has it already.
const systemKey = "oei-ms"

// firstSystemID is the first id of the server's own gateway and sensors, from the sequence
// system_ids.
const firstSystemID = "2000000000"

// gatewayOf is the gateway that sensor s and its alarms are about: its own gateway, or the one that
// a system sensor measures.
const gatewayOf = `coalesce(s.about_gateway_id, s.gateway_id)`

// SystemConditions are what the system sensors measure.
type SystemConditions struct {
	At       time.Time     // by the database's clock
	Elapsed  time.Duration // since an instance last measured
	Lag      time.Duration // age of the oldest message that an instance has not committed
	Faulted  int           // number of alarms that cannot be evaluated
	Own      int64         // id of the server's own gateway
	Gateways []GatewayCondition
	Sensors  map[string]SystemSensor // system sensors by key
}

// GatewayCondition is what the system sensors measure of a gateway.
type GatewayCondition struct {
	ID       int64  `db:"id"`
	Key      string `db:"key"`
	IsActive bool   `db:"is_active"`
	// IsSystem tells the server's own gateway, whose rejections are those of unknown gateways.
	IsSystem    bool   `db:"is_system"`
	Status      string `db:"status"`
	Seen        bool   `db:"seen"` // it has published or connected before
	ClockSkewMs *int64 `db:"clock_skew_ms"`
	Rejected    int64  `db:"-"` // messages and samples since the last measurement
}

// SystemSensor is a system sensor with its newest reading; At is zero if it has none.
type SystemSensor struct {
	ID      int64
	At      time.Time
	Value   float64
	Quality Quality
}

// AddRejectionCounts adds numbers of rejected messages and samples by gateway; 0 stands for unknown
// gateways.
func (s *Store) AddRejectionCounts(ctx context.Context, counts map[int64]int64) error {
	if len(counts) == 0 {
		return nil
	}
	ids := slices.Sorted(maps.Keys(counts))
	const q = `
		UPDATE gateways g
		SET refused = g.refused + r.n
		FROM unnest($1::int[], $2::int[]) AS r (id, n)
		WHERE g.id = r.id OR r.id = 0 AND g.is_system`
	_, err := s.ingest.ExecContext(ctx, q, int32s(ids),
		column(ids, asInt4, func(id int64) int64 { return counts[id] }))
	return explain("rejection counts", err)
}

// SetIngestLag records the age of this instance's oldest uncommitted message. Call it every
// interval; instances that have not called it for ten intervals are deleted.
func (s *Store) SetIngestLag(ctx context.Context, lag, interval time.Duration) error {
	const q = `
		WITH ended AS (
			DELETE FROM ingest_lags
			WHERE seen_at < now() - make_interval(secs => 10 * $3) AND instance <> $1)
		INSERT INTO ingest_lags (instance, seen_at, lag_ms)
		VALUES ($1, now(), $2)
		ON CONFLICT (instance) DO UPDATE SET seen_at = excluded.seen_at, lag_ms = excluded.lag_ms`
	_, err := s.api.ExecContext(ctx, q, s.instance, lag.Milliseconds(), interval.Seconds())
	return explain("lag", err)
}

// SystemConditions returns what the system sensors measure to one instance in each interval, and
// nil to the others.
func (s *Store) SystemConditions(
	ctx context.Context, interval time.Duration,
) (*SystemConditions, error) {
	rules, err := s.newestRules(ctx)
	if err != nil {
		return nil, explain("conditions", err)
	}
	var c *SystemConditions
	err = inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		found := &SystemConditions{Faulted: len(rules.unusable)}
		const claim = `
			UPDATE system_watch w
			SET at = now()
			FROM (SELECT at FROM system_watch FOR UPDATE SKIP LOCKED) before
			WHERE w.at <= now() - make_interval(secs => $1)
			RETURNING w.at, extract(epoch FROM w.at - before.at)`
		var elapsed float64
		// timers may fire a little early
		err := tx.QueryRowContext(ctx, claim, 0.9*interval.Seconds()).Scan(&found.At, &elapsed)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		found.At, found.Elapsed = found.At.UTC(), time.Duration(elapsed*float64(time.Second))
		var lag, faulted int64
		const totals = `
			SELECT
				(SELECT coalesce(max(lag_ms), 0)
				FROM ingest_lags
				WHERE seen_at > now() - make_interval(secs => 3 * $1)),
				(SELECT count(*) FROM alarm_states WHERE memory ? 'fault')`
		err = tx.QueryRowContext(ctx, totals, interval.Seconds()).Scan(&lag, &faulted)
		if err != nil {
			return err
		}
		found.Lag, found.Faulted = time.Duration(lag)*time.Millisecond, found.Faulted+int(faulted)
		if found.Own, err = systemGateway(ctx, tx); err != nil {
			return err
		}
		if err := found.gateways(ctx, tx); err != nil {
			return err
		}
		c = found
		return found.sensors(ctx, tx)
	})
	if err != nil {
		return nil, explain("conditions", err)
	}
	return c, nil
}

// systemGateway returns the id of the server's own gateway, which it creates if it does not exist.
func systemGateway(ctx context.Context, tx *sqlx.Tx) (id int64, err error) {
	err = tx.GetContext(ctx, &id, `SELECT id FROM gateways WHERE is_system`)
	for n := 1; errors.Is(err, sql.ErrNoRows); n++ {
		key := systemKey
		if n > 1 {
			key = fmt.Sprintf("%s-%d", systemKey, n)
		}
		const q = `
			INSERT INTO gateways (id, key, name, is_system, status)
			OVERRIDING SYSTEM VALUE
			VALUES (nextval('system_ids'), $1, 'OEI-MS', true, 'online')
			ON CONFLICT (key) DO NOTHING
			RETURNING id`
		err = tx.GetContext(ctx, &id, q, key)
	}
	return id, err
}

func (c *SystemConditions) gateways(ctx context.Context, tx *sqlx.Tx) error {
	var rejected []struct {
		ID int64 `db:"id"`
		N  int64 `db:"n"`
	}
	const take = `
		UPDATE gateways g
		SET refused = 0
		FROM (SELECT id, refused AS n FROM gateways WHERE refused > 0 ORDER BY id FOR UPDATE) o
		WHERE g.id = o.id
		RETURNING o.id, o.n`
	if err := tx.SelectContext(ctx, &rejected, take); err != nil {
		return err
	}
	counts := make(map[int64]int64, len(rejected))
	for _, r := range rejected {
		counts[r.ID] = r.N
	}
	const q = `
		SELECT id, key, is_active, is_system, status, last_seen_at IS NOT NULL AS seen,
			clock_skew_ms
		FROM gateways
		ORDER BY id`
	err := tx.SelectContext(ctx, &c.Gateways, q)
	for i := range c.Gateways {
		c.Gateways[i].Rejected = counts[c.Gateways[i].ID]
	}
	return err
}

func (c *SystemConditions) sensors(ctx context.Context, tx *sqlx.Tx) error {
	const q = `
		SELECT s.id, s.key, coalesce(l.timestamp, '0001-01-01 00:00:00Z'), coalesce(l.value, 'NaN'),
			coalesce(l.quality, 0)
		FROM sensors s
		LEFT JOIN latest l ON l.sensor_id = s.id
		WHERE s.gateway_id = $1`
	rows, err := tx.QueryContext(ctx, q, c.Own)
	if err != nil {
		return err
	}
	defer rows.Close()
	c.Sensors = map[string]SystemSensor{}
	for rows.Next() {
		var key string
		var v SystemSensor
		if err := rows.Scan(&v.ID, &key, &v.At, &v.Value, &v.Quality); err != nil {
			return err
		}
		c.Sensors[key] = v
	}
	return rows.Err()
}

// AddSystemSensor adds v to the server's own gateway, with an alarm by r unless r is nil, in one
// transaction, and returns its id. A sensor that exists already stays as it is.
func (s *Store) AddSystemSensor(
	ctx context.Context, v Sensor, r *alarm.Rule, now time.Time,
) (id int64, err error) {
	now = now.UTC().Truncate(time.Microsecond)
	id, err = withRules(ctx, s, s.api, func(tx *sqlx.Tx, rules *ruleSet) (id int64, err error) {
		const q = `
			INSERT INTO sensors (id, gateway_id, about_gateway_id, key, name, type, unit)
			OVERRIDING SYSTEM VALUE
			SELECT nextval('system_ids'), id, $1, $2, $3, $4, $5
			FROM gateways
			WHERE is_system
			ON CONFLICT (gateway_id, key) DO NOTHING
			RETURNING id`
		err = tx.GetContext(ctx, &id, q, v.AboutGatewayID, v.Key, v.Name, v.Type, v.Unit)
		if errors.Is(err, sql.ErrNoRows) { // it exists already
			const existing = `
				SELECT s.id
				FROM sensors s
				JOIN gateways g ON g.id = s.gateway_id
				WHERE g.is_system AND s.key = $1`
			err = tx.GetContext(ctx, &id, existing, v.Key)
			return id, err
		}
		if err != nil || r == nil {
			return id, err
		}
		r.SensorID = id
		return id, s.addAlarm(ctx, tx, rules, r, true, now)
	})
	return id, explain(fmt.Sprintf("sensor %q", v.Key), err)
}

// refuseSystemSensor is a SystemOwnedError if the sensor is one of the server's own.
func refuseSystemSensor(ctx context.Context, db sqlx.QueryerContext, id int64) error {
	const q = `
		SELECT EXISTS (
			SELECT
			FROM sensors s
			JOIN gateways g ON g.id = s.gateway_id
			WHERE s.id = $1 AND g.is_system)`
	var system bool
	if err := sqlx.GetContext(ctx, db, &system, q, id); err != nil {
		return err
	}
	if system {
		return &SystemOwnedError{Kind: "sensor"}
	}
	return nil
}

// refuseSystemGateway is a SystemOwnedError if the gateway is the server's own.
func refuseSystemGateway(ctx context.Context, db sqlx.QueryerContext, id int64) error {
	const q = `SELECT EXISTS (SELECT FROM gateways WHERE id = $1 AND is_system)`
	var system bool
	if err := sqlx.GetContext(ctx, db, &system, q, id); err != nil {
		return err
	}
	if system {
		return &SystemOwnedError{Kind: "gateway"}
	}
	return nil
}
