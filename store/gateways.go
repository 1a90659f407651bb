package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
)

// Gateway is a device that publishes the readings of its sensors.
type Gateway struct {
	ID          int64      `db:"id"`
	Key         string     `db:"key"`
	Name        string     `db:"name"`
	Location    string     `db:"location"`
	IsActive    bool       `db:"is_active"`
	Status      string     `db:"status"` // online, offline or unknown
	LastSeenAt  *time.Time `db:"last_seen_at"`
	ClockSkewMs *int64     `db:"clock_skew_ms"`
	Metadata    string     `db:"metadata"`  // a JSON object
	IsSystem    bool       `db:"is_system"` // the server's own gateway, which nothing connects as
	Version     int64      `db:"version"`   // counts changes by users
	CreatedAt   time.Time  `db:"created_at"`
	UpdatedAt   time.Time  `db:"updated_at"`
}

// GatewayFilter selects gateways; nil takes all.
type GatewayFilter struct {
	Key, Status *string
	IsActive    *bool
	IsSystem    *bool
}

func (f GatewayFilter) args() []any { return []any{f.Key, f.Status, f.IsActive, f.IsSystem} }

// GatewayChange holds the new values of a gateway; nil keeps the old one.
type GatewayChange struct {
	Key, Name, Location, Metadata *string
	IsActive                      *bool
}

// Deletion counts what is deleted, or would be.
type Deletion struct {
	Gateways, Sensors, Alarms int
	First, Last               *time.Time // timestamps of the readings; nil if there are none
}

const gatewayColumns = `id, key, name, location, is_active, status, last_seen_at, clock_skew_ms,
	metadata, is_system, version, created_at, updated_at`

const gatewayWhere = `
	WHERE ($1::text IS NULL OR key = $1)
		AND ($2::text IS NULL OR status = $2)
		AND ($3::boolean IS NULL OR is_active = $3)
		AND ($4::boolean IS NULL OR is_system = $4)`

// Gateways returns at most limit gateways with an id above after, in order of id.
func (s *Store) Gateways(
	ctx context.Context, f GatewayFilter, after int64, limit int,
) ([]Gateway, error) {
	const q = `SELECT ` + gatewayColumns + ` FROM gateways ` + gatewayWhere +
		` AND id > $5 ORDER BY id LIMIT $6`
	gs := []Gateway{}
	err := s.api.SelectContext(ctx, &gs, q, append(f.args(), after, limit)...)
	return gs, explain("gateways", err)
}

// CountGateways returns how many gateways f selects.
func (s *Store) CountGateways(ctx context.Context, f GatewayFilter) (int64, error) {
	var n int64
	err := s.api.GetContext(ctx, &n, `SELECT count(*) FROM gateways `+gatewayWhere, f.args()...)
	return n, explain("gateways", err)
}

// Gateway returns the gateway id, or ErrNotFound.
func (s *Store) Gateway(ctx context.Context, id int64) (Gateway, error) {
	var g Gateway
	err := s.api.GetContext(ctx, &g, `SELECT `+gatewayColumns+` FROM gateways WHERE id = $1`, id)
	return g, explain("gateway", err)
}

// CreateGateway adds g and returns it as stored. A taken key is a ConflictError.
func (s *Store) CreateGateway(ctx context.Context, g Gateway) (Gateway, error) {
	const q = `
		INSERT INTO gateways (key, name, location, is_active, metadata)
		VALUES ($1, $2, $3, $4, $5)
		RETURNING ` + gatewayColumns
	err := s.api.GetContext(ctx, &g, q, g.Key, g.Name, g.Location, g.IsActive, g.Metadata)
	return g, explain(fmt.Sprintf("gateway %q", g.Key), err)
}

// UpdateGateway changes the gateway id if it still has version (0: any version), else ErrStale. A
// gateway that is put out of use suspends the alarms that read its sensors.
func (s *Store) UpdateGateway(
	ctx context.Context, id, version int64, c GatewayChange,
) (Gateway, error) {
	const q = `
		UPDATE gateways
		SET key = coalesce($3, key), name = coalesce($4, name), location = coalesce($5, location),
			metadata = coalesce($6::jsonb, metadata), is_active = coalesce($7, is_active),
			version = version + 1, updated_at = now()
		WHERE id = $1 AND $2 IN (0, version)
		RETURNING ` + gatewayColumns
	if c.Key != nil || c.IsActive != nil {
		if err := refuseSystemGateway(ctx, s.api, id); err != nil {
			return Gateway{}, explain("gateway", err)
		}
	}
	args := []any{id, version, c.Key, c.Name, c.Location, c.Metadata, c.IsActive}
	if c.IsActive == nil {
		var g Gateway
		err := s.api.GetContext(ctx, &g, q, args...)
		return g, explain("gateway", s.stale(ctx, err, "gateways", id))
	}
	g, err := withRules(ctx, s, s.api, func(tx *sqlx.Tx, rules *ruleSet) (g Gateway, err error) {
		var sensors []int64
		const of = `SELECT id FROM sensors WHERE gateway_id = $1 OR about_gateway_id = $1`
		if err := tx.SelectContext(ctx, &sensors, of, id); err != nil {
			return g, err
		}
		now := time.Now()
		// alarms are locked before the gateway, as in a batch of readings
		ev, alarms, err := lockAlarmsOf(ctx, tx, rules, sensors, now)
		if err != nil {
			return g, err
		}
		if err := tx.GetContext(ctx, &g, q, args...); err != nil {
			return g, err
		}
		if err := ev.restOrResume(ctx, tx, alarms, now); err != nil {
			return g, err
		}
		return g, ev.write(ctx, tx)
	})
	return g, explain("gateway", s.stale(ctx, err, "gateways", id))
}

// DeleteGateway deletes the gateway id if it still has version (0: any version). With cascade it
// deletes the gateway's sensors with their readings and alarms, too; without cascade a gateway with
// sensors is an InUseError. The system sensors that measure it are always deleted. With dryRun
// nothing is changed.
func (s *Store) DeleteGateway(
	ctx context.Context, id, version int64, cascade, dryRun bool,
) (Deletion, error) {
	var d Deletion
	err := inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		if err := lockVersion(ctx, tx, "gateways", id, version); err != nil {
			return err
		}
		if err := refuseSystemGateway(ctx, tx, id); err != nil {
			return err
		}
		var sensors, system []int64
		const own = `SELECT id FROM sensors WHERE gateway_id = $1 ORDER BY id FOR UPDATE`
		if err := tx.SelectContext(ctx, &sensors, own, id); err != nil {
			return err
		}
		const about = `SELECT id FROM sensors WHERE about_gateway_id = $1 ORDER BY id FOR UPDATE`
		if err := tx.SelectContext(ctx, &system, about, id); err != nil {
			return err
		}
		var err error
		if d, err = s.countDeleted(ctx, tx, sensors); err != nil {
			return err
		}
		d.Gateways = 1
		all := slices.Concat(sensors, system)
		alarms, err := lockAlarmsToDelete(ctx, tx, all)
		d.Alarms = len(alarms)
		if err != nil || dryRun {
			return err
		}
		if len(sensors) > 0 && !cascade {
			return &InUseError{Sensors: len(sensors), Alarms: alarms}
		}
		events, err := dropSensors(ctx, tx, all, alarmIDs(alarms))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM gateways WHERE id = $1`, id); err != nil {
			return err
		}
		return addAlarmEvents(ctx, tx, events)
	})
	return d, explain("gateway", err)
}
