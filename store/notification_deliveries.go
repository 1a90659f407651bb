package store

import (
	"context"
	"database/sql"
	"time"
)

// Delivery is a notice in the outbox, and later what became of it.
type Delivery struct {
	ID int64 `db:"id"`
	// the same in every attempt, so that a receiver knows a repetition
	Key        string `db:"key"`
	ChannelID  int64  `db:"channel_id"`
	RouteID    *int64 `db:"route_id"` // nil: a trial
	Kind       string `db:"kind"`     // notice, reminder, escalation, trial
	Status     string `db:"status"`   // gathering, waiting, sending, delivered, failed
	EventCount int    `db:"event_count"`
	Attempts   int    `db:"attempts"`
	Detail     string `db:"detail"` // of the last attempt
	// when it is tried next; while it is sent, when it is taken for lost
	DueAt      time.Time          `db:"due_at"`
	CreatedAt  time.Time          `db:"created_at"`
	FinishedAt *time.Time         `db:"finished_at"`
	Events     NotificationEvents `db:"events"` // the first MaxNotificationEvents
}

// The kinds of deliveries.
const (
	KindNotification = "notice"
	KindReminder     = "reminder"
	KindEscalation   = "escalation"
	KindTest         = "trial"
)

const deliveryColumns = `id, key, channel_id, route_id, kind, status, event_count, attempts, detail, due_at, created_at, finished_at`

// ClaimDeliveries returns at most limit deliveries that are due at now. They are the caller's until
// lease later; then they are taken for lost and somebody's again. Several instances share the work.
// A channel by which so many are being sent already has to wait.
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

// FinishDelivery records what became of an attempt at d. With a zero again it is over, delivered or
// not; else it is tried again then. An attempt that was taken for lost meanwhile is ErrStale, and
// what somebody else makes of it counts.
func (s *Store) FinishDelivery(
	ctx context.Context, d Delivery, delivered bool, detail string, again time.Time,
) error {
	status, due := "failed", sql.NullTime{Time: again, Valid: !again.IsZero()}
	switch {
	case delivered:
		status = "delivered"
	case due.Valid:
		status = "waiting"
	}
	const q = `
		UPDATE notification_deliveries
		SET status = $3, detail = $4, due_at = coalesce($5, due_at), finished_at = CASE WHEN $5::timestamptz IS NULL THEN now() END
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

// BeginTest enters a trial of a channel, which the caller sends, until lease later.
func (s *Store) BeginTest(
	ctx context.Context, channel int64, lease time.Duration,
) (Delivery, error) {
	const q = `
		INSERT INTO notification_deliveries (channel_id, kind, status, attempts, due_at, created_at)
		VALUES ($1, 'trial', 'sending', 1, now() + make_interval(secs => $2), now())
		RETURNING ` + deliveryColumns + `, events`
	var d Delivery
	err := s.api.GetContext(ctx, &d, q, channel, lease.Seconds())
	return d, explain("trial", err)
}

// DeliveryFilter selects deliveries; nil takes all.
type DeliveryFilter struct {
	ChannelID, RouteID, AlarmID *int64
	Kind, Status                *string
	Start, End                  *time.Time // when it was made, [Start, End)
}

const deliveriesWhere = `
	WHERE ($1::int IS NULL OR channel_id = $1) AND ($2::int IS NULL OR route_id = $2) AND ($3::text IS NULL OR kind = $3)
		AND ($4::text IS NULL OR status = $4)
		AND created_at >= coalesce($5::timestamptz, '-infinity') AND created_at < coalesce($6::timestamptz, 'infinity')
		AND ($7::int IS NULL OR events @> jsonb_build_array(jsonb_build_object('alarm_id', $7::int)))`

func (f DeliveryFilter) args() []any {
	return []any{f.ChannelID, f.RouteID, f.Kind, f.Status, f.Start, f.End, f.AlarmID}
}

// Deliveries returns at most limit deliveries without their events, the newest first; never nil.
// With after the page begins behind the one that was made at that time and has the id afterID.
func (s *Store) Deliveries(
	ctx context.Context, f DeliveryFilter, after *time.Time, afterID int64, limit int,
) ([]Delivery, error) {
	const q = `
		SELECT ` + deliveryColumns + `
		FROM notification_deliveries ` + deliveriesWhere + ` AND ($8::timestamptz IS NULL OR (created_at, id) < ($8, $9::bigint))
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
	var d Delivery
	err := s.api.GetContext(ctx, &d,
		`SELECT `+deliveryColumns+`, events FROM notification_deliveries WHERE id = $1`, id)
	return d, explain("delivery", err)
}

// DeleteExpiredDeliveries removes deliveries that were over longer than retention ago, and silences that
// ended so long ago.
func (s *Store) DeleteExpiredDeliveries(ctx context.Context, retention time.Duration) error {
	if _, err := s.api.ExecContext(ctx,
		`DELETE FROM notification_silences WHERE ends_at < now() - make_interval(secs => $1)`,
		retention.Seconds()); err != nil {
		return explain("silences", err)
	}
	const most = 1000
	for {
		const q = `
			DELETE FROM notification_deliveries
			WHERE id = ANY (ARRAY(
				SELECT id
				FROM notification_deliveries
				WHERE finished_at < now() - make_interval(secs => $1)
				LIMIT $2
				FOR UPDATE SKIP LOCKED))`
		res, err := s.api.ExecContext(ctx, q, retention.Seconds(), most)
		if err != nil {
			return explain("deliveries", err)
		}
		if n, err := res.RowsAffected(); err != nil || n < most {
			return explain("deliveries", err)
		}
	}
}
