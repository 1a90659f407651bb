package push

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeAuth answers the functions of Auth from maps.
type fakeAuth struct {
	mu     sync.Mutex
	tokens map[string]Identity
	ended  map[string]bool // sessions
	down   error           // returned by all functions
	checks int
}

func newFakeAuth() *fakeAuth {
	d := &fakeAuth{tokens: make(map[string]Identity), ended: make(map[string]bool)}
	for token, user := range map[string]int64{"ann": 1, "bob": 2, "cat": 3} {
		d.tokens[token] = Identity{
			UserID:    user,
			SessionID: "s-" + token,
			Expires:   time.Now().Add(time.Hour),
		}
	}
	d.tokens["stale"] = Identity{
		UserID:    1,
		SessionID: "s-ann",
		Expires:   time.Now().Add(-time.Second),
	}
	return d
}

func (d *fakeAuth) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *fakeAuth) functions() Auth {
	return Auth{
		Authenticate: func(_ context.Context, _, token string) (Identity, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.down != nil {
				return Identity{}, d.down
			}
			if token == "gate" {
				return Identity{}, ErrForbidden
			}
			id, ok := d.tokens[token]
			if !ok {
				return Identity{}, ErrNotAuthenticated
			}
			return id, nil
		},
		Allow: func(_ context.Context, id Identity, topics []string) []error {
			d.mu.Lock()
			defer d.mu.Unlock()
			verdicts := make([]error, len(topics))
			for i, topic := range topics {
				switch {
				case d.down != nil:
					verdicts[i] = d.down
				case strings.HasSuffix(topic, "/404"):
					verdicts[i] = ErrUnknownTopic
				case strings.HasSuffix(topic, "/403"):
					verdicts[i] = ErrForbidden
				}
			}
			return verdicts
		},
		Check: func(_ context.Context, id Identity) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.checks++
			if d.ended[id.SessionID] {
				return ErrNotAuthenticated
			}
			return d.down
		},
	}
}

// fixture is a running hub with an HTTP server, reached over TCP or, in a synctest bubble, over
// pipes.
type fixture struct {
	t    testing.TB
	hub  *Hub
	auth *fakeAuth
	reg  *prometheus.Registry
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
	url  string
	stop context.CancelFunc
	ran  chan struct{} // closed when Run has returned
}

// newFixture starts a hub with deps, and with a fakeAuth.
func newFixture(t testing.TB, cfg Config, deps Deps) (*fixture, http.Handler) {
	d, reg := newFakeAuth(), prometheus.NewRegistry()
	deps.Auth = d.functions()
	w := &fixture{
		t:    t,
		auth: d,
		reg:  reg,
		hub:  New(cfg, deps, slog.New(slog.DiscardHandler), reg),
		ran:  make(chan struct{}),
	}
	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	go func() {
		defer close(w.ran)
		if err := w.hub.Run(ctx); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	}()
	return w, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var id *Identity
		if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
			found := d.tokens[token]
			id = &found
		}
		err := w.hub.Serve(rw, r, id, r.URL.Query()["topic"])
		if refused, ok := errors.AsType[*HandshakeError](err); ok {
			http.Error(rw, refused.Error(), refused.Status)
		}
	})
}

// overTCP starts a fixture in real time.
func overTCP(t testing.TB, cfg Config) *fixture {
	t.Helper()
	return overTCPWith(t, cfg, Deps{})
}

func overTCPWith(t testing.TB, cfg Config, deps Deps) *fixture {
	t.Helper()
	w, handler := newFixture(t, cfg, deps)
	srv := httptest.NewServer(handler)
	w.url = "ws" + strings.TrimPrefix(srv.URL, "http")
	t.Cleanup(func() { w.stop(); <-w.ran; srv.Close() })
	return w
}

// inBubble runs test in a synctest bubble: time passes only when all goroutines wait, and a write
// to a pipe returns only when its bytes are read.
func inBubble(t *testing.T, cfg Config, test func(t *testing.T, w *fixture)) {
	t.Helper()
	inBubbleWith(t, cfg, Deps{}, test)
}

