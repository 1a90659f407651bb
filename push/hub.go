// Package push takes committed changes to the clients that listen on live connections.
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
	"golang.org/x/time/rate"

	"github.com/oei-ms/oei-ms/internal/origin"
)

// What the functions of Auth refuse with, wrapped or not. Any other error means that they could not
// find out.
var (
	ErrNotAuthenticated = errors.New("not authenticated")
	ErrForbidden        = errors.New("forbidden")
	ErrUnknownTopic     = errors.New("unknown topic")
)

// Why a request does not become a WebSocket.
var (
	errHandshakes   = errors.New("too many handshakes just now")
	errNoHandshake  = errors.New("this address is for WebSocket clients, as ws:// or wss://: the request asks for no upgrade to a WebSocket of version 13")
	errBadHandshake = errors.New(
		"the WebSocket handshake is not valid: Sec-WebSocket-Key has to be 16 bytes in Base64",
	)
	errOrigin = errors.New(
		"pages of this Origin may not connect; OEI_PUSH_ALLOWED_ORIGINS names those that may",
	)
)

// Identity is who stands behind a connection, until Expires.
type Identity struct {
	UserID    int64
	SessionID string
	Expires   time.Time
}

// Auth is asked who clients are and what they may listen to. Its functions are called by many
// goroutines at once.
type Auth struct {
	// Authenticate returns whose token it is: ErrNotAuthenticated closes the connection with 4401
	// (or leaves an authenticated one as it is), ErrForbidden with 4403, any other error with 1013.
	Authenticate func(ctx context.Context, token string) (Identity, error)
	// Allow returns one verdict for each topic, in order: nil, ErrUnknownTopic or ErrForbidden. A
	// nil slice allows all. Any other error closes the connection with 1013.
	Allow func(ctx context.Context, id Identity, topics []string) []error
	// Check returns ErrNotAuthenticated when the session has ended or its user may not listen any
	// more. On any other error the connections stay until the next sweep, and at most until their
	// tokens expire.
	Check func(ctx context.Context, id Identity) error
}

// Deps are what a hub needs from other packages.
type Deps struct {
	Auth Auth
	// AlarmLog is what alarm topics carry. Without it there are no alarm topics.
	AlarmLog *AlarmLog
	// Latest returns the latest reading of each sensor of the topics, at most limit, in any order;
	// a sensor of several topics may be returned several times. Without it there are no snapshots
	// of readings.
	Latest func(ctx context.Context, topics []Topic, limit int) ([]Reading, error)
}

// HandshakeError says why a request does not become a WebSocket, and with which status to answer.
type HandshakeError struct {
	Status int
	Reason error
}

func (e *HandshakeError) Error() string { return e.Reason.Error() }
func (e *HandshakeError) Unwrap() error { return e.Reason }

// Hub knows every live connection of this process and what it listens to.
type Hub struct {
	deps     Deps
	cfg      Config
	log      *slog.Logger
	metrics  metrics
	upgrader websocket.Upgrader
	began    time.Time

	ctx    context.Context // of what readers ask; ends with Run
	cancel context.CancelFunc
	pumps  sync.WaitGroup

	handshakes *rate.Limiter
	asking     chan struct{} // has a token for each question to the database under way
	tail       tail

	mu      sync.RWMutex
	stopped bool
	serial  uint64
	conns   map[*conn]struct{}
	users   map[int64]int  // connections of each
	addrs   map[string]int // connections from each
	topics  index
	types   int // of topics, those of SensorTypes, with as many listeners as they have
}

// New returns a hub that serves while Run runs. With a nil registerer its metrics are not exported.
func New(cfg Config, deps Deps, log *slog.Logger, reg prometheus.Registerer) *Hub {
	h := &Hub{
		deps:       deps,
		cfg:        cfg,
		log:        log,
		metrics:    newMetrics(reg),
		began:      time.Now(),
		conns:      make(map[*conn]struct{}),
		users:      make(map[int64]int),
		addrs:      make(map[string]int),
		topics:     make(index),
		handshakes: rate.NewLimiter(rate.Limit(cfg.HandshakesPerSecond), cfg.HandshakeBurst),
		asking:     make(chan struct{}, askers),
		tail:       newTail(),
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.upgrader = websocket.Upgrader{
		HandshakeTimeout: authWithin,
		ReadBufferSize:   1 << 10,
		WriteBufferSize:  1 << 10,
		WriteBufferPool:  new(sync.Pool),
		CheckOrigin:      func(r *http.Request) bool { return origin.Allowed(r, cfg.AllowedOrigins) },
	}
	return h
}

// upgrade makes r a WebSocket. When r must be answered with an error, upgrade sets the headers of
// that answer and returns a HandshakeError.
func (h *Hub) upgrade(w http.ResponseWriter, r *http.Request) (*websocket.Conn, error) {
	var refused *HandshakeError
	upgrader := h.upgrader
	upgrader.Error = func(_ http.ResponseWriter, _ *http.Request, status int, reason error) {
		refused = &HandshakeError{Status: status, Reason: reason}
	}
	switch {
	case !isHandshake(r):
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		return nil, &HandshakeError{Status: http.StatusUpgradeRequired, Reason: errNoHandshake}
	case !h.handshakes.Allow():
		w.Header().Set("Retry-After", "1")
		return nil, &HandshakeError{Status: http.StatusTooManyRequests, Reason: errHandshakes}
	}
	ws, err := upgrader.Upgrade(hijacker{w}, r, nil)
	if refused == nil {
		return ws, err
	}
	switch refused.Status {
	case http.StatusForbidden:
		refused.Reason = errOrigin
	case http.StatusBadRequest:
		refused.Reason = errBadHandshake
	}
	return nil, refused
}

// isHandshake reports whether r asks for a WebSocket of the one version there is.
func isHandshake(r *http.Request) bool {
	return websocket.IsWebSocketUpgrade(r) && r.Header.Get("Sec-WebSocket-Version") == "13"
}

// Serve makes r a live connection, which the hub owns from then on. When r does not become a
// WebSocket Serve returns a HandshakeError, and the caller writes the answer.
//
// id is who the handshake authenticated, nil when the client has to send an auth frame. The
// connection is subscribed to topics from the start: with an id the caller has allowed them, without
// one Allow is called after the auth frame.
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
		h.turnAway(ws, code, reason)
		return nil
	}
	go c.run(id)
	return nil
}

