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

// ErrStopped means that the pipeline no longer takes anything.
var ErrStopped = errors.New("ingest has stopped")

// Message is one publish as it arrived.
type Message struct {
	Topic   string
	Payload []byte // not changed by anybody from here on
	// GatewayID is the authenticated publisher, and Gateway its key when it logged in, which may be
	// another gateway's by now. They are 0 and "" when an external broker vouches for the message.
	GatewayID int64
	Gateway   string
	Link      Link
	Received  time.Time
	// Done is called once, after the COMMIT that stored or recorded all of the message. It must not
	// block. A message whose fate is not known, such as one that was on its way when the pipeline
	// stopped, is never done: it was not acknowledged.
	Done     func(Receipt)
	Itemized bool // Done wants to know which samples were refused

	// after Received, if its turn has not come by then, it is refused; 0: it keeps
	Expiry      time.Duration
	ContentType string // as MQTT v5 has it; "": JSON
	Text        bool   // its payload format indicator says that it is UTF-8

	Will     bool // written when its publisher connected, published when that was gone
	Retained bool // kept by an external broker since an unknown time

	// not empty: the broker does not take it for this reason, and it is only to be recorded
	Refused string
	Detail  string // of Refused
}

// Link is what a message has to do with a connection to the broker in this process.
type Link = store.Link

// The links.
const (
	Linked   = store.Linked   // it came by one
	LinkUp   = store.LinkUp   // it says that one has begun
	LinkDown = store.LinkDown // it says that one has ended
)

// Committed is what a transaction brought.
type Committed struct {
	Readings []store.Reading // those that are new
	Presence []store.Presence

	// a hint that there are new alarm events; an attempt whose result was unknown does not set it
	AlarmsChanged bool
}

// Pipeline turns messages into commits. It is safe for concurrent use.
type Pipeline struct {
	cfg     Config
	store   *store.Store
	log     *slog.Logger
	notify  func(Committed) // after the commit; must not block
	catalog *catalog
	seen    *presence
	metrics *metrics
	room    *room
	lanes   []*lane // one for each committer
	seed    maphash.Seed
	stored  atomic.Int64 // readings so far
	// between two attempts to write a message that fails for an unexplained reason
	maxBackoff time.Duration
	stopped    chan struct{} // closed when nothing more is taken
	ended      chan struct{} // closed when nothing more is committed
}

// New makes a pipeline that works while Run does. notify is told of every commit; it must not
// block.
func New(
	cfg Config, s *store.Store, notify func(Committed), log *slog.Logger, reg prometheus.Registerer,
) *Pipeline {
	p := &Pipeline{
		cfg:        cfg,
		store:      s,
		log:        log,
		notify:     notify,
		catalog:    newCatalog(s),
		seen:       newPresence(),
		metrics:    newMetrics(reg),
		room:       newRoom(cfg.MaxBytes),
		lanes:      make([]*lane, cfg.Committers),
		seed:       maphash.MakeSeed(),
		maxBackoff: maxBackoff,
		stopped:    make(chan struct{}),
		ended:      make(chan struct{}),
	}
	for i := range p.lanes {
		p.lanes[i] = &lane{pipeline: p, jobs: make(chan *job, 1024)}
	}
	return p
}

// Run commits until ctx ends. What has been submitted by then is committed first, for at most
// grace.
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
	g.Go(func() error { return p.store.ListenCatalog(ctx, p.catalog.forget) })
	g.Go(func() error { p.flushSeen(ctx, work); return nil })
	return g.Wait()
}

// Lag is how long the oldest message that is taken in and not committed has waited at now; 0 when
// there is none.
func (p *Pipeline) Lag(now time.Time) time.Duration {
	var lag time.Duration
	for _, l := range p.lanes {
		if at := l.oldest.Load(); at != 0 {
			lag = max(lag, now.Sub(time.Unix(0, at)))
		}
	}
	return lag
}

// Check is an error when a message waits for longer than a transaction may take.
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

// Submit takes m in and returns; m.Done tells the rest. It waits while there is too much to commit,
// and so slows the publisher down. An error means that m was not taken.
func (p *Pipeline) Submit(ctx context.Context, m Message) error {
	j := newJob(m, p.cfg)
	return p.enqueue(ctx, j, maphash.String(p.seed, cmp.Or(m.Gateway, j.topic.Gateway)))
}

// Write stores readings that came by HTTP, and returns one result for each, in order, after the
// commit. Their sensors may be of any gateways; a zero Timestamp means now. An error means that it
// is not known whether they were stored.
func (p *Pipeline) Write(ctx context.Context, rs []store.Reading) ([]store.ReadingResult, error) {
	if len(rs) == 0 {
		return []store.ReadingResult{}, nil
	}
	ids := make([]int64, len(rs))
	for i := range rs {
		ids[i] = rs[i].SensorID
	}
	points, err := p.store.SensorInfosByID(ctx, ids)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	j := &job{
		size:    cost(0, len(rs)),
		byHTTP:  true,
		caller:  ctx,
		samples: make([]sample, len(rs)),
	}
	j.message = Message{Received: time.Now(), Done: func(Receipt) { close(done) }}
	for i, r := range rs {
		var point *store.SensorInfo
		if p, ok := points[r.SensorID]; ok {
			point = &p
		}
		j.samples[i] = newSample(r, point)
	}
	if err := p.enqueue(ctx, j, uint64(rs[0].SensorID)); err != nil {
		return nil, fmt.Errorf("write: %w: %w", store.ErrUnavailable, err)
	}
	select {
	case <-done:
		return j.results(), nil
	case <-p.ended:
		return nil, fmt.Errorf("write: %w: %w", store.ErrUnavailable, ErrStopped)
	case <-ctx.Done():
		return nil, fmt.Errorf("write: %w: %w", store.ErrUnavailable, ctx.Err())
	}
}

func (p *Pipeline) enqueue(ctx context.Context, j *job, publisher uint64) error {
	j.sequence = publisher
	if err := p.room.acquire(ctx, j); err != nil {
		return err
	}
	if p.isStopped() { // below, either could be chosen
		p.room.release(j)
		return ErrStopped
	}
	select {
	case p.lanes[publisher%uint64(len(p.lanes))].jobs <- j:
		return nil
	case <-ctx.Done():
		p.room.release(j)
		return ctx.Err()
	case <-p.stopped:
		p.room.release(j)
		return ErrStopped
	}
}
