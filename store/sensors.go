package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// Sensor is one measured quantity of a gateway.
type Sensor struct {
	ID        int64    `db:"id"`
	GatewayID int64    `db:"gateway_id"`
	Key       string   `db:"key"` // unique in its gateway
	Name      string   `db:"name"`
	Type      string   `db:"type"`
	Unit      string   `db:"unit"`
	Location  string   `db:"location"`
	IsActive  bool     `db:"is_active"`
	MinValue  *float64 `db:"min_value"` // of the measuring range; nil: no bound
	MaxValue  *float64 `db:"max_value"`
	Retention *int     `db:"retention_days"` // nil: the setting's; 0: for ever
	Tags      string   `db:"tags"`           // a JSON object of strings
	// AboutGatewayID is the gateway that a system sensor measures; nil: none.
	AboutGatewayID *int64    `db:"about_gateway_id"`
	Version        int64     `db:"version"`
	CreatedAt      time.Time `db:"created_at"`
	UpdatedAt      time.Time `db:"updated_at"`
}

// SensorFilter selects sensors; nil takes all.
type SensorFilter struct {
	GatewayID *int64
	Key, Type *string
	IsActive  *bool
	IsSystem  *bool // whether it is a system sensor
}

func (f SensorFilter) args() []any {
	return []any{f.GatewayID, f.Key, f.Type, f.IsActive, f.IsSystem}
}

// SensorChange holds the new values of a sensor; nil keeps the old one.
type SensorChange struct {
	Key, Name, Type, Unit, Location, Tags *string
	IsActive                              *bool
	MinValue, MaxValue                    *sql.Null[float64] // not Valid: no bound
	Retention                             *sql.Null[int]     // not Valid: the setting's
}

const sensorColumns = `id, gateway_id, key, name, type, unit, location, is_active, min_value,
	max_value, retention_days, tags, about_gateway_id, version, created_at, updated_at`

const sensorWhere = `
	WHERE ($1::int IS NULL OR gateway_id = $1)
		AND ($2::text IS NULL OR key = $2)
		AND ($3::text IS NULL OR type = $3)
		AND ($4::boolean IS NULL OR is_active = $4)
		AND ($5::boolean IS NULL OR (id >= ` + firstSystemID + `) = $5)`

// Sensors returns at most limit sensors with an id above after, in order of id.
func (s *Store) Sensors(
	ctx context.Context, f SensorFilter, after int64, limit int,
) ([]Sensor, error) {
	const q = `SELECT ` + sensorColumns + ` FROM sensors ` + sensorWhere +
		` AND id > $6 ORDER BY id LIMIT $7`
	list := []Sensor{}
	err := s.api.SelectContext(ctx, &list, q, append(f.args(), after, limit)...)
	return list, explain("sensors", err)
}

// CountSensors returns how many sensors f selects.
func (s *Store) CountSensors(ctx context.Context, f SensorFilter) (int64, error) {
	var n int64
	err := s.api.GetContext(ctx, &n, `SELECT count(*) FROM sensors `+sensorWhere, f.args()...)
	return n, explain("sensors", err)
}

// Sensor returns the sensor id, or ErrNotFound.
func (s *Store) Sensor(ctx context.Context, id int64) (Sensor, error) {
	var sensor Sensor
	err := s.api.GetContext(ctx, &sensor, `SELECT `+sensorColumns+` FROM sensors WHERE id = $1`, id)
	return sensor, explain("sensor", err)
}

// UnknownSensors returns those of ids that no sensor has, in their order.
func (s *Store) UnknownSensors(ctx context.Context, ids []int64) ([]int64, error) {
	var unknown []int64
	const q = `
		SELECT i.id
		FROM unnest($1::int[]) WITH ORDINALITY AS i (id, n)
		WHERE NOT EXISTS (SELECT FROM sensors WHERE sensors.id = i.id)
		ORDER BY i.n`
	err := s.api.SelectContext(ctx, &unknown, q, int32s(ids))
	return unknown, explain("sensors", err)
}

// CreateSensor adds v and returns it as stored. A key that another sensor of its gateway has is a
// ConflictError, an unknown gateway ErrInUse, the server's own gateway a SystemOwnedError.
func (s *Store) CreateSensor(ctx context.Context, v Sensor) (Sensor, error) {
	const q = `
		INSERT INTO sensors (gateway_id, key, name, type, unit, location, is_active, min_value,
			max_value, retention_days, tags)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
		WHERE NOT EXISTS (SELECT FROM gateways WHERE id = $1 AND is_system)
		RETURNING ` + sensorColumns
	err := s.api.GetContext(ctx, &v, q, v.GatewayID, v.Key, v.Name, v.Type, v.Unit, v.Location,
		v.IsActive, v.MinValue, v.MaxValue, v.Retention, v.Tags)
	if errors.Is(err, sql.ErrNoRows) {
		err = &SystemOwnedError{Kind: "gateway"}
	}
	return v, explain(fmt.Sprintf("sensor %q", v.Key), err)
}

