package store

import (
	"context"
	"database/sql"
	"time"
)

// Delivery is one notification to one channel, with its attempts.
type Delivery struct {
	ID int64 `db:"id"`
	// Key is the same in every attempt, so that receivers recognize a repetition.
	Key        string `db:"key"`
	ChannelID  int64  `db:"channel_id"`
	RouteID    *int64 `db:"route_id"` // nil: a test
	Kind       string `db:"kind"`     // one of the Kind constants
	Status     string `db:"status"`   // gathering, waiting, sending, delivered, failed
	EventCount int    `db:"event_count"`
	Attempts   int    `db:"attempts"`
	Detail     string `db:"detail"` // of the last attempt
	// DueAt is when the next attempt is made; during an attempt, when its lease ends.
	DueAt      time.Time          `db:"due_at"`
	CreatedAt  time.Time          `db:"created_at"`
	FinishedAt *time.Time         `db:"finished_at"`
	Events     NotificationEvents `db:"events"` // at most MaxNotificationEvents
}

// The kinds of deliveries.
const (
	KindNotification = "notification"
	KindReminder     = "reminder"
	KindEscalation   = "escalation"
	KindTest         = "test"
)

const deliveryColumns = `
	id, key, channel_id, route_id, kind, status, event_count, attempts, detail, due_at,
	created_at, finished_at`

// ClaimDeliveries returns at most limit deliveries that are due at now. Until their lease ends only
// the caller works on them; then they are due again. Instances share the work. Channels that have
// perChannel deliveries under way are left out.
func (s *Store) ClaimDeliveries(
	ctx context.Context, now time.Time, lease time.Duration, limit, perChannel int,
) ([]Delivery, error) {
	const q = `
		UPDATE notification_deliveries
		SET status = 'sending', attempts = attempts + 1, due_at = $2
		WHERE id = ANY (ARRAY(
			SELECT id
			FROM notification_deliveries
			WHERE finished_at IS NULL AND due_at <= $1 AND channel_id <> ALL (ARRAY(
				SELECT channel_id
				FROM notification_deliveries
				WHERE finished_at IS NULL AND status = 'sending' AND due_at > $1
				GROUP BY channel_id
				HAVING count(*) >= $4))
			ORDER BY due_at
			LIMIT $3
			FOR UPDATE SKIP LOCKED))
		RETURNING ` + deliveryColumns + `, events`
	list := []Delivery{}
	err := s.api.SelectContext(ctx, &list, q, now, now.Add(lease), limit, perChannel)
	return list, explain("deliveries", err)
}

