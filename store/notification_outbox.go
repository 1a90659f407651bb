package store

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/json"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// NotificationEvent is an alarm event with the names of its alarm, sensor and gateway. Names are
// empty when the alarm, sensor or gateway has been deleted.
//
// Its JSON is how the outbox stores it. Receivers get the contract's form, which
// internal/eventjson makes.
type NotificationEvent struct {
	Epoch       string    `db:"epoch"        json:"epoch"`
	Offset      int64     `db:"offset"       json:"offset"`
	At          time.Time `db:"at"           json:"at"`
	AlarmID     int64     `db:"alarm_id"     json:"alarm_id"`
	SensorID    int64     `db:"sensor_id"    json:"sensor_id"`
	GatewayID   int64     `db:"gateway_id"   json:"gateway_id"`
	Occurrence  int64     `db:"occurrence"   json:"occurrence"`
	Version     int64     `db:"version"      json:"version"` // to acknowledge with
	Alarm       string    `db:"alarm"        json:"alarm"`   // name
	Sensor      string    `db:"sensor"       json:"sensor"`  // key
	Gateway     string    `db:"gateway"      json:"gateway"` // key
	SensorName  string    `db:"sensor_name"  json:"sensor_name"`
	GatewayName string    `db:"gateway_name" json:"gateway_name"`
	Kind        string    `db:"kind"         json:"kind"`
	State       string    `db:"after"        json:"state"`
	Severity    string    `db:"severity"     json:"severity"`
	Level       string    `db:"level"        json:"level"`
	Value       *float64  `db:"value"        json:"value"`
	Unit        string    `db:"unit"         json:"unit"`
	Message     string    `db:"message"      json:"message"`
	User        string    `db:"username"     json:"user"`
	Comment     string    `db:"comment"      json:"comment"`
	Labels      LabelMap  `db:"labels"       json:"labels"`
	Quiet       bool      `db:"quiet"        json:"-"` // causes no notification
}

// NotificationEvents is a list of events; a JSON array in the database.
type NotificationEvents []NotificationEvent

// Scan reads the column's JSON.
func (e *NotificationEvents) Scan(src any) error { return scanJSON(src, e) }

// Value returns the column's JSON.
func (e NotificationEvents) Value() (driver.Value, error) {
	if e == nil {
		return "[]", nil
	}
	b, err := json.Marshal([]NotificationEvent(e))
	return string(b), err
}

// MaxNotificationEvents is how many events a delivery stores and shows; more are only counted.
const MaxNotificationEvents = 100

// Notification is a delivery to be added to the outbox.
type Notification struct {
	RouteID   int64
	ChannelID int64
	Kind      string
	Events    NotificationEvents // at least the first MaxNotificationEvents of Count
	Count     int
	// FirstOffset and LastOffset are those of the events.
	FirstOffset int64
	LastOffset  int64
	DueAt       time.Time
	// Ungrouped keeps the notification apart from others that wait for the same channel.
	Ungrouped bool
}

// Reminder says when a route reminds people of an unacknowledged alarm, and when it escalates.
type Reminder struct {
	RouteID    int64      `db:"route_id"`
	AlarmID    int64      `db:"alarm_id"`
	RemindAt   *time.Time `db:"remind_at"`
	EscalateAt *time.Time `db:"escalate_at"`
	Event      string     `db:"event"` // JSON of the NotificationEvent that began it
	// KeepExisting leaves the reminder unchanged if the route has one for the alarm.
	KeepExisting bool `db:"-"`
}

// NotificationPlan is what follows from the alarm events with offsets in (After, Last].
type NotificationPlan struct {
	After         int64
	Last          int64
	Notifications []Notification
	Reminders     []Reminder
	EndReminders  []int64         // of these alarms
	HeldBack      map[int64]int64 // number of events by silence
}

// NotificationCursor returns the offset of the last alarm event that AddNotifications has handled.
func (s *Store) NotificationCursor(ctx context.Context) (offset int64, err error) {
	err = s.api.GetContext(ctx, &offset, `SELECT "offset" FROM notification_cursor`)
	return offset, explain("notification cursor", err)
}

// NotificationEvents returns at most limit events with an offset above after, in order.
func (s *Store) NotificationEvents(
	ctx context.Context, after int64, limit int,
) ([]NotificationEvent, error) {
	const q = `
		SELECT
			l.epoch, e."offset", e.at, e.alarm_id, e.sensor_id, e.gateway_id, e.occurrence,
			e.version, e.kind, e.after, e.severity, e.level, e.value, e.message, e.username,
			e.comment, e.quiet,
			coalesce(a.name, '') AS alarm,
			coalesce(a.labels, '{}') AS labels,
			coalesce(v.key, '') AS sensor,
			coalesce(v.name, '') AS sensor_name,
			coalesce(v.unit, '') AS unit,
			coalesce(g.key, '') AS gateway,
			coalesce(g.name, '') AS gateway_name
		FROM alarm_events e
		CROSS JOIN alarm_log l
		LEFT JOIN alarms a ON a.id = e.alarm_id
		LEFT JOIN sensors v ON v.id = e.sensor_id
		LEFT JOIN gateways g ON g.id = e.gateway_id
		WHERE e."offset" > $1
		ORDER BY e."offset"
		LIMIT $2`
	es := []NotificationEvent{}
	err := s.api.SelectContext(ctx, &es, q, after, limit)
	return es, explain("alarm events", err)
}

