package push

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

func TestConnectionLimits_RejectOneMore(t *testing.T) {
	tests := map[string]struct {
		limit func(*Config)
		third string // token of the connection over the limit; the two before are ann's
		after string // token of a connection that is still allowed
	}{
		"of the hub":    {limit: func(c *Config) { c.MaxConnections = 2 }, third: "bob"},
		"of an address": {limit: func(c *Config) { c.MaxConnectionsPerAddress = 2 }, third: "bob"},
		"of one user": {
			limit: func(c *Config) { c.MaxConnectionsPerUser = 2 },
			third: "ann",
			after: "bob",
		},
		"of one user, by an auth frame": {
			limit: func(c *Config) { c.MaxConnectionsPerUser = 2 },
			third: "",
			after: "bob",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			tt.limit(&cfg)
			inBubble(t, cfg, func(t *testing.T, w *fixture) {
				first := w.subscribe("ann")
				w.subscribe("ann")
				third := w.connect(tt.third)
				if tt.third == "" {
					third.send(`{"type":"auth","token":"ann"}`)
				}
				third.wantClose(CloseOverLimit)
				third.ws.Close()
				if tt.after != "" {
					w.subscribe(tt.after)
				}
				first.ws.Close()
				synctest.Wait()
				w.subscribe("ann") // a connection is free again
			})
		})
	}
}

func TestBadClients(t *testing.T) {
	text := func(c *client, s string) error {
		return c.ws.WriteMessage(websocket.TextMessage,
			[]byte(s))
	}
	tests := map[string]struct {
		do   func(c *client) error
		code int
	}{
		"20 bad messages close the connection": {func(c *client) error {
			for i := range maxBadFrames {
				if err := text(c, fmt.Sprintf(`{"type":"auth","tokens":%d}`, i)); err != nil {
					return err
				}
			}
			return nil
		}, CloseProtocol},
		"a binary message is a protocol error": {func(c *client) error {
			return c.ws.WriteMessage(websocket.BinaryMessage,
				[]byte(`{"type":"auth","token":"ann"}`))
		}, CloseProtocol},
		"1,000 messages in a moment are over the limit": {func(c *client) error {
			for range 1000 {
				if err := text(c, `{"type":"unsubscribe","topics":["sensors/1"]}`); err != nil {
					return err
				}
			}
			return nil
		}, CloseOverLimit},
		"1,000 pings in a moment are over the limit": {func(c *client) error {
			for range 1000 {
				if err := c.ws.WriteControl(websocket.PingMessage, []byte("x"),
					time.Now().Add(time.Second)); err != nil {
					return err
				}
			}
			return nil
		}, CloseOverLimit},
		"a message of 4 KiB and a byte is too big before the login": {func(c *client) error {
			return text(c, strings.Repeat("x", 4<<10+1))
		}, CloseTooBig},
		"a message of 64 KiB and a byte is too big": {func(c *client) error {
			return text(c, strings.Repeat("x", 64<<10+1))
		}, CloseTooBig},
		"a message of 10 MB is too big": {func(c *client) error {
			return text(c, strings.Repeat("x", 10<<20))
		}, CloseTooBig},
		"a message too big in small parts is too big": {func(c *client) error {
			mw, err := c.ws.NextWriter(websocket.TextMessage)
			for i := 0; i < 3000 && err == nil; i++ {
				_, err = mw.Write([]byte(strings.Repeat("x", 4<<10)))
			}
			return err
		}, CloseTooBig},
		"bytes that are not WebSocket are answered by the library": {func(c *client) error {
			_, err := c.ws.NetConn().Write([]byte("GET / HTTP/1.1\r\nHost: pipe\r\n\r\n"))
			return err
		}, websocket.CloseProtocolError},
		"a forged token is not authenticated": {func(c *client) error {
			return text(c, `{"type":"auth","token":"forged"}`)
		}, CloseNotAuthenticated},
		"an expired token is not authenticated": {func(c *client) error {
			return text(c, `{"type":"auth","token":"stale"}`)
		}, CloseNotAuthenticated},
		"a user who may not listen is forbidden": {func(c *client) error {
			return text(c, `{"type":"auth","token":"gate"}`)
		}, CloseForbidden},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			check := func(t *testing.T, w *fixture) {
				c := w.connect("")
				sent := make(chan error, 1)
				go func() { sent <- tt.do(c) }()
				c.wantClose(tt.code)
				c.ws.Close()
				<-sent // the hub may close the connection before all is sent
				bystander := w.subscribe("bob", "sensors/1")
				w.hub.Publish([]Reading{reading(1, 1, 7)})
				bystander.skip("sensor_data")
			}
			t.Run("over a pipe", func(t *testing.T) { inBubble(t, DefaultConfig(), check) })
			t.Run("over TCP", func(t *testing.T) { check(t, overTCP(t, DefaultConfig())) })
		})
	}
}

