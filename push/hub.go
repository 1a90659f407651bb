// Package push sends committed readings, gateway statuses and alarm events to WebSocket clients. A
// Hub keeps the connections of this instance; package relay passes updates between instances.
//
// A commit never waits for a client: each connection has a bounded outbox, in which readings
// conflate when the client is slow, and from which alarm events are fetched again when it resumes.
// server hands over the connections, internal/app the committed updates.
package push

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/oei-ms/oei-ms/internal/origin"
)

const (
	deadlineInterval = 500 * time.Millisecond // between checks of deadlines and pings
	// maxQueries bounds concurrent queries for clients: many that reconnect at once must not take
	// all connections to the database.
	maxQueries = 4
)

// Errors of the functions of Auth, wrapped or not. Any other error means that the answer is
// unknown.
var (
	ErrNotAuthenticated = errors.New("not authenticated")
	ErrForbidden        = errors.New("forbidden")
	ErrUnknownTopic     = errors.New("unknown topic")
	ErrOverLimit        = errors.New("over a limit")
)

// Identity is the user and login session of a connection, or its API key, until Expires.
type Identity struct {
	UserID    int64 // 0 for an API key
	APIKeyID  int64 // 0 for a user
	SessionID string
	Expires   time.Time // zero: never
}

// owner is the user or API key of a connection.
type owner struct{ userID, apiKeyID int64 }

func (id Identity) owner() owner { return owner{id.UserID, id.APIKeyID} }

func (id Identity) hasExpired(now time.Time) bool {
	return !id.Expires.IsZero() && !now.Before(id.Expires)
}

// Auth decides who clients are and what they may subscribe to. Its functions are called
// concurrently.
type Auth struct {
	// Authenticate returns the identity of a token or API key from addr. ErrNotAuthenticated closes
	// the connection with 4401 (or leaves an authenticated one unchanged), ErrForbidden with 4403,
	// ErrOverLimit and any other error with 1013.
	Authenticate func(ctx context.Context, addr, token string) (Identity, error)
	// Allow returns one verdict for each topic, in order: nil, ErrUnknownTopic or ErrForbidden. A
	// nil slice allows all. Any other error closes the connection with 1013.
	Allow func(ctx context.Context, id Identity, topics []string) []error
	// Check returns ErrNotAuthenticated when the session has ended or its user may no longer
	// subscribe. After any other error the connections stay until the next check, at most until
	// their tokens expire.
	Check func(ctx context.Context, id Identity) error
}

// Deps are what a hub needs from other packages.
type Deps struct {
	Auth Auth
	// Alarms is what alarm topics carry. Without it there are no alarm topics.
	Alarms *AlarmSource
	// Latest returns the latest reading of each sensor of the topics, at most limit, in any order;
	// a sensor of several topics may be returned several times. Without it there are no snapshots
	// of readings.
	Latest func(ctx context.Context, topics []Topic, limit int) ([]Reading, error)
}

// Hub keeps the live connections of this process and their subscriptions.
type Hub struct {
	deps      Deps
	cfg       Config
	log       *slog.Logger
	metrics   metrics
	upgrader  websocket.Upgrader
	startedAt time.Time

	ctx     context.Context // of queries for clients; ends with Run
	cancel  context.CancelFunc
	running sync.WaitGroup // connections

	handshakes *rate.Limiter
	querySlots chan struct{} // has a token for each query under way
	alarms     *alarmLog

	mu            sync.RWMutex
	stopped       bool
	lastNumber    uint64
	conns         map[*conn]struct{}
	perOwner      map[owner]int  // connections
	perAddress    map[string]int // connections
	subscriptions subscriptions
	// typeSubscriptions counts subscriptions to SensorTypes: usually there are none to look up.
	typeSubscriptions int
}

