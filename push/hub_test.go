package push

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

func TestConversation(t *testing.T) {
	// time in a bubble begins in 2000
	const ann = `{"type":"authenticated","user_id":1,"expires_at":"2000-01-01T01:00:00.000000Z"}`
	type step struct {
		send string
		want []string
	}
	tests := map[string][]step{
		"an auth frame is answered with the user and the token's end": {
			{`{"type":"auth","token":"ann"}`, []string{ann}},
		},
		"an id comes back in every answer": {
			{
				`{"type":"auth","token":"ann","id":"a"}`,
				[]string{
					`{"type":"authenticated","id":"a","user_id":1,` +
						`"expires_at":"2000-01-01T01:00:00.000000Z"}`,
				},
			},
			{
				`{"type":"subscribe","topics":["sensors/12"],"id":"b"}`,
				[]string{`{"type":"subscribed","id":"b","topics":["sensors/12"]}`},
			},
			{
				`{"type":"unsubscribe","topics":["sensors/12"],"id":"c"}`,
				[]string{`{"type":"unsubscribed","id":"c","topics":["sensors/12"]}`},
			},
			{
				`{"type":"subscribe","topics":["x"],"id":"d"}`,
				[]string{
					`{"type":"error","id":"d","code":"unknown_topic",` +
						`"detail":"the topic does not exist","topics":["x"]}`,
				},
			},
			{
				`{"type":"nonsense","id":"e"}`,
				[]string{
					`{"type":"error","id":"e","code":"bad_message",` +
						`"detail":"type is unknown; use auth, subscribe or unsubscribe"}`,
				},
			},
		},
		"subscriptions before authentication are refused": {
			{
				`{"type":"subscribe","topics":["sensors/12"]}`,
				[]string{
					`{"type":"error","code":"not_authenticated",` +
						`"detail":"send an auth frame first","topics":["sensors/12"]}`,
				},
			},
			{`{"type":"auth","token":"ann"}`, []string{ann}},
		},
		"every topic is answered, valid topics are subscribed": {
			{`{"type":"auth","token":"ann"}`, []string{ann}},
			{`{"type":"subscribe","topics":["sensors/1","sensors/404","gateways/403",` +
				`"gateways/2","rooms/3","sensors/1"]}`, []string{
				`{"type":"subscribed","topics":["sensors/1","gateways/2"]}`,
				`{"type":"error","code":"unknown_topic","detail":"the topic does not exist",` +
					`"topics":["rooms/3","sensors/404"]}`,
				`{"type":"error","code":"forbidden",` +
					`"detail":"the user may not listen to this","topics":["gateways/403"]}`,
			}},
		},
		"topics over the limit are refused, subscribed topics stay": {
			{`{"type":"auth","token":"ann"}`, []string{ann}},
			{
				`{"type":"subscribe","topics":["sensors/1","sensors/2"]}`,
				[]string{`{"type":"subscribed","topics":["sensors/1","sensors/2"]}`},
			},
			{`{"type":"subscribe","topics":["sensors/2","sensors/3","sensors/4"]}`, []string{
				`{"type":"subscribed","topics":["sensors/2","sensors/3"]}`,
				`{"type":"error","code":"too_many_topics",` +
					`"detail":"a connection may have 3 topics","topics":["sensors/4"]}`,
			}},
			{`{"type":"subscribe","topics":["gateways/1","gateways/2","gateways/3",` +
				`"gateways/4"]}`, []string{
				`{"type":"error","code":"too_many_topics",` +
					`"detail":"a connection may have 3 topics","topics":["gateways/1",` +
					`"gateways/2","gateways/3","gateways/4"]}`,
			}},
			{
				`{"type":"unsubscribe","topics":["sensors/1"]}`,
				[]string{`{"type":"unsubscribed","topics":["sensors/1"]}`},
			},
			{
				`{"type":"subscribe","topics":["sensors/4"]}`,
				[]string{`{"type":"subscribed","topics":["sensors/4"]}`},
			},
		},
		"a new token of the same user renews the connection": {
			{`{"type":"auth","token":"ann"}`, []string{ann}},
			{`{"type":"auth","token":"ann"}`, []string{ann}},
		},
		"another user's token and a bad token are refused, the first stays valid": {
			{`{"type":"auth","token":"ann"}`, []string{ann}},
			{
				`{"type":"auth","token":"bob"}`,
				[]string{
					`{"type":"error","code":"forbidden",` +
						`"detail":"a connection keeps its user; open another one"}`,
				},
			},
			{
				`{"type":"auth","token":"forged"}`,
				[]string{
					`{"type":"error","code":"not_authenticated",` +
						`"detail":"the token is not valid; the one before it stands"}`,
				},
			},
			{
				`{"type":"auth","token":"stale"}`,
				[]string{
					`{"type":"error","code":"not_authenticated",` +
						`"detail":"the token is not valid; the one before it stands"}`,
				},
			},
			{
				`{"type":"subscribe","topics":["sensors/1"]}`,
				[]string{`{"type":"subscribed","topics":["sensors/1"]}`},
			},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.MaxTopics = 3
			inBubble(t, cfg, func(t *testing.T, w *fixture) {
				c := w.connect("")
				for _, s := range steps {
					c.send(s.send)
					c.want(s.want...)
				}
			})
		})
	}
}

