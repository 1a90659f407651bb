package notify

import (
	"context"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// longestTrial is shorter than a request may take.
const longestTrial = 5 * time.Second

// Try sends a trial by the channel id, once, also when it is not in use, and returns what became of
// it. An unknown channel is store.ErrNotFound.
func (n *Notifier) Try(ctx context.Context, id int64) (store.Delivery, error) {
	c, err := n.store.Channel(ctx, id)
	if err != nil {
		return store.Delivery{}, err
	}
	d, err := n.store.BeginTrial(ctx, id, n.lease())
	if err != nil {
		return store.Delivery{}, err
	}
	ctx = context.WithoutCancel(ctx) // the log has to say how it ended
	attempt, cancel := context.WithTimeout(ctx, longestTrial)
	defer cancel()
	detail, err := n.attempt(attempt, c, d, time.Now())
	if err := n.settle(ctx, c.Kind, d, detail, err, time.Now()); err != nil {
		return store.Delivery{}, err
	}
	return n.store.Delivery(ctx, d.ID)
}

// CheckChannel says what is wrong with c before it is kept: a field and why, both empty when
// nothing is.
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
