package notify

import (
	"context"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// testTimeout is shorter than a request may take.
const testTimeout = 5 * time.Second

// TestChannel makes one attempt to send a test by the channel id, even if it is not in use, and
// returns the delivery. It returns store.ErrNotFound for an unknown channel.
func (n *Notifier) TestChannel(ctx context.Context, id int64) (store.Delivery, error) {
	c, err := n.store.Channel(ctx, id)
	if err != nil {
		return store.Delivery{}, err
	}
	d, err := n.store.BeginTest(ctx, id, n.lease())
	if err != nil {
		return store.Delivery{}, err
	}
	ctx = context.WithoutCancel(ctx) // the result is recorded even if the caller has gone
	attempt, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	detail, err := n.attempt(attempt, c, d, time.Now())
	if err := n.finish(ctx, c.Kind, d, detail, err, time.Now()); err != nil {
		return store.Delivery{}, err
	}
	return n.store.Delivery(ctx, d.ID)
}

// CheckChannel returns which field of c is invalid and why; both are empty for a valid channel.
func (n *Notifier) CheckChannel(c store.Channel) (field, reason string) {
	if c.Kind != store.Webhook {
		return "", ""
	}
	if err := n.webhooks.check(c.URL); err != nil {
		return "url", err.Error()
	}
	if _, err := secretKey(c.Secret); err != nil {
		return "secret", err.Error()
	}
	return "", ""
}
