package store

import (
	"context"
	"errors"
	"time"

	"github.com/lib/pq"
)

// Silence is a time in which matching alarm events cause no notifications. Conditions that are nil
// or empty match all events.
type Silence struct {
	ID         int64          `db:"id"`
	StartsAt   time.Time      `db:"starts_at"`
	EndsAt     time.Time      `db:"ends_at"`
	AlarmID    *int64         `db:"alarm_id"`
	SensorID   *int64         `db:"sensor_id"`
	GatewayID  *int64         `db:"gateway_id"`
	Severities pq.StringArray `db:"severities"`
	Labels     LabelMap       `db:"labels"` // the alarm must have all of them
	Reason     string         `db:"reason"`
	CreatedBy  string         `db:"created_by"`
	EndedBy    string         `db:"ended_by"`  // empty: not ended early
	HeldBack   int64          `db:"held_back"` // number of events without notification
	CreatedAt  time.Time      `db:"created_at"`
}

const silenceColumns = `
	id, starts_at, ends_at, alarm_id, sensor_id, gateway_id, severities, labels, reason, created_by,
	ended_by, held_back, created_at`

// Silences returns at most limit silences with an id below before (0: any), newest first. With
// current it returns only those that have not ended.
func (s *Store) Silences(
	ctx context.Context, current bool, before int64, limit int,
) ([]Silence, error) {
	const q = `
		SELECT ` + silenceColumns + `
		FROM notification_silences
		WHERE ($1 = 0 OR id < $1) AND (NOT $2 OR ends_at > now())
		ORDER BY id DESC
		LIMIT $3`
	list := []Silence{}
	err := s.api.SelectContext(ctx, &list, q, before, current, limit)
	return list, explain("silences", err)
}

// SilencesAt returns the silences that are in force at an instant.
func (s *Store) SilencesAt(ctx context.Context, at time.Time) ([]Silence, error) {
	list := []Silence{}
	const q = `
		SELECT ` + silenceColumns + `
		FROM notification_silences
		WHERE starts_at <= $1 AND ends_at > $1
		ORDER BY id`
	err := s.api.SelectContext(ctx, &list, q, at)
	return list, explain("silences", err)
}

// Silence returns the silence id, or ErrNotFound.
func (s *Store) Silence(ctx context.Context, id int64) (Silence, error) {
	const q = `
		SELECT ` + silenceColumns + `
		FROM notification_silences
		WHERE id = $1`
	var v Silence
	err := s.api.GetContext(ctx, &v, q, id)
	return v, explain("silence", err)
}

// CreateSilence adds v and returns it as stored.
func (s *Store) CreateSilence(ctx context.Context, v Silence) (Silence, error) {
	const q = `
		INSERT INTO notification_silences (
			starts_at, ends_at, alarm_id, sensor_id, gateway_id, severities, labels, reason,
			created_by)
		VALUES ($1, $2, $3, $4, $5, coalesce($6::text[], '{}'), $7, $8, $9)
		RETURNING ` + silenceColumns
	var out Silence
	err := s.api.GetContext(ctx, &out, q, v.StartsAt, v.EndsAt, v.AlarmID, v.SensorID, v.GatewayID,
		v.Severities, v.Labels, v.Reason, v.CreatedBy)
	return out, explain("silence", err)
}

// EndSilence ends the silence id now and records the user who ended it. It returns ErrConflict for
// a silence that has ended.
func (s *Store) EndSilence(ctx context.Context, id int64, user string) (Silence, error) {
	const q = `
		UPDATE notification_silences
		SET starts_at = least(starts_at, now()), ends_at = now(), ended_by = $2
		WHERE id = $1 AND ends_at > now()
		RETURNING ` + silenceColumns
	var v Silence
	err := s.stale(ctx, s.api.GetContext(ctx, &v, q, id, user), "notification_silences", id)
	if errors.Is(err, ErrStale) {
		err = ErrConflict
	}
	return v, explain("silence", err)
}
