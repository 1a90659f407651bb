// Package notify tells people and programs of alarms: from a committed event by routes into an
// outbox, and out of it by webhook, e-mail and MQTT.
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
	// pollInterval is how long an event waits that nobody has woken us for.
	pollInterval = time.Second
	batchSize    = 500 // events or watches in one transaction
	// attempts by one channel, so that one that hangs does not hold up the others
	mostAtOnce   = 2
	firstPause   = 5 * time.Second
	longestPause = 15 * time.Minute
)

// permanent is an error that another attempt would not mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Publish sends a message over MQTT, and returns when the broker has taken it.
type Publish func(ctx context.Context, topic string, payload []byte) error

// Notifier puts notices into the outbox and sends them. Several, in one process or many, share the
// work. Its methods are safe for concurrent use.
type Notifier struct {
	cfg      Config
	store    *store.Store
	log      *slog.Logger
	location *time.Location // of times in texts, for routes that name none
	webhooks *webhooks
	mailer   mailer
	publish  Publish
	wake     chan struct{} // there are alarm events
	due      chan struct{} // there are deliveries
	attempts *prometheus.CounterVec
}

// New makes a notifier that works while Run does. publish may be nil: then channels of MQTT fail.
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
		wake:     make(chan struct{}, 1),
		due:      make(chan struct{}, 1),
		webhooks: newWebhooks(guard{allowed}, cfg.Timeout), mailer: mailer{cfg: cfg},
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_notify_attempts_total",
			Help: "Attempts to deliver a notice, by kind of channel and result: delivered, failed (for good) or retried.",
		}, []string{"channel", "result"}),
	}
	reg.MustRegister(n.attempts)
	return n, nil
}

// Wake says that there are new alarm events. It never blocks; without it they are seen a second
// later.
func (n *Notifier) Wake() {
	signal(n.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run works until ctx ends. What is being sent then is sent again by the next.
func (n *Notifier) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { n.gather(ctx) })
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
				n.complain(ctx, n.deliver(ctx, d, now))
			})
			continue
		}
		<-slots
		n.complain(ctx, err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pollInterval/4 + rand.N(pollInterval/4)):
		case <-n.due:
		}
	}
}

func (n *Notifier) complain(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		n.log.WarnContext(ctx, "notices cannot be worked on, it is tried again", "error", err)
	}
}

// gather puts what follows from alarm events and from time into the outbox, until ctx ends.
func (n *Notifier) gather(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		n.complain(ctx, n.Gather(ctx, time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.wake:
		}
	}
}

// Gather puts into the outbox what follows from the alarm events that are there and from its being
// now.
func (n *Notifier) Gather(ctx context.Context, now time.Time) error {
	for more := true; more; {
		var err error
		if more, err = n.gatherEvents(ctx, now); err != nil {
			return err
		}
	}
	for more := true; more; {
		var err error
		if more, err = n.gatherWatches(ctx, now); err != nil {
			return err
		}
	}
	return nil
}

// gatherEvents does so for the next alarm events, and reports whether there may be more.
func (n *Notifier) gatherEvents(ctx context.Context, now time.Time) (more bool, err error) {
	after, err := n.store.NoticeCursor(ctx)
	if err != nil {
		return false, err
	}
	events, err := n.store.NoticeEvents(ctx, after, batchSize)
	if err != nil || len(events) == 0 {
		return false, err
	}
	rules, err := n.rules(ctx, now)
	if err != nil {
		return false, err
	}
	err = n.store.AddNotices(ctx, rules.plan(after, events, now))
	if errors.Is(err, store.ErrStale) { // another instance has them
		err = nil
	}
	signal(n.due)
	return len(events) == batchSize, err
}

// gatherWatches does so for alarms that somebody has to be reminded of, and reports whether there
// may be more.
func (n *Notifier) gatherWatches(ctx context.Context, now time.Time) (more bool, err error) {
	rules, err := n.rules(ctx, now)
	if err != nil {
		return false, err
	}
	due, err := n.store.StepWatches(ctx, now, batchSize,
		func(ws []store.Watch) ([]store.Notice, []store.Watch) {
			return rules.remind(ws, now)
		})
	return due == batchSize, err
}

func (n *Notifier) rules(ctx context.Context, now time.Time) (rs rules, err error) {
	if rs.routes, err = n.store.Routes(ctx, 0, store.MostRoutes); err != nil ||
		len(rs.routes) == 0 {
		return rs, err
	}
	if rs.kinds, err = n.store.ChannelKinds(ctx); err != nil {
		return rs, err
	}
	rs.silences, err = n.store.SilencesAt(ctx, now)
	return rs, err
}

// lease is how long an attempt may take before the delivery is taken for lost.
func (n *Notifier) lease() time.Duration { return 3*n.cfg.Timeout + 10*time.Second }

// claim takes a delivery that is due at now, if there is one.
func (n *Notifier) claim(
	ctx context.Context, now time.Time,
) (d store.Delivery, ok bool, err error) {
	ds, err := n.store.ClaimDeliveries(ctx, now, n.lease(), 1, mostAtOnce)
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
		return err // its lease ends
	case !c.IsActive:
		err = permanent{errors.New("the channel is not in use")}
	default:
		detail, err = n.attempt(ctx, c, d, now)
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // we stop; whoever comes next tries it again
	}
	return n.settle(ctx, c.Kind, d, detail, err, now)
}

// settle records what became of an attempt.
func (n *Notifier) settle(
	ctx context.Context, kind store.ChannelKind, d store.Delivery, detail string, err error,
	now time.Time,
) error {
	result, again := "delivered", time.Time{}
	if err != nil {
		detail, result = plain(err.Error(), 500), "failed"
		var p permanent
		if !errors.As(err, &p) && d.Attempts < n.cfg.MaxAttempts && d.Kind != store.KindTrial {
			result, again = "retried", now.Add(pause(d.Attempts))
		}
	}
	n.attempts.WithLabelValues(string(kind), result).Inc()
	if result == "failed" {
		n.log.WarnContext(ctx, "a notice was not delivered", "delivery_id", d.ID, "channel_id",
			d.ChannelID, "attempts", d.Attempts, "reason", detail)
	}
	err = n.store.FinishDelivery(ctx, d, err == nil, detail, again)
	if errors.Is(err, store.ErrStale) { // it took so long that another has it
		return nil
	}
	return err
}

// pause is how long to wait after so many attempts: twice as long each time, and a different time
// for each delivery.
func pause(attempts int) time.Duration {
	longest := min(firstPause<<min(attempts-1, 10), longestPause)
	return longest/2 + rand.N(longest/2)
}

// attempt sends d by c. A panic is an error of this delivery only.
func (n *Notifier) attempt(
	ctx context.Context, c store.Channel, d store.Delivery, now time.Time,
) (detail string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = permanent{fmt.Errorf("it broke: %v", r)}
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
		return n.overMQTT(ctx, m)
	}
	return "", permanent{fmt.Errorf("the kind %q is not known", c.Kind)}
}
