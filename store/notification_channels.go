package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// ChannelKind is the way a channel sends.
type ChannelKind string

// The kinds of channels.
const (
	Webhook ChannelKind = "webhook"
	Email   ChannelKind = "email"
	MQTT    ChannelKind = "mqtt"
)

// Channel is a destination of notifications.
type Channel struct {
	ID       int64       `db:"id"`
	Name     string      `db:"name"`
	Kind     ChannelKind `db:"kind"`
	IsActive bool        `db:"is_active"`
	URL      string      `db:"url"` // of a webhook; it may contain a secret
	// Secret signs webhooks. It begins with EncryptedPrefix when it cannot be decrypted.
	Secret     string         `db:"secret"`
	Recipients pq.StringArray `db:"recipients"` // of e-mail
	Version    int64          `db:"version"`
	CreatedAt  time.Time      `db:"created_at"`
	UpdatedAt  time.Time      `db:"updated_at"`
}

const channelColumns = `
	id, name, kind, is_active, url, secret, recipients, version, created_at, updated_at`

// Channels returns at most limit channels with an id above after, in order of id.
func (s *Store) Channels(ctx context.Context, after int64, limit int) ([]Channel, error) {
	const q = `
		SELECT ` + channelColumns + `
		FROM notification_channels
		WHERE id > $1
		ORDER BY id
		LIMIT $2`
	list := []Channel{}
	err := s.api.SelectContext(ctx, &list, q, after, limit)
	for i := range list {
		list[i].Secret = s.secrets.decrypt(list[i].Secret)
	}
	return list, explain("channels", err)
}

// Channel returns the channel id, or ErrNotFound.
func (s *Store) Channel(ctx context.Context, id int64) (Channel, error) {
	const q = `
		SELECT ` + channelColumns + `
		FROM notification_channels
		WHERE id = $1`
	var c Channel
	err := s.api.GetContext(ctx, &c, q, id)
	c.Secret = s.secrets.decrypt(c.Secret)
	return c, explain("channel", err)
}

// ChannelKinds returns the kind of every channel.
func (s *Store) ChannelKinds(ctx context.Context) (map[int64]ChannelKind, error) {
	var list []Channel
	err := s.api.SelectContext(ctx, &list, `SELECT id, kind FROM notification_channels`)
	kinds := make(map[int64]ChannelKind, len(list))
	for _, c := range list {
		kinds[c.ID] = c.Kind
	}
	return kinds, explain("channels", err)
}

// CreateChannel adds c and returns it as stored. It returns ErrConflict for a name that is taken.
func (s *Store) CreateChannel(ctx context.Context, c Channel) (Channel, error) {
	const q = `
		INSERT INTO notification_channels (name, kind, is_active, url, secret, recipients)
		VALUES ($1, $2, $3, $4, $5, coalesce($6::text[], '{}'))
		RETURNING ` + channelColumns
	err := s.api.GetContext(ctx, &c, q, c.Name, c.Kind, c.IsActive, c.URL,
		s.secrets.encrypt(c.Secret), c.Recipients)
	c.Secret = s.secrets.decrypt(c.Secret)
	return c, explain(fmt.Sprintf("channel %q", c.Name), err)
}

// UpdateChannel writes c, but for its kind. It returns ErrStale when the stored version is not
// c.Version.
func (s *Store) UpdateChannel(ctx context.Context, c Channel) (Channel, error) {
	const q = `
		UPDATE notification_channels
		SET
			name = $3,
			is_active = $4,
			url = $5,
			secret = $6,
			recipients = coalesce($7::text[], '{}'),
			version = version + 1,
			updated_at = now()
		WHERE id = $1 AND version = $2
		RETURNING ` + channelColumns
	var out Channel
	err := s.api.GetContext(ctx, &out, q, c.ID, c.Version, c.Name, c.IsActive, c.URL,
		s.secrets.encrypt(c.Secret), c.Recipients)
	out.Secret = s.secrets.decrypt(out.Secret)
	return out, explain("channel", s.stale(ctx, err, "notification_channels", c.ID))
}

// DeleteChannel deletes the channel id. It returns ErrStale when the stored version is not version
// (0 means any), and ErrInUse when a route uses the channel. Its deliveries in the outbox fail.
func (s *Store) DeleteChannel(ctx context.Context, id, version int64) error {
	return explain("channel", s.deleteVersion(ctx, "notification_channels", id, version))
}

// deleteVersion deletes the row id of table, or returns ErrStale when its version is not version; 0
// means any.
func (s *Store) deleteVersion(ctx context.Context, table string, id, version int64) error {
	return inTx(ctx, s.api, func(tx *sqlx.Tx) error {
		if err := lockVersion(ctx, tx, table, id, version); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE id = $1`, id)
		return err
	})
}
