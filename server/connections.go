package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const (
	maxConnections = 25_000 // WebSockets included
	// bytes of the head of a request for which net/http has a buffer in any case
	freeHead = 4 << 10
	maxHeads = 32 << 20 // bytes of heads beyond that, of all connections
)

// connections wraps the listener of an http.Server. It bounds the memory for requests that no
// handler has seen yet, and replaces the errors that net/http answers by itself with problems.
type connections struct {
	net.Listener
	log     *slog.Logger
	metrics httpMetrics
	open    atomic.Int64
	heads   atomic.Int64
}

func newConnections(log *slog.Logger, metrics httpMetrics, reg prometheus.Registerer) *connections {
	l := &connections{log: log, metrics: metrics}
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "oei_http_connections", Help: "Open connections, WebSockets included; at most 25000.",
	}, func() float64 { return float64(l.open.Load()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "oei_http_head_bytes",
		Help: "Bytes of request heads over 4 KiB that are being read, before authentication; " +
			"at most 33554432.",
	}, func() float64 { return float64(l.heads.Load()) })
	return l
}

// Accept closes connections above maxConnections.
func (l *connections) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= maxConnections {
			return &connection{Conn: c, of: l}, nil
		}
		l.open.Add(-1)
		_ = c.Close()
	}
}

// connection is a connection of an http.Server.
type connection struct {
	net.Conn
	of     *connections
	routed atomic.Bool  // a handler has the request and will answer it
	head   atomic.Int64 // bytes read of a request that no handler has yet
	held   atomic.Int64 // those of them that are counted in of.heads
	over   atomic.Bool  // the limit is exceeded
	closed sync.Once
}

type connectionKey struct{}

// keep adds the connection to the context of handlers; it is the ConnContext of the server.
func (*connections) keep(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}

// follow is the ConnState of the server. It resets the counts when a request has ended.
func (*connections) follow(c net.Conn, state http.ConnState) {
	if c, ok := c.(*connection); ok && state == http.StateIdle {
		c.release()
		c.routed.Store(false)
	}
}

// routed notes that a handler has the request.
func routed(r *http.Request) {
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
		c.routed.Store(true)
		c.release()
	}
}

func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.routed.Load() {
		return n, err
	}
	head := c.head.Add(int64(n))
	more := max(0, head-freeHead) - max(0, head-int64(n)-freeHead)
	c.held.Add(more)
	if more > 0 && c.of.heads.Add(more) > maxHeads {
		c.over.Store(true)
		return 0, io.ErrUnexpectedEOF // net/http ends the request, and Write says why
	}
	return n, err
}

func (c *connection) release() {
	c.head.Store(0)
	c.of.heads.Add(-c.held.Swap(0))
}

// NetConn returns the connection below, as tls.Conn does: sockets bound its send buffer.
func (c *connection) NetConn() net.Conn { return c.Conn }

func (c *connection) Close() error {
	c.closed.Do(func() {
		c.release()
		c.of.open.Add(-1)
	})
	return c.Conn.Close()
}

// CloseWrite lets net/http end an answer before it closes the connection.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Write replaces errors that net/http answers by itself, in plain text and with one call.
func (c *connection) Write(b []byte) (int, error) {
	status := refusedStatus(b)
	if c.routed.Load() || status == 0 {
		return c.Conn.Write(b)
	}
	p := &problem{status: status, detail: refusedDetails[status]}
	if c.over.Load() {
		p, status = errCrowded, errCrowded.status
	}
	id := rand.Text()
	c.of.metrics.count(none, none, none, status)
	c.of.log.Debug("request refused", "request_id", id, "status", status, "remote", c.RemoteAddr())
	w := &reply{header: http.Header{}}
	setHeaders(w.header, id)
	p.write(w, id)
	answer := http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Close: true,
		Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()),
	}
	return len(b), answer.Write(c.Conn)
}

// refusedStatus returns the status of an answer that is an error, or 0.
func refusedStatus(b []byte) int {
	text, ok := bytes.CutPrefix(b, []byte("HTTP/1.1 "))
	if !ok || len(text) < 3 {
		return 0
	}
	status, err := strconv.Atoi(string(text[:3]))
	if err != nil || status < http.StatusBadRequest {
		return 0
	}
	return status
}

// refusedDetails are the details of requests that net/http refuses.
var refusedDetails = map[int]string{
	http.StatusBadRequest: "The request is not valid HTTP/1.1.",
	http.StatusExpectationFailed: "The expectation is not supported; send 100-continue " +
		"or none.",
	http.StatusRequestHeaderFieldsTooLarge: "The head of the request has more than 32,768 bytes; " +
		"send fewer or shorter headers.",
	http.StatusNotImplemented: "The transfer coding is not supported; " +
		"send chunked or a Content-Length.",
	http.StatusHTTPVersionNotSupported: "The version of HTTP is not supported; send HTTP/1.1.",
}

// reply records an answer.
type reply struct {
	header http.Header
	body   bytes.Buffer
}

func (r *reply) Header() http.Header         { return r.header }
func (r *reply) WriteHeader(int)             {}
func (r *reply) Write(b []byte) (int, error) { return r.body.Write(b) }
