package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/gen/client"
)

// clients is the number of clients: few in an ordinary run, all in a long one.
func clients(t *testing.T, few, all int) int {
	t.Helper()
	return min(max(few, all*rounds(t, 0)/200), all)
}

// sendSlowly sends first, then one byte of rest per second, and returns how long the other side
// keeps the connection.
func sendSlowly(addr, first, rest string) (time.Duration, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	return keptFor(conn, first, rest)
}

// keptFor is sendSlowly on an open connection.
func keptFor(conn net.Conn, first, rest string) (time.Duration, error) {
	defer conn.Close()
	begin := time.Now()
	_ = conn.SetReadDeadline(begin.Add(time.Minute))
	closed := make(chan error, 1)
	go func() {
		for buf := make([]byte, 4096); ; {
			if _, err := conn.Read(buf); err != nil {
				closed <- err
				return
			}
		}
	}()
	_, _ = conn.Write([]byte(first)) // an error shows in reading
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case err := <-closed:
			if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
				return 0, errors.New("never closed")
			}
			return time.Since(begin), nil
		case <-tick.C:
			if i < len(rest) {
				_, _ = conn.Write([]byte(rest[i : i+1]))
			}
		}
	}
}

// TestFaultSlowClients_AreDisconnected has clients that keep connections open and send little.
func TestFaultSlowClients_AreDisconnected(t *testing.T) {
	t.Parallel() // it waits most of the time
	p := serve(t, dataDir(t))
	l := newLedger(p.registerAll(2))
	good := p.subscribe(p.login(), fmt.Sprintf("sensors/%d", l.devices[0].sensorID))
	token := p.token()
	stop := l.run(t, p.mqtt, load{senders: 1, samples: 1, qos: 1, pause: 10 * time.Millisecond})
	l.awaitAcks(p, 10, 20*time.Second)
	slow := strings.Repeat("a", 100)
	ways := map[string]func() (time.Duration, error){
		"an HTTP client that sends nothing": func() (time.Duration, error) {
			return sendSlowly(p.api, "",
				"")
		},
		"an HTTP head at a byte a second": func() (time.Duration, error) {
			return sendSlowly(p.api,
				"GET /health HTTP/1.1\r\nHost: x\r\nX-A: ", slow)
		},
		"an HTTP body at a byte a second": func() (time.Duration, error) {
			return sendSlowly(p.api,
				"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: "+
					"application/json\r\nContent-Length: 90\r\n\r\n{", slow)
		},
		"a handshake of a WebSocket at a byte a second": func() (time.Duration, error) {
			return sendSlowly(p.api,
				"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: "+
					"websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ", slow)
		},
		"an MQTT client that sends nothing": func() (time.Duration, error) {
			return sendSlowly(p.mqtt,
				"", "")
		},
		"a CONNECT at a byte a second": func() (time.Duration, error) {
			return sendSlowly(p.mqtt,
				"\x10\x7f\x00\x04MQTT", slow)
		},
		"a WebSocket that does not log in": func() (time.Duration, error) {
			ws, _, err := websocket.DefaultDialer.Dial("ws://"+p.api+"/ws", nil)
			if err != nil {
				return 0, err
			}
			return keptFor(ws.NetConn(), "", "")
		},
		"a WebSocket that answers no pings": func() (time.Duration, error) {
			ws, err := live(t.Context(), p.api, token)
			if err != nil {
				return 0, err
			}
			return keptFor(ws.NetConn(), "", "")
		},
		"a message on a WebSocket at a byte a second": func() (time.Duration, error) {
			ws, err := live(t.Context(), p.api, token)
			if err != nil {
				return 0, err
			}
			return keptFor(ws.NetConn(), "\x81\xe4mask", slow)
		},
	}
	var slowClients sync.WaitGroup
	for name, way := range ways {
		for range clients(t, 5, 100) {
			slowClients.Go(func() {
				if took, err := way(); err != nil || took > 16*time.Second {
					t.Errorf("%s: closed after %v, %v; want 15 s", name,
						took.Round(time.Millisecond), err)
				}
			})
		}
	}
	broken := repeat(func() {
		if p.status("/health/ready") != http.StatusOK {
			t.Error("the API does not answer other clients")
		}
	})
	slowClients.Wait()
	broken()
	l.awaitAcks(p, 100, 20*time.Second)
	stop()
	if n := l.breaks.Load(); n > 0 {
		t.Errorf("%d connections of good gateways broke", n)
	}
	good.conn.Close()
	l.check(t, p.dsn())
}