// AddNotifications adds the plan to the outbox and moves the cursor in one transaction, so that
// every event is handled once. It returns ErrStale when the cursor is no longer at plan.After,
// because another instance has handled the events.
func (s *Store) AddNotifications(ctx context.Context, plan NotificationPlan) error {
	err := inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		if err := moveNotificationCursor(ctx, tx, plan.After, plan.Last); err != nil {
			return err
		}
		for silence, events := range plan.HeldBack {
			const q = `UPDATE notification_silences SET held_back = held_back + $2 WHERE id = $1`
			if _, err := tx.ExecContext(ctx, q, silence, events); err != nil {
				return err
			}
		}
		const endReminders = `DELETE FROM notification_watches WHERE alarm_id = ANY ($1)`
		if _, err := tx.ExecContext(ctx, endReminders, pq.Array(plan.EndReminders)); err != nil {
			return err
		}
		for _, r := range plan.Reminders {
			if err := addReminder(ctx, tx, r); err != nil {
				return err
			}
		}
		return addNotifications(ctx, tx, plan.Notifications)
	})
	return explain("notifications", err)
}

func moveNotificationCursor(ctx context.Context, tx *sqlx.Tx, from, to int64) error {
	const q = `UPDATE notification_cursor SET "offset" = $2 WHERE "offset" = $1`
	res, err := tx.ExecContext(ctx, q, from, to)
	if err != nil {
		return err
	}
	moved, err := res.RowsAffected()
	if err == nil && moved == 0 {
		err = ErrStale
	}
	return err
}

// addReminder adds r, unless its route or its alarm has been deleted.
func addReminder(ctx context.Context, tx *sqlx.Tx, r Reminder) error {
	const q = `
		INSERT INTO notification_watches AS w (route_id, alarm_id, remind_at, escalate_at, event)
		SELECT r.id, a.id, $3, $4, $5
		FROM notification_routes r, alarms a
		WHERE r.id = $1 AND a.id = $2
		FOR KEY SHARE
		ON CONFLICT (alarm_id, route_id) DO UPDATE
		SET
			remind_at = excluded.remind_at,
			escalate_at = excluded.escalate_at,
			event = excluded.event
		WHERE NOT $6`
	_, err := tx.ExecContext(ctx, q, r.RouteID, r.AlarmID, r.RemindAt, r.EscalateAt, r.Event,
		r.KeepExisting)
	return err
}

// addNotifications appends the events of each notification to the delivery that its route still
// gathers, or inserts a new delivery.
func addNotifications(ctx context.Context, tx *sqlx.Tx, ns []Notification) error {
	const q = `
		INSERT INTO notification_deliveries AS d (
			route_id, channel_id, kind, status, events, event_count, first_offset, last_offset,
			due_at, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now())
		ON CONFLICT (route_id, channel_id, kind) WHERE status = 'gathering' DO UPDATE
		SET
			events = jsonb_path_query_array(d.events || excluded.events, '$[0 to 99]'),
			event_count = d.event_count + excluded.event_count,
			last_offset = greatest(d.last_offset, excluded.last_offset)`
	// so that two instances lock rows in the same order
	slices.SortStableFunc(ns, func(a, b Notification) int {
		return cmp.Or(cmp.Compare(a.RouteID, b.RouteID), cmp.Compare(a.ChannelID, b.ChannelID),
			cmp.Compare(a.Kind, b.Kind))
	})
	for _, n := range ns {
		status := "gathering"
		if n.Ungrouped {
			status = "waiting"
		}
		stored := n.Events[:min(len(n.Events), MaxNotificationEvents)]
		if _, err := tx.ExecContext(ctx, q, n.RouteID, n.ChannelID, n.Kind, status, stored,
			n.Count, n.FirstOffset, n.LastOffset, n.DueAt); err != nil {
			return err
		}
	}
	return nil
}

// FireReminders passes at most limit reminders that are due at now to fire. It adds the
// notifications that fire returns to the outbox, and stores the times of the reminders that it
// returns. Instances share the work. FireReminders returns how many reminders were due.
func (s *Store) FireReminders(
	ctx context.Context, now time.Time, limit int,
	fire func(due []Reminder) ([]Notification, []Reminder),
) (n int, err error) {
	const due = `
		SELECT route_id, alarm_id, remind_at, escalate_at, event
		FROM notification_watches
		WHERE least(remind_at, escalate_at) <= $1
		ORDER BY least(remind_at, escalate_at)
		LIMIT $2
		FOR UPDATE SKIP LOCKED`
	const update = `
		UPDATE notification_watches
		SET remind_at = $3, escalate_at = $4
		WHERE route_id = $1 AND alarm_id = $2`
	err = inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		var rs []Reminder
		if err := tx.SelectContext(ctx, &rs, due, now, limit); err != nil || len(rs) == 0 {
			return err
		}
		n = len(rs)
		notifications, next := fire(rs)
		for _, r := range next {
			if _, err := tx.ExecContext(ctx, update, r.RouteID, r.AlarmID, r.RemindAt,
				r.EscalateAt); err != nil {
				return err
			}
		}
		return addNotifications(ctx, tx, notifications)
	})
	return n, explain("reminders", err)
}
