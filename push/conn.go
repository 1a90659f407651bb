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
	authWithin   = 5 * time.Second  // for the auth frame to come
	maxAuthFrame = 4 << 10          // bytes of a message before authentication
	pingEvery    = 6 * time.Second  // WebSocket pings: is the client there
	silentFor    = 12 * time.Second // without a sign of life, then it is not
	beatEvery    = 30 * time.Second // ping frames: what a script in a browser can see
	partWithin   = 2 * time.Second  // from our close frame to the end of the connection
	maxRefusals  = 20               // of frames over the rate, in a row
)

// conn is one client. One goroutine reads and, while there is something to send, one writes;
// anybody may offer updates to its lane, or end it.
type conn struct {
	hub     *Hub
	ws      *websocket.Conn
	wire    *bufconn.Conn
	number  uint64 // the higher, the younger
	addr    string
	lane    *lane
	writers sync.WaitGroup // one at most

	identity atomic.Pointer[Identity] // nil until authenticated
	batch    atomic.Bool              // readings go out as sensor_data_batch
	heard    atomic.Int64             // the last sign of life, in time since the hub began
	writing  atomic.Bool              // to a client that may be slow to take it

	topics map[Topic]struct{} // guarded by hub.mu

	preset    []string // to listen to from the start; this and the next three are the reader's
	limiter   *rate.Limiter
	refusals  int
	badFrames int

	authBy, pingAt, beatAt time.Time // the hub's sweep's

	ending sync.Once
	ended  chan struct{} // closed when code, reason and kill are set
	code   int
	reason string
	kill   *time.Timer
}

func newConn(h *Hub, ws *websocket.Conn, number uint64, addr string, preset []string) *conn {
	now := time.Now()
	c := &conn{
		hub: h, ws: ws, wire: ws.NetConn().(*bufconn.Conn), number: number, addr: addr, preset: preset,
		limiter: rate.NewLimiter(rate.Limit(h.cfg.FramesPerSecond), h.cfg.FrameBurst),
		authBy:  now.Add(authWithin), pingAt: now.Add(pingEvery), beatAt: now.Add(beatEvery),
		ended: make(chan struct{}),
	}
	c.lane = newLane(h.cfg.QueueSize, h.cfg.AlarmQueueSize, func() { c.writers.Go(c.write) })
	c.hear()
	ws.SetPongHandler(func(string) error { c.hear(); return nil })
	ws.SetPingHandler(func(payload string) error {
		c.hear()
		if c.allowed() {
			c.lane.givePong(payload)
		}
		return nil
	})
	ws.SetCloseHandler(func(int, string) error { return nil }) // the writer answers it
	return c
}

// run serves the client until the connection is closed. With an identity the preset topics are
// already allowed; without one an auth frame has to come first.
//
// It waits for messages with little on its stack, which would else be twice as large for as long as
// the client does nothing.
func (c *conn) run(id *Identity) {
	if id != nil {
		apart(func() { c.welcome("", *id, true) })
	}
	for more := true; more; {
		more = c.take(c.ws.NextReader())
	}
	c.writers.Wait() // no other is started any more
	c.kill.Stop()
	c.lane.stop()
	c.ws.Close()
	c.hub.pumps.Done()
}

// end tells the client why and closes the connection within partWithin; the first reason stands. It
// does not wait for the client. The caller must not hold hub.mu.
func (c *conn) end(code int, reason string) {
	c.ending.Do(func() {
		c.code, c.reason = code, reason
		c.kill = time.AfterFunc(partWithin, func() { c.ws.Close() })
		c.hub.forget(c)
		close(c.ended)
		c.lane.close()
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

func (c *conn) hear() { c.heard.Store(int64(time.Since(c.hub.began))) }

// take handles a message of the client and reports whether another may come. After the connection
// has ended it goes on to take, and throw away, what still comes: closing a socket on unread bytes
// could cost the client the close frame.
func (c *conn) take(kind int, r io.Reader, err error) bool {
	if err != nil {
		c.lost(err)
		return false
	}
	if c.hasEnded() {
		return true
	}
	c.hear()
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
		c.lost(err)
		return false
	case len(body) > limit:
		c.end(CloseTooBig, "the message is too big")
	case c.allowed():
		apart(func() { c.handle(body) })
	}
	return true
}

// apart runs f on a stack that ends with it: one that has asked a database once would stay as large
// for as long as the client does.
func apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// lost ends the connection when nothing more can be read of it.
func (c *conn) lost(err error) {
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
		c.end(closed.Code, "closed by the client") // also when it just went away
		return
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		c.end(websocket.CloseAbnormalClosure, "the connection broke")
		return
	}
	c.end(websocket.CloseProtocolError, "not WebSocket") // the library has said so to the client
	_, _ = io.Copy(io.Discard, c.wire)
}

// allowed reports whether the client may send a frame now.
func (c *conn) allowed() bool {
	if c.limiter.Allow() {
		c.refusals = 0
		return true
	}
	c.refusals++
	c.refuse("", codeRateLimited, "too many frames; this one was not read", nil)
	if c.refusals >= maxRefusals {
		c.end(CloseOverLimit, "too many frames")
	}
	return false
}

// tend does what is due by now: the hub's sweep calls it, and nobody else.
func (c *conn) tend(now time.Time) {
	id := c.identity.Load()
	switch {
	case id == nil && !now.Before(c.authBy):
		c.end(CloseAuthTimeout, "no auth frame came in time")
		return
	case id != nil && !now.Before(id.Expires):
		c.end(CloseNotAuthenticated, "the token has expired")
		return
	case !c.writing.Load() && time.Since(c.hub.began)-time.Duration(c.heard.Load()) >= silentFor:
		c.end(CloseTryLater, "no answer to pings")
		return
	}
	c.lane.sweep()
	if !now.Before(c.pingAt) {
		c.pingAt = now.Add(pingEvery)
		c.lane.askPing()
	}
	if !now.Before(c.beatAt) {
		c.beatAt = now.Add(beatEvery)
		c.answer(pingFrame{Type: "ping", Time: formatTime(now)})
		c.lane.forgetTold(now.Add(-toldFor))
	}
}