// FinishDelivery records the result of an attempt at d. If it failed and retryAt is not zero,
// another attempt is made then; otherwise d is finished. It returns ErrStale when the lease of the
// attempt has ended: then the result of the next attempt counts.
func (s *Store) FinishDelivery(
	ctx context.Context, d Delivery, delivered bool, detail string, retryAt time.Time,
) error {
	status, due := "failed", sql.NullTime{Time: retryAt, Valid: !retryAt.IsZero()}
	switch {
	case delivered:
		status = "delivered"
	case due.Valid:
		status = "waiting"
	}
	const q = `
		UPDATE notification_deliveries
		SET
			status = $3,
			detail = $4,
			due_at = coalesce($5, due_at),
			finished_at = CASE WHEN $5::timestamptz IS NULL THEN now() END
		WHERE id = $1 AND attempts = $2 AND status = 'sending'`
	res, err := s.api.ExecContext(ctx, q, d.ID, d.Attempts, status, storable(detail), due)
	if err != nil {
		return explain("delivery", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return explain("delivery", ErrStale)
	}
	return nil
}

// BeginTest adds a delivery that tests a channel. The caller sends it until its lease ends.
func (s *Store) BeginTest(
	ctx context.Context, channel int64, lease time.Duration,
) (Delivery, error) {
	const q = `
		INSERT INTO notification_deliveries (channel_id, kind, status, attempts, due_at, created_at)
		VALUES ($1, 'test', 'sending', 1, now() + make_interval(secs => $2), now())
		RETURNING ` + deliveryColumns + `, events`
	var d Delivery
	err := s.api.GetContext(ctx, &d, q, channel, lease.Seconds())
	return d, explain("test", err)
}

// DeliveryFilter selects deliveries; nil selects all.
type DeliveryFilter struct {
	ChannelID, RouteID, AlarmID *int64
	Kind, Status                *string
	Start, End                  *time.Time // of creation, [Start, End)
}

const deliveriesWhere = `
	WHERE ($1::int IS NULL OR channel_id = $1)
		AND ($2::int IS NULL OR route_id = $2)
		AND ($3::text IS NULL OR kind = $3)
		AND ($4::text IS NULL OR status = $4)
		AND created_at >= coalesce($5::timestamptz, '-infinity')
		AND created_at < coalesce($6::timestamptz, 'infinity')
		AND ($7::int IS NULL
			OR events @> jsonb_build_array(jsonb_build_object('alarm_id', $7::int)))`

func (f DeliveryFilter) args() []any {
	return []any{f.ChannelID, f.RouteID, f.Kind, f.Status, f.Start, f.End, f.AlarmID}
}

// Deliveries returns at most limit deliveries without their events, newest first; never nil. With
// after, the page begins after the delivery that was created at that time and has the id afterID.
func (s *Store) Deliveries(
	ctx context.Context, f DeliveryFilter, after *time.Time, afterID int64, limit int,
) ([]Delivery, error) {
	const q = `
		SELECT ` + deliveryColumns + `
		FROM notification_deliveries ` + deliveriesWhere + `
			AND ($8::timestamptz IS NULL OR (created_at, id) < ($8, $9::bigint))
		ORDER BY created_at DESC, id DESC
		LIMIT $10`
	list := []Delivery{}
	err := s.api.SelectContext(ctx, &list, q, append(f.args(), after, afterID, limit)...)
	return list, explain("deliveries", err)
}

// CountDeliveries returns how many deliveries f selects.
func (s *Store) CountDeliveries(ctx context.Context, f DeliveryFilter) (int64, error) {
	var n int64
	err := s.api.GetContext(ctx, &n,
		`SELECT count(*) FROM notification_deliveries `+deliveriesWhere, f.args()...)
	return n, explain("deliveries", err)
}

// Delivery returns the delivery id with its events, or ErrNotFound.
func (s *Store) Delivery(ctx context.Context, id int64) (Delivery, error) {
	const q = `
		SELECT ` + deliveryColumns + `, events
		FROM notification_deliveries
		WHERE id = $1`
	var d Delivery
	err := s.api.GetContext(ctx, &d, q, id)
	return d, explain("delivery", err)
}

// DeleteExpiredDeliveries deletes deliveries that were finished, and silences that ended, longer
// than retention ago.
func (s *Store) DeleteExpiredDeliveries(ctx context.Context, retention time.Duration) error {
	const silences = `
		DELETE FROM notification_silences
		WHERE ends_at < now() - make_interval(secs => $1)`
	const deliveries = `
		DELETE FROM notification_deliveries
		WHERE id = ANY (ARRAY(
			SELECT id
			FROM notification_deliveries
			WHERE finished_at < now() - make_interval(secs => $1)
			LIMIT $2
			FOR UPDATE SKIP LOCKED))`
	if _, err := s.api.ExecContext(ctx, silences, retention.Seconds()); err != nil {
		return explain("silences", err)
	}
	const batch = 1000
	for {
		res, err := s.api.ExecContext(ctx, deliveries, retention.Seconds(), batch)
		if err != nil {
			return explain("deliveries", err)
		}
		if n, err := res.RowsAffected(); err != nil || n < batch {
			return explain("deliveries", err)
		}
	}
}