// New returns a hub that serves while Run runs. With a nil registerer its metrics are not exported.
func New(cfg Config, deps Deps, log *slog.Logger, reg prometheus.Registerer) *Hub {
	h := &Hub{
		deps:          deps,
		cfg:           cfg,
		log:           log,
		metrics:       newMetrics(reg),
		startedAt:     time.Now(),
		conns:         make(map[*conn]struct{}),
		perOwner:      make(map[owner]int),
		perAddress:    make(map[string]int),
		subscriptions: make(subscriptions),
		handshakes:    rate.NewLimiter(rate.Limit(cfg.HandshakesPerSecond), cfg.HandshakeBurst),
		querySlots:    make(chan struct{}, maxQueries),
	}
	h.alarms = newAlarmLog(h, deps.Alarms)
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.upgrader = websocket.Upgrader{
		HandshakeTimeout: authTimeout,
		ReadBufferSize:   1 << 10,
		WriteBufferSize:  1 << 10,
		WriteBufferPool:  new(sync.Pool),
		CheckOrigin: func(r *http.Request) bool {
			return origin.Allowed(r, cfg.AllowedOrigins)
		},
	}
	return h
}

// Run checks deadlines and sessions and reads the alarm log until ctx ends. Then it closes all
// connections with 1001, waits for their goroutines and returns nil. A hub runs once.
func (h *Hub) Run(ctx context.Context) error {
	var loops errgroup.Group
	loops.Go(func() error { return h.checkDeadlinesLoop(ctx) })
	loops.Go(func() error { return h.checkSessionsLoop(ctx) })
	loops.Go(func() error { return h.alarms.follow(ctx) })
	_ = loops.Wait() // the loops return nil when ctx ends

	h.mu.Lock()
	h.stopped = true
	h.mu.Unlock()
	for _, c := range h.connections() {
		c.end(CloseGoingAway, "the server is stopping")
	}
	h.cancel()
	h.running.Wait()
	return nil
}

func (h *Hub) checkDeadlinesLoop(ctx context.Context) error {
	tick := time.NewTicker(deadlineInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			for _, c := range h.connections() {
				c.checkDeadlines(now)
			}
		}
	}
}

// Serve makes r a live connection, which the hub owns from then on. When r does not become a
// WebSocket Serve returns a HandshakeError, and the caller writes the answer.
//
// id is who the handshake authenticated, nil when the client has to send an auth frame. The
// connection is subscribed to topics from the start: with an id the caller has allowed them,
// without one Allow is called after the auth frame.
func (h *Hub) Serve(w http.ResponseWriter, r *http.Request, id *Identity, topics []string) error {
	ws, err := h.upgrade(w, r)
	if refused, ok := errors.AsType[*HandshakeError](err); ok {
		return refused
	}
	if err != nil {
		return nil // the connection broke while it was taken from the HTTP server
	}
	addr, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		addr = r.RemoteAddr
	}
	c, code, reason := h.admit(ws, addr, topics)
	if c == nil {
		h.reject(ws, code, reason)
		return nil
	}
	go c.run(id)
	return nil
}

// admit adds a connection, whose end must be reported to h.running. It returns nil and the close
// code when a limit is reached.
func (h *Hub) admit(
	ws *websocket.Conn, addr string, topics []string,
) (c *conn, code int, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.stopped:
		return nil, CloseGoingAway, "the server is stopping"
	case len(h.conns) >= h.cfg.MaxConnections:
		return nil, CloseOverLimit, "too many connections"
	case h.perAddress[addr] >= h.cfg.MaxConnectionsPerAddress:
		return nil, CloseOverLimit, "too many connections from this address"
	}
	h.lastNumber++
	c = newConn(h, ws, h.lastNumber, addr, topics)
	h.conns[c] = struct{}{}
	h.perAddress[addr]++
	h.running.Add(1)
	h.metrics.connections.Inc()
	return c, 0, ""
}