// UpdateSensor changes the sensor id if it still has version (0: any version), else ErrStale. A
// minimum above the maximum is ErrInvalid. A sensor that is put out of use suspends the alarms that
// read it.
func (s *Store) UpdateSensor(
	ctx context.Context, id, version int64, c SensorChange,
) (Sensor, error) {
	const q = `
		UPDATE sensors
		SET key = coalesce($3, key), name = coalesce($4, name), type = coalesce($5, type),
			unit = coalesce($6, unit), location = coalesce($7, location),
			tags = coalesce($8::jsonb, tags), is_active = coalesce($9, is_active),
			min_value = CASE WHEN $10 THEN $11 ELSE min_value END,
			max_value = CASE WHEN $12 THEN $13 ELSE max_value END,
			retention_days = CASE WHEN $14 THEN $15 ELSE retention_days END,
			version = version + 1, updated_at = now()
		WHERE id = $1 AND $2 IN (0, version)
		RETURNING ` + sensorColumns
	if c.Key != nil || c.IsActive != nil { // the server finds its own sensors by key
		if err := refuseSystemSensor(ctx, s.api, id); err != nil {
			return Sensor{}, explain("sensor", err)
		}
	}
	low, high := orZero(c.MinValue), orZero(c.MaxValue)
	args := []any{
		id, version, c.Key, c.Name, c.Type, c.Unit, c.Location, c.Tags, c.IsActive,
		c.MinValue != nil, low, c.MaxValue != nil, high, c.Retention != nil, orZero(c.Retention),
	}
	if c.IsActive == nil {
		var v Sensor
		err := s.api.GetContext(ctx, &v, q, args...)
		return v, explain("sensor", s.stale(ctx, err, "sensors", id))
	}
	v, err := withRules(ctx, s, s.api, func(tx *sqlx.Tx, rules *ruleSet) (v Sensor, err error) {
		if err := tx.GetContext(ctx, &v, q, args...); err != nil {
			return v, err
		}
		now := time.Now()
		ev, alarms, err := lockAlarmsOf(ctx, tx, rules, []int64{id}, now)
		if err != nil {
			return v, err
		}
		if err := ev.restOrResume(ctx, tx, alarms, now); err != nil {
			return v, err
		}
		return v, ev.write(ctx, tx)
	})
	return v, explain("sensor", s.stale(ctx, err, "sensors", id))
}

// DeleteSensor deletes the sensor id with its alarms if it still has version (0: any version);
// PurgeDeletedSensors deletes its readings later. A sensor that alarms of other sensors read is an
// InUseError. With dryRun nothing is changed.
func (s *Store) DeleteSensor(
	ctx context.Context, id, version int64, dryRun bool,
) (Deletion, error) {
	var d Deletion
	err := inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		if err := lockVersion(ctx, tx, "sensors", id, version); err != nil {
			return err
		}
		if err := refuseSystemSensor(ctx, tx, id); err != nil {
			return err
		}
		var err error
		if d, err = s.countDeleted(ctx, tx, []int64{id}); err != nil {
			return err
		}
		alarms, err := lockAlarmsToDelete(ctx, tx, []int64{id})
		d.Alarms = len(alarms)
		if err != nil || dryRun {
			return err
		}
		events, err := dropSensors(ctx, tx, []int64{id}, alarmIDs(alarms))
		if err != nil {
			return err
		}
		return addAlarmEvents(ctx, tx, events)
	})
	return d, explain("sensor", err)
}

// countDeleted counts what deleting these sensors would delete, but for alarms.
func (s *Store) countDeleted(ctx context.Context, tx *sqlx.Tx, sensors []int64) (Deletion, error) {
	d := Deletion{Sensors: len(sensors)}
	const first = `
		SELECT min((
			SELECT timestamp
			FROM sensor_data
			WHERE sensor_id = i AND timestamp >= $2 AND timestamp < $3
			ORDER BY timestamp
			LIMIT 1))
		FROM unnest($1::int[]) i`
	const last = `
		SELECT max((
			SELECT timestamp
			FROM sensor_data
			WHERE sensor_id = i AND timestamp >= $2 AND timestamp < $3
			ORDER BY timestamp DESC
			LIMIT 1))
		FROM unnest($1::int[]) i`
	for _, end := range []struct {
		query string
		order order
		found **time.Time
	}{{first, oldestFirst, &d.First}, {last, newestFirst, &d.Last}} {
		spans, err := s.spans(ctx, tx, firstInstant, lastInstant, end.order)
		if err != nil {
			return d, err
		}
		if err := walk(ctx, tx, spans, func(w span) (bool, error) {
			err := tx.GetContext(ctx, end.found, end.query, int32s(sensors), w.start, w.end)
			return *end.found != nil, err
		}); err != nil {
			return d, err
		}
	}
	return d, nil
}

// dropSensors deletes sensors and their alarms, and returns the last events of the alarms. It
// leaves the readings to PurgeDeletedSensors.
func dropSensors(ctx context.Context, tx *sqlx.Tx, sensors, alarms []int64) ([]AlarmEvent, error) {
	events, err := deleteAlarms(ctx, tx, alarms, "", time.Now())
	if err != nil {
		return nil, err
	}
	for _, q := range []string{
		`INSERT INTO purges (sensor_id) SELECT * FROM unnest($1::int[]) ON CONFLICT DO NOTHING`,
		`DELETE FROM latest WHERE sensor_id = ANY ($1::int[])`,
		`DELETE FROM sensors WHERE id = ANY ($1::int[])`,
	} {
		if _, err := tx.ExecContext(ctx, q, int32s(sensors)); err != nil {
			return nil, err
		}
	}
	return events, addSensorChanges(ctx, tx, sensors)
}

func orZero[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}