func TestPublish(t *testing.T) {
	const data12 = `{"type":"sensor_data","sensor_id":12,"data":{"value":21.5,` +
		`"timestamp":"2026-01-02T03:04:05.678000Z","quality":"good"},"gateway_id":3}`
	late := reading(12, 3, math.NaN())
	late.Quality = "bad"
	tests := map[string]struct {
		topics []string
		batch  bool
		do     func(h *Hub)
		want   []string
	}{
		"a sensor's topic brings its readings only": {
			topics: []string{"sensors/12"},
			do:     func(h *Hub) { h.Publish([]Reading{reading(13, 3, 1), reading(12, 3, 21.5)}) },
			want:   []string{data12},
		},
		"a gateway's topic brings the readings of its sensors and its status": {
			topics: []string{"gateways/3"},
			do: func(h *Hub) {
				h.Publish([]Reading{reading(12, 3, 21.5), reading(12, 4, 1)})
				h.PublishStatus(Status{GatewayID: 3, Status: "offline", At: t0})
				h.PublishStatus(Status{GatewayID: 4, Status: "online", At: t0})
			},
			want: []string{
				data12,
				`{"type":"gateway_status","gateway_id":3,"status":"offline",` +
					`"timestamp":"2026-01-02T03:04:05.678000Z"}`,
			},
		},
		"a reading of two topics is sent once": {
			topics: []string{"gateways/3", "sensors/12"},
			do:     func(h *Hub) { h.Publish([]Reading{reading(12, 3, 21.5)}) },
			want:   []string{data12},
		},
		"no value is null": {
			topics: []string{"sensors/12"},
			do:     func(h *Hub) { h.Publish([]Reading{late}) },
			want: []string{
				`{"type":"sensor_data","sensor_id":12,"data":{"value":null,` +
					`"timestamp":"2026-01-02T03:04:05.678000Z","quality":"bad"},"gateway_id":3}`,
			},
		},
		"a batch client gets consecutive readings in one frame": {
			topics: []string{"gateways/3"},
			batch:  true,
			do: func(h *Hub) {
				h.Publish([]Reading{reading(1, 3, 1)}) // leaves at once; the next ones gather
				synctest.Wait()
				h.Publish([]Reading{reading(12, 3, 21.5), reading(13, 3, 2)})
				h.PublishStatus(Status{GatewayID: 3, Status: "online", At: t0})
				h.Publish([]Reading{reading(12, 3, 3)})
			},
			want: []string{
				`{"type":"sensor_data_batch","items":[{"sensor_id":1,"data":{"value":1,` +
					`"timestamp":"2026-01-02T03:04:05.678000Z","quality":"good"},"gateway_id":3}]}`,
				`{"type":"sensor_data_batch","items":[{"sensor_id":12,"data":{"value":21.5,` +
					`"timestamp":"2026-01-02T03:04:05.678000Z","quality":"good"},"gateway_id":3},` +
					`{"sensor_id":13,"data":{"value":2,` +
					`"timestamp":"2026-01-02T03:04:05.678000Z","quality":"good"},"gateway_id":3}]}`,
				`{"type":"gateway_status","gateway_id":3,"status":"online",` +
					`"timestamp":"2026-01-02T03:04:05.678000Z"}`,
				`{"type":"sensor_data_batch","items":[{"sensor_id":12,"data":{"value":3,` +
					`"timestamp":"2026-01-02T03:04:05.678000Z","quality":"good"},"gateway_id":3}]}`,
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
				c := w.subscribe("ann")
				c.send(fmt.Sprintf(`{"type":"subscribe","topics":["%s"],"batch":%t}`,
					strings.Join(tt.topics, `","`), tt.batch))
				c.skip("subscribed")
				frames := c.collect()
				tt.do(w.hub)
				time.Sleep(time.Second)
				for _, want := range tt.want {
					if got := <-frames; got != want {
						t.Errorf("\n got %s\nwant %s", got, want)
					}
				}
				if len(frames) != 0 {
					t.Errorf("got also %s", <-frames)
				}
			})
		})
	}
}

func TestBatchClient_GetsABurstWithoutDelay(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		c := w.subscribe("ann")
		c.send(`{"type":"subscribe","topics":["gateways/1"],"batch":true}`)
		c.skip("subscribed")
		frames := c.collect()
		begin := time.Now()
		for i := range 100 * chunkSize {
			w.hub.Publish([]Reading{reading(1, 1, float64(i))})
			if i%chunkSize == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		items, n := 0, len(frames)
		for range n {
			frame := <-frames
			if strings.Contains(frame, "lagged") {
				t.Fatalf("got %s", frame)
			}
			items += strings.Count(frame, `"sensor_id"`)
		}
		if took := time.Since(begin); items < 99*chunkSize || took != 0 {
			t.Errorf("%d of %d readings in %d frames after %v, want all but the last few at once",
				items, 100*chunkSize, n, took)
		}
		if n > items/16 {
			t.Errorf("%d readings came in %d frames, want far fewer", items, n)
		}
		// an answer does not wait for a batch
		c.send(`{"type":"unsubscribe","topics":["gateways/1"]}`)
		for frame := range frames {
			if strings.Contains(frame, "unsubscribed") {
				break
			}
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("the answer came after %v, want at once", took)
		}
	})
}

