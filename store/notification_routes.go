package store

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lib/pq"
)

// LabelMap maps labels to values; a JSON object in the database.
type LabelMap map[string]string

// Scan reads the column's JSON.
func (m *LabelMap) Scan(src any) error { return scanJSON(src, m) }

// Value returns the column's JSON.
func (m LabelMap) Value() (driver.Value, error) {
	if m == nil {
		return "{}", nil
	}
	b, err := json.Marshal(map[string]string(m))
	return string(b), err
}

// scanJSON reads a jsonb column into v.
func scanJSON(src, v any) error {
	switch b := src.(type) {
	case []byte:
		return json.Unmarshal(b, v)
	case string:
		return json.Unmarshal([]byte(b), v)
	}
	return fmt.Errorf("%T is not JSON", src)
}

// Route says which alarm events go to which channel, and in which form.
type Route struct {
	ID                  int64          `db:"id"`
	Name                string         `db:"name"`
	IsActive            bool           `db:"is_active"`
	ChannelID           int64          `db:"channel_id"`
	EscalationChannelID *int64         `db:"escalation_channel_id"`
	Severities          pq.StringArray `db:"severities"` // empty: all
	Events              pq.StringArray `db:"events"`     // kinds; empty: the default ones
	Labels              LabelMap       `db:"labels"`     // the alarm must have all of them
	GroupSeconds        int            `db:"group_seconds"`
	RemindSeconds       int            `db:"remind_seconds"`   // 0: never
	EscalateSeconds     int            `db:"escalate_seconds"` // 0: never
	Subject             string         `db:"subject"`
	Line                string         `db:"line"`      // template of one event
	TimeZone            string         `db:"time_zone"` // IANA name; empty: the configured one
	Version             int64          `db:"version"`
	CreatedAt           time.Time      `db:"created_at"`
	UpdatedAt           time.Time      `db:"updated_at"`
}

// MaxRoutes limits the routes: every event is matched with each of them.
const MaxRoutes = 1000

const routeColumns = `
	id, name, is_active, channel_id, escalation_channel_id, severities, events, labels,
	group_seconds, remind_seconds, escalate_seconds, subject, line, time_zone,
	version, created_at, updated_at`

// Routes returns at most limit routes with an id above after, in order of id.
func (s *Store) Routes(ctx context.Context, after int64, limit int) ([]Route, error) {
	const q = `
		SELECT ` + routeColumns + `
		FROM notification_routes
		WHERE id > $1
		ORDER BY id
		LIMIT $2`
	list := []Route{}
	err := s.api.SelectContext(ctx, &list, q, after, limit)
	return list, explain("routes", err)
}

// Route returns the route id, or ErrNotFound.
func (s *Store) Route(ctx context.Context, id int64) (Route, error) {
	const q = `
		SELECT ` + routeColumns + `
		FROM notification_routes
		WHERE id = $1`
	var r Route
	err := s.api.GetContext(ctx, &r, q, id)
	return r, explain("route", err)
}

// CreateRoute adds r and returns it as stored. It returns ErrConflict for a name that is taken,
// ErrInUse for an unknown channel, and ErrNotFound when there are MaxRoutes routes.
func (s *Store) CreateRoute(ctx context.Context, r Route) (Route, error) {
	const q = `
		INSERT INTO notification_routes (
			name, is_active, channel_id, escalation_channel_id, severities, events, labels,
			group_seconds, remind_seconds, escalate_seconds, subject, line, time_zone)
		SELECT
			$1, $2, $3, $4, coalesce($5::text[], '{}'), coalesce($6::text[], '{}'), $7,
			$8, $9, $10, $11, $12, $13
		WHERE (SELECT count(*) FROM notification_routes) < $14
		RETURNING ` + routeColumns
	var out Route
	err := s.api.GetContext(ctx, &out, q, r.Name, r.IsActive, r.ChannelID, r.EscalationChannelID,
		r.Severities, r.Events, r.Labels,
		r.GroupSeconds, r.RemindSeconds, r.EscalateSeconds, r.Subject, r.Line, r.TimeZone,
		MaxRoutes)
	return out, explain(fmt.Sprintf("route %q", r.Name), err)
}

// UpdateRoute writes r. It returns ErrStale when the stored version is not r.Version.
func (s *Store) UpdateRoute(ctx context.Context, r Route) (Route, error) {
	const q = `
		UPDATE notification_routes
		SET
			name = $3,
			is_active = $4,
			channel_id = $5,
			escalation_channel_id = $6,
			severities = coalesce($7::text[], '{}'),
			events = coalesce($8::text[], '{}'),
			labels = $9,
			group_seconds = $10,
			remind_seconds = $11,
			escalate_seconds = $12,
			subject = $13,
			line = $14,
			time_zone = $15,
			version = version + 1,
			updated_at = now()
		WHERE id = $1 AND version = $2
		RETURNING ` + routeColumns
	var out Route
	err := s.api.GetContext(ctx, &out, q, r.ID, r.Version, r.Name, r.IsActive, r.ChannelID,
		r.EscalationChannelID, r.Severities, r.Events,
		r.Labels, r.GroupSeconds, r.RemindSeconds, r.EscalateSeconds, r.Subject, r.Line, r.TimeZone)
	return out, explain("route", s.stale(ctx, err, "notification_routes", r.ID))
}

// DeleteRoute deletes the route id. It returns ErrStale when the stored version is not version; 0
// means any. Its deliveries in the outbox are still sent.
func (s *Store) DeleteRoute(ctx context.Context, id, version int64) error {
	return explain("route", s.deleteVersion(ctx, "notification_routes", id, version))
}
