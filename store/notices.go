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

// NoticeEvent is an alarm event with what people and programs that are told of it want to know
// besides. Its JSON is what they get.
type NoticeEvent struct {
	Epoch      string    `db:"epoch" json:"epoch"`
	Offset     int64     `db:"offset" json:"offset"`
	At         time.Time `db:"at" json:"at"`
	AlarmID    int64     `db:"alarm_id" json:"alarm_id"`
	SensorID   int64     `db:"sensor_id" json:"sensor_id"`
	GatewayID  int64     `db:"gateway_id" json:"gateway_id"`
	Occurrence int64     `db:"occurrence" json:"occurrence"`
	Version    int64     `db:"version" json:"version"` // what an acknowledgement has to name
	// name; empty when it was deleted since, as keys and names below
	Alarm   string `db:"alarm" json:"alarm"`
	Sensor  string `db:"sensor" json:"sensor"`   // key
	Gateway string `db:"gateway" json:"gateway"` // key

	SensorName  string `db:"sensor_name" json:"sensor_name"`
	GatewayName string `db:"gateway_name" json:"gateway_name"`

	Kind     string   `db:"kind" json:"kind"`
	State    string   `db:"after" json:"state"`
	Severity string   `db:"severity" json:"severity"`
	Level    string   `db:"level" json:"level"`
	Value    *float64 `db:"value" json:"value"`
	Unit     string   `db:"unit" json:"unit"`
	Message  string   `db:"message" json:"message"`
	User     string   `db:"username" json:"user"`
	Comment  string   `db:"comment" json:"comment"`
	Labels   LabelMap `db:"labels" json:"labels"`
	Quiet    bool     `db:"quiet" json:"-"` // nobody is told
}

// NoticeEvents is a list of them; a JSON array in the database.
type NoticeEvents []NoticeEvent

// Scan reads what the database has.
func (e *NoticeEvents) Scan(src any) error { return scanJSON(src, e) }

// Value is e for the database.
func (e NoticeEvents) Value() (driver.Value, error) {
	if e == nil {
		return "[]", nil
	}
	b, err := json.Marshal([]NoticeEvent(e))
	return string(b), err
}

// MostNoticed is how many events a delivery keeps and shows; the others it only counts.
const MostNoticed = 100

// Notice is what is to be put into the outbox.
type Notice struct {
	RouteID, ChannelID int64
	Kind               string
	Events             NoticeEvents // the first MostNoticed of Count at least
	Count              int
	First, Last        int64 // offsets
	DueAt              time.Time
	Alone              bool // is not put together with another that waits
}

// Watch is an alarm that stands and that nobody has acknowledged, on a route that reminds or
// escalates.
type Watch struct {
	RouteID    int64      `db:"route_id"`
	AlarmID    int64      `db:"alarm_id"`
	RemindAt   *time.Time `db:"remind_at"`
	EscalateAt *time.Time `db:"escalate_at"`
	Event      string     `db:"event"` // JSON of the event that began it
	Keep       bool       `db:"-"`     // one that is there already stays as it is
}

// Notices is what follows from the alarm events of (After, Upto].
type Notices struct {
	After, Upto int64
	Notices     []Notice
	Watch       []Watch
	Unwatch     []int64         // alarms
	HeldBack    map[int64]int64 // events, by silence
}

// NoticeCursor returns the offset of the last alarm event that has gone through AddNotices.
func (s *Store) NoticeCursor(ctx context.Context) (offset int64, err error) {
	err = s.api.GetContext(ctx, &offset, `SELECT "offset" FROM notification_cursor`)
	return offset, explain("notification cursor", err)
}

// NoticeEvents returns at most limit events with an offset above after, in order.
func (s *Store) NoticeEvents(ctx context.Context, after int64, limit int) ([]NoticeEvent, error) {
	const q = `
		SELECT l.epoch, e."offset", e.at, e.alarm_id, e.sensor_id, e.gateway_id, e.occurrence, e.version, coalesce(a.name, '') AS alarm,
			coalesce(v.key, '') AS sensor, coalesce(g.key, '') AS gateway, coalesce(v.name, '') AS sensor_name, coalesce(g.name, '') AS gateway_name, e.kind, e.after, e.severity, e.level, e.value,
			coalesce(v.unit, '') AS unit, e.message, e.username, e.comment, coalesce(a.labels, '{}') AS labels, e.quiet
		FROM alarm_events e
		CROSS JOIN alarm_log l
		LEFT JOIN alarms a ON a.id = e.alarm_id
		LEFT JOIN sensors v ON v.id = e.sensor_id
		LEFT JOIN gateways g ON g.id = e.gateway_id
		WHERE e."offset" > $1
		ORDER BY e."offset"
		LIMIT $2`
	es := []NoticeEvent{}
	err := s.api.SelectContext(ctx, &es, q, after, limit)
	return es, explain("alarm events", err)
}