func inBubbleWith(t *testing.T, cfg Config, deps Deps, test func(t *testing.T, w *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, handler := newFixture(t, cfg, deps)
		pipes := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		srv := &http.Server{Handler: handler}
		go func() { _ = srv.Serve(pipes) }()
		w.url, w.dial = "ws://pipe", pipes.dial
		t.Cleanup(func() { w.stop(); <-w.ran; srv.Close() })
		test(t, w)
	})
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	l.conns <- theirs
	return ours, nil
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// client is a WebSocket client. It reads only when a method reads.
type client struct {
	t  testing.TB
	ws *websocket.Conn
}

// connect opens a connection; token, when not empty, goes into the Authorization header.
func (w *fixture) connect(token string, topics ...string) *client {
	w.t.Helper()
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	url := w.url + "/?"
	for _, topic := range topics {
		url += "&topic=" + topic
	}
	dialer := websocket.Dialer{NetDialContext: w.dial}
	ws, _, err := dialer.DialContext(w.t.Context(), url, header)
	if err != nil {
		w.t.Fatalf("connect: %v", err)
	}
	c := &client{t: w.t, ws: ws}
	w.t.Cleanup(func() { ws.Close() })
	return c
}

// subscribe returns a client that is authenticated and subscribed to topics.
func (w *fixture) subscribe(token string, topics ...string) *client {
	w.t.Helper()
	c := w.connect(token, topics...)
	c.skip("authenticated")
	if len(topics) > 0 {
		c.skip("subscribed")
	}
	return c
}

func (c *client) send(frame string) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		c.t.Fatalf("send %s: %v", frame, err)
	}
}

// next returns the next text frame, or the error the connection ended with.
func (c *client) next() (string, error) {
	_ = c.ws.SetReadDeadline(time.Now().Add(2 * time.Minute))
	_, frame, err := c.ws.ReadMessage()
	return string(frame), err
}

func (c *client) want(frames ...string) {
	c.t.Helper()
	for _, want := range frames {
		got, err := c.next()
		if err != nil {
			c.t.Fatalf("got error %v, want %s", err, want)
		}
		if got != want {
			c.t.Fatalf("\n got %s\nwant %s", got, want)
		}
	}
}

// skip reads a frame and checks its type.
func (c *client) skip(kind string) string {
	c.t.Helper()
	frame, err := c.next()
	if err != nil || !strings.HasPrefix(frame, `{"type":"`+kind+`"`) {
		c.t.Fatalf("got %s, error %v; want a frame of type %s", frame, err, kind)
	}
	return frame
}

// wantClose reads until the connection ends, within 2 minutes, and checks the close code.
func (c *client) wantClose(code int) {
	c.t.Helper()
	for begin := time.Now(); ; {
		frame, err := c.next()
		if err == nil && time.Since(begin) < 2*time.Minute {
			continue
		}
		closed, ok := errors.AsType[*websocket.CloseError](err)
		if !ok || closed.Code != code || closed.Text == "" {
			c.t.Fatalf("after %q the connection ended with %v, want code %d and a reason", frame,
				err, code)
		}
		return
	}
}

// collect reads in the background and answers pings. It closes the channel when the connection
// ends.
func (c *client) collect() <-chan string {
	frames := make(chan string, 1<<16)
	go func() {
		defer close(frames)
		for {
			frame, err := c.next()
			if err != nil {
				return
			}
			frames <- frame
		}
	}()
	return frames
}

// metric returns the value of a counter or gauge; code is the value of its label, if it has one.
func (w *fixture) metric(name, code string) float64 {
	w.t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (code == "" || m.GetLabel()[0].GetValue() == code) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

func reading(sensor, gateway int64, value float64) Reading {
	return Reading{
		SensorID:  sensor,
		GatewayID: gateway,
		Timestamp: t0,
		Value:     value,
		Quality:   "good",
	}
}

// values returns the values of the sensor_data frames among frames.
func values(t *testing.T, frames ...string) (vs []float64) {
	t.Helper()
	for _, frame := range frames {
		var f struct {
			Type string
			Data struct{ Value float64 }
		}
		if err := json.Unmarshal([]byte(frame), &f); err != nil {
			t.Fatalf("%s: %v", frame, err)
		}
		if f.Type == "sensor_data" {
			vs = append(vs, f.Data.Value)
		}
	}
	return vs
}
