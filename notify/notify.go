// Package notify tells people and programs of alarm events. It reads committed events, applies
// routes, silences and reminders, and puts notifications into an outbox in the database; from there
// it delivers them by webhook, e-mail and MQTT, at least once. internal/app runs a Notifier.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/store"
)

const (
	// pollInterval is how long an event waits at most if Wake is not called.
	pollInterval = time.Second
	batchSize    = 500 // events or reminders of one transaction
	// maxPerChannel bounds concurrent attempts by one channel: one that hangs must not delay
	// others.
	maxPerChannel = 2
	minBackoff    = 5 * time.Second
	maxBackoff    = 15 * time.Minute
	maxDetail     = 500 // characters of an error that a delivery records
)

// permanent is an error that another attempt would not fix.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Publish sends a message over MQTT, and returns when the broker has taken it.
type Publish func(ctx context.Context, topic string, payload []byte) error

// Notifier adds notifications to the outbox and delivers them. Notifiers of several instances share
// the work. Its methods are safe for concurrent use.
type Notifier struct {
	cfg      Config
	store    *store.Store
	log      *slog.Logger
	location *time.Location // of times in texts, for routes without a time zone
	webhooks *webhooks
	mailer   mailer
	publish  Publish
	events   chan struct{} // has a token when there may be alarm events
	due      chan struct{} // has a token when there may be deliveries
	attempts *prometheus.CounterVec
}

// New returns a notifier that works while Run runs. With a nil publish deliveries to MQTT channels
// fail.
func New(
	cfg Config, st *store.Store, publish Publish, log *slog.Logger, reg prometheus.Registerer,
) (*Notifier, error) {
	allowed, err := prefixes(cfg.AllowedTargets)
	if err != nil {
		return nil, fmt.Errorf("allowed targets: %w", err)
	}
	location, err := time.LoadLocation(cfg.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("time zone: %w", err)
	}
	n := &Notifier{
		cfg:      cfg,
		location: location,
		store:    st,
		log:      log,
		publish:  publish,
		events:   make(chan struct{}, 1),
		due:      make(chan struct{}, 1),
		webhooks: newWebhooks(guard{allowed}, cfg.Timeout),
		mailer:   mailer{cfg: cfg},
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_notification_attempts_total",
			Help: "Attempts to deliver a notification, by kind of channel and result: " +
				"delivered, failed (for good) or retried.",
		}, []string{"channel", "result"}),
	}
	reg.MustRegister(n.attempts)
	return n, nil
}

// Wake says that there may be new alarm events. It never blocks. Without it events wait up to
// pollInterval.
func (n *Notifier) Wake() { signal(n.events) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run works until ctx ends. Deliveries under way then are delivered again after their lease.
func (n *Notifier) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { n.enqueueLoop(ctx) })
	slots := make(chan struct{}, n.cfg.Workers)
	for {
		select {
		case <-ctx.Done():
			return nil
		case slots <- struct{}{}:
		}
		now := time.Now()
		d, ok, err := n.claim(ctx, now)
		if ok {
			running.Go(func() {
				defer func() { <-slots }()
				n.logFailure(ctx, n.deliver(ctx, d, now))
			})
			continue
		}
		<-slots
		n.logFailure(ctx, err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pollInterval/4 + rand.N(pollInterval/4)):
		case <-n.due:
		}
	}
}

func (n *Notifier) logFailure(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		n.log.WarnContext(ctx, "notification work failed, retrying", "error", err)
	}
}

// enqueueLoop calls Enqueue until ctx ends.
func (n *Notifier) enqueueLoop(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		n.logFailure(ctx, n.Enqueue(ctx, time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.events:
		}
	}
}

// Enqueue adds to the outbox what follows from new alarm events, and from reminders that are due at
// now.
func (n *Notifier) Enqueue(ctx context.Context, now time.Time) error {
	for more := true; more; {
		var err error
		if more, err = n.enqueueEvents(ctx, now); err != nil {
			return err
		}
	}
	for more := true; more; {
		var err error
		if more, err = n.enqueueReminders(ctx, now); err != nil {
			return err
		}
	}
	return nil
}

// enqueueEvents handles one batch of alarm events and reports whether there may be more.
func (n *Notifier) enqueueEvents(ctx context.Context, now time.Time) (more bool, err error) {
	after, err := n.store.NotificationCursor(ctx)
	if err != nil {
		return false, err
	}
	events, err := n.store.NotificationEvents(ctx, after, batchSize)
	if err != nil || len(events) == 0 {
		return false, err
	}
	routing, err := n.routing(ctx, now)
	if err != nil {
		return false, err
	}
	err = n.store.AddNotifications(ctx, routing.plan(after, events, now))
	if errors.Is(err, store.ErrStale) { // another instance has handled the events
		err = nil
	}
	signal(n.due)
	return len(events) == batchSize, err
}