func TestUnsubscribe_StopsUpdates(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		c := w.subscribe("ann", "sensors/1", "sensors/2")
		c.send(`{"type":"unsubscribe","topics":["sensors/1"]}`)
		c.skip("unsubscribed")
		w.hub.Publish([]Reading{reading(1, 9, 1), reading(2, 9, 2)})
		if got := values(t, c.skip("sensor_data")); got[0] != 2 {
			t.Errorf("got value %v, want 2", got)
		}
	})
}

func TestInitialTopics(t *testing.T) {
	tests := map[string]struct {
		token, auth string
		topics      []string
		want        []string
		code        int
	}{
		"are subscribed to at once after an authenticated handshake": {
			token:  "ann",
			topics: []string{"sensors/1"},
			want:   []string{"authenticated", "subscribed"},
		},
		"wait for the auth frame without one": {
			auth:   "ann",
			topics: []string{"sensors/1"},
			want:   []string{"authenticated", "subscribed"},
		},
		"that are forbidden close the connection": {
			auth:   "ann",
			topics: []string{"sensors/403"},
			code:   CloseForbidden,
		},
		"that do not exist close the connection": {
			auth:   "ann",
			topics: []string{"sensors/404"},
			code:   CloseForbidden,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
				c := w.connect(tt.token, tt.topics...)
				if tt.auth != "" {
					c.send(`{"type":"auth","token":"` + tt.auth + `"}`)
				}
				for _, kind := range tt.want {
					c.skip(kind)
				}
				if tt.code != 0 {
					c.wantClose(tt.code)
				}
			})
		})
	}
}

func TestOrigin(t *testing.T) {
	cfg := DefaultConfig()
	cfg.AllowedOrigins = []string{"https://hmi.example"}
	w := overTCP(t, cfg)
	tests := map[string]struct {
		origin string
		status int
	}{
		"a program without Origin is allowed": {"", http.StatusSwitchingProtocols},
		"the server's own page is allowed": {
			"http" + strings.TrimPrefix(w.url, "ws"), http.StatusSwitchingProtocols,
		},
		"a page of the list is allowed": {
			"https://hmi.example", http.StatusSwitchingProtocols,
		},
		"a page with the default port is allowed": {
			"https://hmi.example:443", http.StatusSwitchingProtocols,
		},
		"another site is refused": {
			"https://evil.example", http.StatusForbidden,
		},
		"another scheme of a listed site is refused": {
			"http://hmi.example", http.StatusForbidden,
		},
		"a site with a listed prefix is refused": {
			"https://hmi.example.evil.example", http.StatusForbidden,
		},
		"a page with a null origin is refused": {"null", http.StatusForbidden},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if tt.origin != "" {
				header.Set("Origin", tt.origin)
			}
			ws, res, err := websocket.DefaultDialer.Dial(w.url, header)
			if err == nil {
				ws.Close()
			}
			if res == nil || res.StatusCode != tt.status {
				t.Fatalf("got %v, error %v; want status %d", res, err, tt.status)
			}
			if tt.status != http.StatusForbidden {
				return
			}
			if body, _ := io.ReadAll(res.Body); !strings.Contains(string(body), errOrigin.Error()) {
				t.Errorf("got %q, want %q", body, errOrigin)
			}
		})
	}
}

func TestRun_ClosesAllConnectionsAtTheEnd(t *testing.T) {
	w := overTCP(t, DefaultConfig())
	var clients []*client
	for range 20 {
		clients = append(clients, w.subscribe("ann", "sensors/1"), w.connect(""))
	}
	stalled := w.subscribe("bob", "sensors/1") // does not read: it must not delay the end
	begin := time.Now()
	w.stop()
	for _, c := range clients {
		c.wantClose(CloseGoingAway)
		c.ws.Close()
	}
	<-w.ran
	if took := time.Since(begin); took > closeTimeout+3*time.Second {
		t.Errorf("Run returned after %v, want within about %v", took, closeTimeout)
	}
	_ = stalled
	w.connect("ann").wantClose(CloseGoingAway)
	if open := w.metric("websocket_connections_active", ""); open != 0 {
		t.Errorf("websocket_connections_active = %v, want 0", open)
	}
	if closed := w.metric("oei_ws_closed_total", "1001"); closed != 42 {
		t.Errorf("oei_ws_closed_total{1001} = %v, want 42", closed)
	}
	if n := len(w.hub.subscriptions) + len(w.hub.perOwner) + len(w.hub.perAddress); n != 0 {
		t.Errorf("the hub still counts %d topics, users or addresses, want 0", n)
	}
}
