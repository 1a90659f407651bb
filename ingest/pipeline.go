package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/oei-ms/oei-ms/store"
)

// ErrStopped means that the pipeline takes no more messages.
var ErrStopped = errors.New("ingest has stopped")

// Message is a publish as it was received.
type Message struct {
	Topic   string
	Payload []byte // must not be changed any more
	// GatewayID is the authenticated publisher, and Gateway its key at the login, which may be
	// another gateway's by now. They are 0 and "" with an external broker, which has checked that
	// the topic is the publisher's own.
	GatewayID int64
	Gateway   string
	Link      Link
	Received  time.Time
	// Done is called once, after the COMMIT that stored or recorded all of the message. It must not
	// block. It is not called for a message whose outcome is unknown, such as one in flight when
	// the pipeline stopped: that must not be acknowledged.
	Done     func(Receipt)
	Itemized bool // the receipt lists the rejected samples

	// how long after Received it may be stored; later it is rejected; 0: no limit
	Expiry      time.Duration
	ContentType string // of MQTT v5; "" stands for JSON
	Text        bool   // its payload format indicator says UTF-8

	Will     bool // a will: its payload was written when the gateway connected
	Retained bool // retained by an external broker for an unknown time

	// Rejection is why the broker has rejected it, which is only to be recorded; "": it has not.
	Rejection string
	Detail    string // of Rejection
}

// Link relates a message to a connection to the embedded broker.
type Link = store.Link

// The links.
const (
	Linked   = store.Linked   // received on a connection
	LinkUp   = store.LinkUp   // says that a connection has begun
	LinkDown = store.LinkDown // says that a connection has ended
)

// Committed is the result of a transaction.
type Committed struct {
	Readings []store.Reading // new ones only
	Presence []store.Presence

	// a hint that there are new alarm events; an attempt whose result was unknown does not set it
	AlarmsChanged bool
}

// Pipeline turns messages into commits. It is safe for concurrent use.
type Pipeline struct {
	cfg      Config
	store    *store.Store
	log      *slog.Logger
	notify   func(Committed) // after the commit; must not block
	catalog  *catalog
	presence *presence
	metrics  *metrics
	window   *window
	lanes    []*lane // one for each committer
	seed     maphash.Seed
	stored   atomic.Int64 // readings so far
	// between two attempts to write a message that fails for an unexplained reason
	maxBackoff time.Duration
	stopped    chan struct{} // closed when no more messages are taken
	ended      chan struct{} // closed when no more transactions are committed
}

// New makes a pipeline that commits while Run runs. It calls notify after every commit, which must
// not block.
func New(
	cfg Config, s *store.Store, notify func(Committed), log *slog.Logger, reg prometheus.Registerer,
) *Pipeline {
	p := &Pipeline{
		cfg:        cfg,
		store:      s,
		log:        log,
		notify:     notify,
		catalog:    newCatalog(s),
		presence:   newPresence(),
		metrics:    newMetrics(reg),
		window:     newWindow(cfg.MaxBytes),
		lanes:      make([]*lane, cfg.Committers),
		seed:       maphash.MakeSeed(),
		maxBackoff: maxBackoff,
		stopped:    make(chan struct{}),
		ended:      make(chan struct{}),
	}
	for i := range p.lanes {
		p.lanes[i] = &lane{
			pipeline: p,
			entries:  make(chan *entry, 1024),
			pacing:   pacing{target: p.cfg.TargetLatency},
		}
	}
	return p
}

// Run commits until ctx ends. Then it commits what has been submitted, for at most grace.
func (p *Pipeline) Run(ctx context.Context, grace time.Duration) error {
	defer close(p.ended)
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		close(p.stopped)
		time.AfterFunc(grace, cancel)
	})
	defer stop()
	var g errgroup.Group
	for _, l := range p.lanes {
		g.Go(func() error { l.run(work); return nil })
	}
	g.Go(func() error { return p.store.ListenCatalog(ctx, p.catalog.invalidate) })
	g.Go(func() error { p.flushPresence(ctx, work); return nil })
	return g.Wait()
}

// Lag returns the age of the oldest message in the in-flight window, or 0.
func (p *Pipeline) Lag(now time.Time) time.Duration {
	var lag time.Duration
	for _, l := range p.lanes {
		if at := l.oldest.Load(); at != 0 {
			lag = max(lag, now.Sub(time.Unix(0, at)))
		}
	}
	return lag
}

// Check returns an error when a message has waited for longer than a transaction may take.
func (p *Pipeline) Check(context.Context) (detail string, err error) {
	if lag := p.Lag(time.Now()); lag > attemptTimeout {
		err = fmt.Errorf("the oldest message has waited %v to be stored", lag.Round(time.Second))
		return err.Error(), err
	}
	return "messages are stored in time", nil
}

func (p *Pipeline) isStopped() bool {
	select {
	case <-p.stopped:
		return true
	default:
		return false
	}
}

// Submit takes m and returns before it is committed; m.Done gets the outcome. It waits while the
// in-flight window is full, and so slows the publisher down. An error means that m was not taken.
func (p *Pipeline) Submit(ctx context.Context, m Message) error {
	e := newEntry(m, p.cfg)
	return p.enqueue(ctx, e, maphash.String(p.seed, cmp.Or(m.Gateway, e.topic.Gateway)))
}

// Write stores the readings of a bulk write, and returns one result for each, in order, after the
// commit. Their sensors may belong to any gateways; a zero Timestamp means now. An error means that
// it is unknown whether they were stored.
func (p *Pipeline) Write(ctx context.Context, rs []store.Reading) ([]store.ReadingResult, error) {
	if len(rs) == 0 {
		return []store.ReadingResult{}, nil
	}
	ids := make([]int64, len(rs))
	for i := range rs {
		ids[i] = rs[i].SensorID
	}
	infos, err := p.store.SensorInfosByID(ctx, ids)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	e := &entry{
		size:    cost(0, len(rs)),
		byHTTP:  true,
		caller:  ctx,
		samples: make([]sample, len(rs)),
	}
	e.message = Message{Received: time.Now(), Done: func(Receipt) { close(done) }}
	for i, r := range rs {
		var info *store.SensorInfo
		if p, ok := infos[r.SensorID]; ok {
			info = &p
		}
		e.samples[i] = newSample(r, info)
	}
	if err := p.enqueue(ctx, e, uint64(rs[0].SensorID)); err != nil {
		return nil, fmt.Errorf("write: %w: %w", store.ErrUnavailable, err)
	}
	select {
	case <-done:
		return e.results(), nil
	case <-p.ended:
		return nil, fmt.Errorf("write: %w: %w", store.ErrUnavailable, ErrStopped)
	case <-ctx.Done():
		return nil, fmt.Errorf("write: %w: %w", store.ErrUnavailable, ctx.Err())
	}
}

func (p *Pipeline) enqueue(ctx context.Context, e *entry, publisher uint64) error {
	e.sequence = publisher
	if err := p.window.acquire(ctx, e); err != nil {
		return err
	}
	if p.isStopped() { // because select picks any of the ready cases
		p.window.release(e)
		return ErrStopped
	}
	select {
	case p.lanes[publisher%uint64(len(p.lanes))].entries <- e:
		return nil
	case <-ctx.Done():
		p.window.release(e)
		return ctx.Err()
	case <-p.stopped:
		p.window.release(e)
		return ErrStopped
	}
}