// TestFaultClientsThatNeverRead_DoNotDelayOthers has one socket in five never read.
func TestFaultClientsThatNeverRead_DoNotDelayOthers(t *testing.T) {
	const messages, samples = 50, 100
	p := serve(t, dataDir(t), "OEI_PUSH_MAX_CONNECTIONS_PER_USER=1000")
	d := p.register(p.login(), "press")
	token := p.token()
	narrow := websocket.Dialer{}
	narrow.NetDialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(32 << 10)
		}
		return conn, err
	}
	var silent []*websocket.Conn
	var readers sync.WaitGroup
	var got atomic.Int64
	receivers := int64(0)
	for i := range clients(t, 50, 200) {
		dialer := websocket.DefaultDialer
		if i%5 == 0 {
			dialer = &narrow
		}
		ws, _, err := dialer.DialContext(t.Context(),
			fmt.Sprintf("ws://%s/ws/sensors/%d", p.api, d.sensorID),
			http.Header{"Authorization": {"Bearer " + token}})
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		if i%5 == 0 {
			silent = append(silent, ws)
			continue
		}
		for range 2 { // authenticated, subscribed
			if _, _, err := ws.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
		receivers++
		readers.Go(func() {
			_ = ws.SetReadDeadline(time.Now().Add(time.Minute))
			for n := range messages * samples {
				_, frame, err := ws.ReadMessage()
				if err != nil || !bytes.Contains(frame, fmt.Appendf(nil, `"value":%d,`, n)) {
					t.Errorf("one that reads got %s, %v; want reading %d", frame, err, n)
					return
				}
				got.Add(1)
			}
		})
	}
	gateway, err := d.connect(t.Context(), p.mqtt, func() {})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Add(-time.Hour).UnixMilli()
	for m := range messages {
		payload := []byte{'['}
		for n := m * samples; n < (m+1)*samples; n++ {
			payload = fmt.Appendf(payload, `{"value":%d,"timestamp":%d},`, n, begin+int64(n))
		}
		payload[len(payload)-1] = ']'
		if res, err := gateway.Publish(t.Context(),
			&paho.Publish{Topic: d.topic(), QoS: 1, Payload: payload}); err != nil ||
			res.ReasonCode != 0 {
			t.Fatalf("publish: %+v %v", res, err)
		}
		p.eventually(30*time.Second, "those who read have most of it",
			func() bool { return got.Load() >= receivers*int64(m-4)*samples })
	}
	readers.Wait()
	var late sync.WaitGroup
	// they read after all: what was left out is told, or the connection has ended
	for _, ws := range silent {
		late.Go(func() {
			_ = ws.SetReadDeadline(time.Now().Add(30 * time.Second))
			for {
				var m liveFrame
				if err := ws.ReadJSON(&m); err != nil {
					if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
						t.Error("one that did not read was neither told nor closed")
					}
					return
				}
				if m.Type == "lagged" && m.Dropped > 0 {
					return
				}
			}
		})
	}
	late.Wait()
}

// TestWebSocket_RefusesAttackers connects as a page of another site, with a stolen token, and as a
// broken client.
func TestWebSocket_RefusesAttackers(t *testing.T) {
	t.Parallel()
	const within = 5 * time.Second
	p := serve(t, dataDir(t), "ACCESS_TOKEN_EXPIRE_MINUTES=0.05")
	api := p.login()
	d := p.register(api, "press")
	viewer, err := api.CreateUserWithResponse(t.Context(),
		client.UserCreate{
			Username: "vera",
			Email:    "vera@example.com",
			Password: adminPassword,
			Role:     client.RoleViewer,
		})
	if err != nil || viewer.JSON201 == nil {
		t.Fatalf("create user: %v %s", err, viewer.Body)
	}
	if _, res, err := websocket.DefaultDialer.Dial("ws://"+p.api+"/ws",
		http.Header{"Origin": {"https://evil.example"}}); err == nil ||
		res.StatusCode != http.StatusForbidden {
		t.Errorf("a page of another site: got %v, want 403", res)
	}
	open := func(username string) *websocket.Conn {
		t.Helper()
		c, err := client.NewClientWithResponses("http://" + p.api)
		if err != nil {
			t.Fatal(err)
		}
		login, err := c.LoginWithResponse(t.Context(),
			client.LoginRequest{Username: username, Password: adminPassword})
		if err != nil || login.JSON200 == nil {
			t.Fatalf("login: %v %s", err, body(login))
		}
		ws, err := live(t.Context(), p.api, login.JSON200.AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ws.Close() })
		if err := ws.WriteJSON(map[string]any{
			"type": "subscribe", "topics": []string{fmt.Sprintf("sensors/%d", d.sensorID)},
		}); err != nil {
			t.Fatal(err)
		}
		return ws
	}
	ends := func(ws *websocket.Conn, what string, code int, within time.Duration) {
		t.Helper()
		_ = ws.SetReadDeadline(time.Now().Add(within))
		for {
			if _, _, err := ws.ReadMessage(); err != nil {
				if !websocket.IsCloseError(err, code) {
					t.Errorf("%s: got %v, want it closed with %d", what, err, code)
				}
				return
			}
		}
	}
	big := open("admin")
	// cut off on the way
	go func() { _ = big.WriteMessage(websocket.TextMessage, make([]byte, 10<<20)) }()
	ends(big, "a frame of 10 MB", websocket.CloseMessageTooBig, within)

	busy := open("admin")
	go func() {
		for busy.WriteMessage(websocket.TextMessage,
			[]byte(`{"type":"unsubscribe","topics":["sensors/7"]}`)) == nil {
			time.Sleep(time.Millisecond)
		}
	}()
	ends(busy, "1,000 messages a second", 4429, within)

	curious := open("admin")
	if err := curious.WriteJSON(map[string]any{
		"type": "subscribe", "topics": []string{"sensors/1000", "$SYS/#", "alarms"},
	}); err != nil {
		t.Fatal(err)
	}
	_ = curious.SetReadDeadline(time.Now().Add(within))
	for refused := false; !refused; {
		var m struct {
			Type, Code string
			Topics     []string
		}
		if err := curious.ReadJSON(&m); err != nil {
			t.Fatalf("topics that are not allowed: %v", err)
		}
		refused = m.Type == "error" && m.Code == "unknown_topic" &&
			strings.Join(m.Topics, " ") == "$SYS/# sensors/1000"
	}
	ends(curious, "a token that expires", 4401, 3*time.Second+within)

	vera := open("vera")
	disabled, err := p.login().UpdateUserWithResponse(t.Context(), viewer.JSON201.ID, nil,
		client.UserUpdate{IsActive: new(false)})
	if err != nil || disabled.JSON200 == nil {
		t.Fatalf("disable: %v %s", err, disabled.Body)
	}
	ends(vera, "a disabled user", 4401, within)
}