func TestBigMessage_IsAnsweredBeforeItIsReadWhole(t *testing.T) {
	w := overTCP(t, DefaultConfig())
	c := w.connect("")
	c.send(strings.Repeat("x", 10<<20))
	c.wantClose(CloseTooBig)
}

func TestBadMessages_AreAnsweredBeforeTheClose(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		c := w.subscribe("ann")
		frames := c.collect()
		for range maxBadFrames {
			c.send("?")
		}
		answers := 0
		for frame := range frames {
			answers += strings.Count(frame, `"code":"bad_message"`)
		}
		if answers != maxBadFrames {
			t.Errorf("%d answers, want %d", answers, maxBadFrames)
		}
	})
}

func TestMessageOf64KiB_IsRead(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		c := w.connect("")
		frame := `{"type":"auth","token":"ann"}`
		c.send(frame + strings.Repeat(" ", maxAuthFrame-len(frame)))
		c.skip("authenticated")
		frame = `{"type":"subscribe","topics":["sensors/1"]}`
		c.send(frame + strings.Repeat(" ", 64<<10-len(frame)))
		c.skip("subscribed")
	})
}

func TestRateLimit_RefusesFrames(t *testing.T) {
	cfg := DefaultConfig()
	cfg.FramesPerSecond, cfg.FrameBurst = 10, 2
	inBubble(t, cfg, func(t *testing.T, w *fixture) {
		c := w.connect("ann")
		c.skip("authenticated")
		const frame = `{"type":"unsubscribe","topics":["sensors/1"]}`
		for range 100 { // far more than maxOverRate, but not consecutive
			for range 3 {
				c.send(frame)
			}
			c.skip("unsubscribed")
			c.skip("unsubscribed")
			c.want(`{"type":"error","code":"rate_limited",` +
				`"detail":"too many frames; this one was not read"}`)
			time.Sleep(200 * time.Millisecond)
		}
	})
}

func TestAuthOutage_ClosesForALaterAttempt(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		in := w.subscribe("ann")
		out := w.connect("")
		w.auth.set(func() { w.auth.down = errors.New("database is down") })
		in.send(`{"type":"subscribe","topics":["sensors/1"]}`)
		in.wantClose(CloseTryLater)
		out.send(`{"type":"auth","token":"ann"}`)
		out.wantClose(CloseTryLater)
	})
}

func TestPing_IsAnsweredWithItsPayload(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		c := w.subscribe("ann")
		pong := make(chan string, 1)
		c.ws.SetPongHandler(func(payload string) error { pong <- payload; return nil })
		frames := c.collect()
		if err := c.ws.WriteControl(websocket.PingMessage, []byte("hello"),
			time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if got := <-pong; got != "hello" {
			t.Errorf("pong %q, want hello", got)
		}
		c.ws.Close()
		for range frames {
		}
	})
}

func TestClientClose_IsAnswered(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		c := w.subscribe("ann", "sensors/1")
		bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "bye")
		err := c.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		c.wantClose(websocket.CloseNormalClosure)
		synctest.Wait()
		if open := w.metric("websocket_connections_active", ""); open != 0 {
			t.Errorf("websocket_connections_active = %v, want 0", open)
		}
	})
}