// enqueueReminders handles one batch of due reminders and reports whether there may be more.
func (n *Notifier) enqueueReminders(ctx context.Context, now time.Time) (more bool, err error) {
	routing, err := n.routing(ctx, now)
	if err != nil {
		return false, err
	}
	due, err := n.store.FireReminders(ctx, now, batchSize,
		func(due []store.Reminder) ([]store.Notification, []store.Reminder) {
			return routing.fire(due, now)
		})
	return due == batchSize, err
}

func (n *Notifier) routing(ctx context.Context, now time.Time) (r routing, err error) {
	if r.routes, err = n.store.Routes(ctx, 0, store.MaxRoutes); err != nil || len(r.routes) == 0 {
		return r, err
	}
	if r.channelKinds, err = n.store.ChannelKinds(ctx); err != nil {
		return r, err
	}
	r.silences, err = n.store.SilencesAt(ctx, now)
	return r, err
}

// lease is how long an attempt may take before the delivery is claimed again.
func (n *Notifier) lease() time.Duration { return 3*n.cfg.Timeout + 10*time.Second }

// claim claims a delivery that is due at now, if there is one.
func (n *Notifier) claim(
	ctx context.Context, now time.Time,
) (d store.Delivery, ok bool, err error) {
	ds, err := n.store.ClaimDeliveries(ctx, now, n.lease(), 1, maxPerChannel)
	if err != nil || len(ds) == 0 {
		return d, false, err
	}
	return ds[0], true, nil
}

// Deliver makes one attempt at a delivery that is due at now, and reports whether there was one.
func (n *Notifier) Deliver(ctx context.Context, now time.Time) (bool, error) {
	d, ok, err := n.claim(ctx, now)
	if !ok {
		return false, err
	}
	return true, n.deliver(ctx, d, now)
}

func (n *Notifier) deliver(ctx context.Context, d store.Delivery, now time.Time) error {
	c, err := n.store.Channel(ctx, d.ChannelID)
	var detail string
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = permanent{errors.New("the channel was deleted")}
	case err != nil:
		return err // the delivery is claimed again after its lease
	case !c.IsActive:
		err = permanent{errors.New("the channel is not in use")}
	default:
		detail, err = n.attempt(ctx, c, d, now)
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // stopping; the delivery is claimed again after its lease
	}
	return n.finish(ctx, c.Kind, d, detail, err, now)
}

// finish records the result of an attempt.
func (n *Notifier) finish(
	ctx context.Context, kind store.ChannelKind, d store.Delivery, detail string, err error,
	now time.Time,
) error {
	result, retryAt := "delivered", time.Time{}
	if err != nil {
		detail, result = plain(err.Error(), maxDetail), "failed"
		var p permanent
		if !errors.As(err, &p) && d.Attempts < n.cfg.MaxAttempts && d.Kind != store.KindTest {
			result, retryAt = "retried", now.Add(backoff(d.Attempts))
		}
	}
	n.attempts.WithLabelValues(string(kind), result).Inc()
	if result == "failed" {
		n.log.WarnContext(ctx, "notification not delivered", "delivery_id", d.ID,
			"channel_id", d.ChannelID, "attempts", d.Attempts, "reason", detail)
	}
	err = n.store.FinishDelivery(ctx, d, err == nil, detail, retryAt)
	if errors.Is(err, store.ErrStale) { // the lease has ended and another attempt has begun
		return nil
	}
	return err
}

// backoff returns how long to wait after so many attempts: twice as long each time, with jitter.
func backoff(attempts int) time.Duration {
	d := min(minBackoff<<min(attempts-1, 10), maxBackoff)
	return d/2 + rand.N(d/2)
}

// attempt sends d by c. A panic becomes an error of this delivery.
func (n *Notifier) attempt(
	ctx context.Context, c store.Channel, d store.Delivery, now time.Time,
) (detail string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = permanent{fmt.Errorf("the attempt panicked: %v", r)}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	var route *store.Route
	if d.RouteID != nil {
		r, err := n.store.Route(ctx, *d.RouteID)
		switch {
		case err == nil:
			route = &r
		case !errors.Is(err, store.ErrNotFound):
			return "", err
		}
	}
	m := newMessage(d, route, n.zone(route))
	switch c.Kind {
	case store.Webhook:
		b, err := m.json()
		if err != nil {
			return "", permanent{err}
		}
		return n.webhooks.send(ctx, c, d.Key, b, now)
	case store.Email:
		return n.mailer.send(ctx, c, m)
	case store.MQTT:
		return n.sendMQTT(ctx, m)
	}
	return "", permanent{fmt.Errorf("the channel has the unknown kind %q", c.Kind)}
}