// reject closes ws, and waits up to closeTimeout for the client to read the reason.
func (h *Hub) reject(ws *websocket.Conn, code int, reason string) {
	h.metrics.countClose(code)
	deadline := time.Now().Add(closeTimeout)
	_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason),
		deadline)
	_ = ws.SetReadDeadline(deadline)
	for {
		if _, _, err := ws.NextReader(); err != nil {
			ws.Close()
			return
		}
	}
}

// setIdentity makes c a connection of id's user, and reports whether the user may have one more.
func (h *Hub) setIdentity(c *conn, id *Identity) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, open := h.conns[c]; !open {
		return true
	}
	if h.perOwner[id.owner()] >= h.cfg.MaxConnectionsPerUser {
		return false
	}
	h.perOwner[id.owner()]++
	c.identity.Store(id)
	return true
}

// remove removes c, which has ended, and its subscriptions.
func (h *Hub) remove(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
	decrement(h.perAddress, c.addr)
	if id := c.identity.Load(); id != nil {
		decrement(h.perOwner, id.owner())
	}
	for t := range c.topics {
		h.removeSubscription(t, c)
	}
	h.subscriptions.remove(Topic{Kind: anyAlarms}, c)
	c.topics = nil
	h.metrics.connections.Dec()
	h.metrics.countClose(c.code)
}

func decrement[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] == 0 {
		delete(counts, key)
	}
}

// subscribe subscribes c to topics, readings at interval. It returns the topics that c has now and
// those that are over the limit.
func (h *Hub) subscribe(
	c *conn, topics []Topic, interval time.Duration,
) (subscribed, overLimit []Topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, open := h.conns[c]; !open {
		return nil, nil
	}
	if c.topics == nil {
		c.topics = make(map[Topic]struct{}, len(topics))
	}
	for _, t := range topics {
		_, had := c.topics[t]
		if !had && len(c.topics) >= h.cfg.MaxTopics {
			overLimit = append(overLimit, t)
			continue
		}
		if !had {
			c.topics[t] = struct{}{}
			if t.Kind == SensorTypes {
				h.typeSubscriptions++
			}
		}
		h.subscriptions.add(t, c, interval)
		if t.Kind == Alarms {
			h.subscriptions.add(Topic{Kind: anyAlarms}, c, 0)
		}
		subscribed = append(subscribed, t)
	}
	return subscribed, overLimit
}

// unsubscribe returns the mask of the severities of alarms that c is still subscribed to.
func (h *Hub) unsubscribe(c *conn, topics []Topic) (severities uint8) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range topics {
		if _, had := c.topics[t]; had {
			delete(c.topics, t)
			h.removeSubscription(t, c)
		}
	}
	if severities = c.severities(); severities == 0 {
		h.subscriptions.remove(Topic{Kind: anyAlarms}, c)
	}
	return severities
}

func (h *Hub) removeSubscription(t Topic, c *conn) {
	h.subscriptions.remove(t, c)
	if t.Kind == SensorTypes {
		h.typeSubscriptions--
	}
}

// EndSession closes the session's connections with 4401.
func (h *Hub) EndSession(sessionID string) {
	h.endWhere(func(id Identity) bool { return id.SessionID == sessionID })
}

// endWhere closes the connections of sessions that have ended.
func (h *Hub) endWhere(match func(Identity) bool) {
	for _, c := range h.connections() {
		if id := c.identity.Load(); id != nil && match(*id) {
			c.end(CloseNotAuthenticated, "the session has ended")
		}
	}
}

// connections returns the open connections.
func (h *Hub) connections() []*conn {
	h.mu.RLock()
	defer h.mu.RUnlock()
	cs := make([]*conn, 0, len(h.conns))
	for c := range h.conns {
		cs = append(cs, c)
	}
	return cs
}

// acquireQuery waits for a free slot for a query.
func (h *Hub) acquireQuery(ctx context.Context) (release func(), err error) {
	select {
	case h.querySlots <- struct{}{}:
		return func() { <-h.querySlots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
