package push

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

	"github.com/oei-ms/oei-ms/internal/bufconn"
)

const (
	authTimeout       = 5 * time.Second  // for the auth frame
	maxAuthFrame      = 4 << 10          // bytes of a message before authentication
	pingInterval      = 6 * time.Second  // between WebSocket pings
	silenceTimeout    = 12 * time.Second // without any sign of life of the client
	pingFrameInterval = 30 * time.Second // between ping frames, which a script in a browser can see
	closeTimeout      = 2 * time.Second  // from the close frame to the end of the connection
	maxOverRate       = 20               // consecutive frames over the rate limit
)

// conn is the connection of one client. One goroutine reads and, while there is something to send,
// one writes. Any goroutine may add to its outbox or end it.
type conn struct {
	hub     *Hub
	ws      *websocket.Conn
	netConn *bufconn.Conn
	number  uint64 // ascending in order of admission
	addr    string
	outbox  *outbox
	writers sync.WaitGroup // at most one at a time

	identity      atomic.Pointer[Identity] // nil until authenticated
	batchReadings atomic.Bool              // send readings as sensor_data_batch
	lastSeen      atomic.Int64             // last sign of life, as a duration since hub.startedAt
	writing       atomic.Bool              // a write is under way, which may take long

	topics map[Topic]struct{} // guarded by hub.mu

	// The reader's.
	initialTopics []string
	limiter       *rate.Limiter
	overRate      int // consecutive frames
	badFrames     int

	// The deadlines that checkDeadlines checks.
	authBy, pingAt, pingFrameAt time.Time

	ending     sync.Once
	ended      chan struct{} // closed when code, reason and closeTimer are set
	code       int
	reason     string
	closeTimer *time.Timer
}

func newConn(
	h *Hub, ws *websocket.Conn, number uint64, addr string, initialTopics []string,
) *conn {
	now := time.Now()
	c := &conn{
		hub:           h,
		ws:            ws,
		netConn:       ws.NetConn().(*bufconn.Conn),
		number:        number,
		addr:          addr,
		initialTopics: initialTopics,
		limiter:       rate.NewLimiter(rate.Limit(h.cfg.FramesPerSecond), h.cfg.FrameBurst),
		authBy:        now.Add(authTimeout),
		pingAt:        now.Add(pingInterval),
		pingFrameAt:   now.Add(pingFrameInterval),
		ended:         make(chan struct{}),
	}
	c.outbox = newOutbox(h.cfg.QueueSize, h.cfg.AlarmQueueSize, func() { c.writers.Go(c.write) })
	c.touch()
	ws.SetPongHandler(func(string) error { c.touch(); return nil })
	ws.SetPingHandler(func(payload string) error {
		c.touch()
		if c.allowFrame() {
			c.outbox.sendPong(payload)
		}
		return nil
	})
	ws.SetCloseHandler(func(int, string) error { return nil }) // the writer sends the close frame
	return c
}

// run serves the client until the connection is closed. With an identity the initial topics are
// allowed already; without one an auth frame has to come first.
//
// run itself needs little stack. A goroutine's stack does not shrink while it waits for messages,
// so requests run on stacks of their own.
func (c *conn) run(id *Identity) {
	if id != nil {
		runOnOwnStack(func() { c.accept("", *id, true) })
	}
	for more := true; more; {
		more = c.receive(c.ws.NextReader())
	}
	c.writers.Wait() // no other writer is started any more
	c.closeTimer.Stop()
	c.outbox.stopWindows()
	c.ws.Close()
	c.hub.running.Done()
}

// end sends the client a close frame and closes the connection within closeTimeout. The first
// reason counts. It does not wait for the client. The caller must not hold hub.mu.
func (c *conn) end(code int, reason string) {
	c.ending.Do(func() {
		c.code, c.reason = code, reason
		c.closeTimer = time.AfterFunc(closeTimeout, func() { c.ws.Close() })
		c.hub.remove(c)
		close(c.ended)
		c.outbox.close()
		c.hub.log.DebugContext(c.hub.ctx, "live connection ended", "code", code, "reason", reason,
			"remote", c.addr)
	})
}