// AddNotices puts n into the outbox and moves the cursor, both or neither, so that every event gets
// there once. When the cursor is not at n.After any more, since another instance was faster, it is
// ErrStale.
func (s *Store) AddNotices(ctx context.Context, n Notices) error {
	err := tx(ctx, s.api, func(tx *sqlx.Tx) error {
		res, err := tx.ExecContext(ctx,
			`UPDATE notification_cursor SET "offset" = $2 WHERE "offset" = $1`, n.After, n.Upto)
		if err != nil {
			return err
		}
		if moved, err := res.RowsAffected(); err != nil || moved == 0 {
			return cmp.Or(err, ErrStale)
		}
		for id, events := range n.HeldBack {
			if _, err := tx.ExecContext(ctx,
				`UPDATE notification_silences SET held_back = held_back + $2 WHERE id = $1`, id,
				events); err != nil {
				return err
			}
		}
		const unwatch = `DELETE FROM notification_watches WHERE alarm_id = ANY ($1)`
		if _, err := tx.ExecContext(ctx, unwatch, pq.Array(n.Unwatch)); err != nil {
			return err
		}
		for _, w := range n.Watch {
			if err := addWatch(ctx, tx, w); err != nil {
				return err
			}
		}
		return addNotices(ctx, tx, n.Notices)
	})
	return explain("notices", err)
}

// addWatch adds w; of a route or an alarm that was deleted meanwhile there is none.
func addWatch(ctx context.Context, tx *sqlx.Tx, w Watch) error {
	const q = `
		INSERT INTO notification_watches AS w (route_id, alarm_id, remind_at, escalate_at, event)
		SELECT r.id, a.id, $3, $4, $5
		FROM notification_routes r, alarms a
		WHERE r.id = $1 AND a.id = $2
		FOR KEY SHARE
		ON CONFLICT (alarm_id, route_id) DO UPDATE
		SET remind_at = excluded.remind_at, escalate_at = excluded.escalate_at, event = excluded.event
		WHERE NOT $6`
	_, err := tx.ExecContext(ctx, q, w.RouteID, w.AlarmID, w.RemindAt, w.EscalateAt, w.Event,
		w.Keep)
	return err
}

// addNotices puts each of ns to what is being gathered for its route, or begins anew.
func addNotices(ctx context.Context, tx *sqlx.Tx, ns []Notice) error {
	// so that two instances lock rows in the same order
	slices.SortStableFunc(ns, func(a, b Notice) int {
		return cmp.Or(cmp.Compare(a.RouteID, b.RouteID), cmp.Compare(a.ChannelID, b.ChannelID),
			cmp.Compare(a.Kind, b.Kind))
	})
	for _, n := range ns {
		status := "gathering"
		if n.Alone {
			status = "waiting"
		}
		const q = `
			INSERT INTO notification_deliveries AS d (route_id, channel_id, kind, status, events, event_count, first_offset, last_offset, due_at, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now())
			ON CONFLICT (route_id, channel_id, kind) WHERE status = 'gathering' DO UPDATE
			SET events = jsonb_path_query_array(d.events || excluded.events, '$[0 to 99]'), event_count = d.event_count + excluded.event_count,
				last_offset = greatest(d.last_offset, excluded.last_offset)`
		_, err := tx.ExecContext(ctx, q, n.RouteID, n.ChannelID, n.Kind, status,
			n.Events[:min(len(n.Events), MostNoticed)], n.Count, n.First, n.Last, n.DueAt)
		if err != nil {
			return err
		}
	}
	return nil
}

// StepWatches gives those of at most limit watches that are due at now to f, puts the notices it
// returns into the outbox and keeps the watches it returns, of those it was given. Several
// instances share the work. It returns how many were due.
func (s *Store) StepWatches(
	ctx context.Context, now time.Time, limit int, f func([]Watch) ([]Notice, []Watch),
) (n int, err error) {
	err = tx(ctx, s.api, func(tx *sqlx.Tx) error {
		const due = `
			SELECT route_id, alarm_id, remind_at, escalate_at, event
			FROM notification_watches
			WHERE least(remind_at, escalate_at) <= $1
			ORDER BY least(remind_at, escalate_at)
			LIMIT $2
			FOR UPDATE SKIP LOCKED`
		var ws []Watch
		if err := tx.SelectContext(ctx, &ws, due, now, limit); err != nil || len(ws) == 0 {
			return err
		}
		n = len(ws)
		notices, next := f(ws)
		for _, w := range next {
			const q = `UPDATE notification_watches SET remind_at = $3, escalate_at = $4 WHERE route_id = $1 AND alarm_id = $2`
			if _, err := tx.ExecContext(ctx, q, w.RouteID, w.AlarmID, w.RemindAt, w.EscalateAt); err != nil {
				return err
			}
		}
		return addNotices(ctx, tx, notices)
	})
	return n, explain("watches", err)
}