// admit returns a connection, whose end has to be reported to pumps, or why there is no place for
// one.
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
	case h.addrs[addr] >= h.cfg.MaxConnectionsPerAddress:
		return nil, CloseOverLimit, "too many connections from this address"
	}
	h.serial++
	c = newConn(h, ws, h.serial, addr, topics)
	h.conns[c] = struct{}{}
	h.addrs[addr]++
	h.pumps.Add(1)
	h.metrics.connections.Inc()
	return c, 0, ""
}

// turnAway says why, and waits a little for the client to have read it.
func (h *Hub) turnAway(ws *websocket.Conn, code int, reason string) {
	h.metrics.end(code)
	deadline := time.Now().Add(partWithin)
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

// enroll makes c a connection of id's user, unless there are too many of them.
func (h *Hub) enroll(c *conn, id *Identity) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, in := h.conns[c]; !in {
		return true // it has ended meanwhile
	}
	if h.users[id.UserID] >= h.cfg.MaxConnectionsPerUser {
		return false
	}
	h.users[id.UserID]++
	c.identity.Store(id)
	return true
}

// forget takes c, which has ended, out of everything.
func (h *Hub) forget(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
	drop(h.addrs, c.addr)
	if id := c.identity.Load(); id != nil {
		drop(h.users, id.UserID)
	}
	for t := range c.topics {
		h.unlist(t, c)
	}
	h.topics.remove(Topic{Kind: followers}, c)
	c.topics = nil
	h.metrics.connections.Dec()
	h.metrics.end(c.code)
}

func drop[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] == 0 {
		delete(counts, key)
	}
}

// subscribe returns which topics c listens to now, readings at pace, and which were too many.
func (h *Hub) subscribe(c *conn, topics []Topic, pace time.Duration) (taken, over []Topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, in := h.conns[c]; !in {
		return nil, nil
	}
	if c.topics == nil {
		c.topics = make(map[Topic]struct{}, len(topics))
	}
	for _, t := range topics {
		_, had := c.topics[t]
		if !had && len(c.topics) >= h.cfg.MaxTopics {
			over = append(over, t)
			continue
		}
		if !had {
			c.topics[t] = struct{}{}
			if t.Kind == SensorTypes {
				h.types++
			}
		}
		h.topics.add(t, c, pace)
		if t.Kind == Alarms {
			h.topics.add(Topic{Kind: followers}, c, 0)
		}
		taken = append(taken, t)
	}
	return taken, over
}

// unsubscribe returns the severities of alarms that c still listens to.
func (h *Hub) unsubscribe(c *conn, topics []Topic) (mask uint8) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range topics {
		if _, had := c.topics[t]; had {
			delete(c.topics, t)
			h.unlist(t, c)
		}
	}
	if mask = c.severities(); mask == 0 {
		h.topics.remove(Topic{Kind: followers}, c)
	}
	return mask
}

func (h *Hub) unlist(t Topic, c *conn) {
	h.topics.remove(t, c)
	if t.Kind == SensorTypes {
		h.types--
	}
}

// severities are those of its topics of alarms. The caller holds hub.mu.
func (c *conn) severities() (mask uint8) {
	for _, s := range append([]string{""}, severities...) {
		t := Topic{Kind: Alarms, Name: s}
		if _, ok := c.topics[t]; ok {
			mask |= t.severityMask()
		}
	}
	return mask
}

// EndSession closes the session's connections with 4401.
func (h *Hub) EndSession(sessionID string) {
	h.endWhere(func(id Identity) bool { return id.SessionID == sessionID }, "the session has ended")
}

func (h *Hub) endWhere(match func(Identity) bool, reason string) {
	for _, c := range h.all() {
		if id := c.identity.Load(); id != nil && match(*id) {
			c.end(CloseNotAuthenticated, reason)
		}
	}
}

// all returns the connections of this moment.
func (h *Hub) all() []*conn {
	h.mu.RLock()
	defer h.mu.RUnlock()
	cs := make([]*conn, 0, len(h.conns))
	for c := range h.conns {
		cs = append(cs, c)
	}
	return cs
}

// ReadingsMissed tells all connections with topics of readings that readings of other instances may
// be missing.
func (h *Hub) ReadingsMissed() {
	frame := encode(resyncFrame{
		Type:   "resync",
		Scope:  "readings",
		Reason: "readings that other instances stored may be missing",
	})
	for _, c := range h.all() {
		h.mu.RLock()
		listens := c.listensToReadings()
		h.mu.RUnlock()
		if listens && !c.lane.reply(frame) {
			c.end(CloseTryLater, "answers are not being taken")
		}
	}
}

// listensToReadings reports whether one of its topics carries readings or statuses. The caller
// holds hub.mu.
func (c *conn) listensToReadings() bool {
	for t := range c.topics {
		if t.Kind != Alarms {
			return true
		}
	}
	return false
}