func (c *conn) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// touch records a sign of life of the client.
func (c *conn) touch() { c.lastSeen.Store(int64(time.Since(c.hub.startedAt))) }

// receive handles one message of the client and reports whether to read another. After the
// connection has ended, receive reads on and discards: closing a socket with unread bytes could
// cost the client the close frame.
func (c *conn) receive(kind int, r io.Reader, err error) bool {
	if err != nil {
		c.endRead(err)
		return false
	}
	if c.hasEnded() {
		return true
	}
	c.touch()
	if kind != websocket.TextMessage {
		c.end(CloseProtocol, "only text messages are understood")
		return true
	}
	limit := c.hub.cfg.MaxFrameBytes
	if c.identity.Load() == nil {
		limit = min(limit, maxAuthFrame)
	}
	body, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		c.endRead(err)
		return false
	case len(body) > limit:
		c.end(CloseTooBig, "the message is too big")
	case c.allowFrame():
		runOnOwnStack(func() { c.handle(body) })
	}
	return true
}

// runOnOwnStack runs f on the stack of another goroutine, which is freed when f returns.
func runOnOwnStack(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// endRead ends the connection after a read has failed.
func (c *conn) endRead(err error) {
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
		c.end(closed.Code, "closed by the client") // also when the client sent no close frame
		return
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		c.end(websocket.CloseAbnormalClosure, "the connection broke")
		return
	}
	c.end(websocket.CloseProtocolError, "not WebSocket") // the library has told the client
	_, _ = io.Copy(io.Discard, c.netConn)
}

// allowFrame reports whether the rate limit allows a frame of the client now.
func (c *conn) allowFrame() bool {
	if c.limiter.Allow() {
		c.overRate = 0
		return true
	}
	c.overRate++
	c.sendError("", codeRateLimited, "too many frames; this one was not read", nil)
	if c.overRate >= maxOverRate {
		c.end(CloseOverLimit, "too many frames")
	}
	return false
}

// checkDeadlines ends the connection when a deadline has passed, and sends pings that are due. Only
// checkDeadlinesLoop calls it.
func (c *conn) checkDeadlines(now time.Time) {
	id := c.identity.Load()
	switch {
	case id == nil && !now.Before(c.authBy):
		c.end(CloseAuthTimeout, "no auth frame came in time")
		return
	case id != nil && id.hasExpired(now):
		c.end(CloseNotAuthenticated, "the token has expired")
		return
	case !c.writing.Load() && c.silence() >= silenceTimeout:
		c.end(CloseTryLater, "no answer to pings")
		return
	}
	c.outbox.reviewWriter()
	if !now.Before(c.pingAt) {
		c.pingAt = now.Add(pingInterval)
		c.outbox.sendPing()
	}
	if !now.Before(c.pingFrameAt) {
		c.pingFrameAt = now.Add(pingFrameInterval)
		c.send(pingFrame{Type: "ping", Time: formatTime(now)})
		c.outbox.forgetSnapshot(now.Add(-snapshotMemory))
	}
}

// silence returns the time since the client's last sign of life.
func (c *conn) silence() time.Duration {
	return time.Since(c.hub.startedAt) - time.Duration(c.lastSeen.Load())
}

// severities returns the mask of the severities of its alarm topics. The caller holds hub.mu.
func (c *conn) severities() (mask uint8) {
	for _, s := range append([]string{""}, severities...) {
		t := Topic{Kind: Alarms, Name: s}
		if _, ok := c.topics[t]; ok {
			mask |= t.severityMask()
		}
	}
	return mask
}

// hasReadingTopics reports whether one of its topics carries readings or statuses.
func (c *conn) hasReadingTopics() bool {
	c.hub.mu.RLock()
	defer c.hub.mu.RUnlock()
	for t := range c.topics {
		if t.Kind != Alarms {
			return true
		}
	}
	return false
}
