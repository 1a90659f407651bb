package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/push"
	"github.com/oei-ms/oei-ms/store"
)

// dial opens a WebSocket; when the server refuses, the connection is nil and the answer tells why.
func (s *system) dial(path string, header ...string) (*websocket.Conn, *http.Response) {
	s.t.Helper()
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	conn, res, err := websocket.DefaultDialer.Dial(strings.Replace(s.url, "http", "ws", 1)+path, h)
	if err != nil {
		if res == nil {
			s.t.Fatal(err)
		}
		res.Body.Close()
		return nil, res
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn, res
}

// expect reads frames until one of this type comes, and returns it.
func expect(t *testing.T, conn *websocket.Conn, kind string) members {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		frame := members{}
		if err := conn.ReadJSON(&frame); err != nil {
			t.Fatalf("no frame %s: %v", kind, err)
		}
		if frame["type"] == kind {
			return frame
		}
	}
}

// expectClose reads until the connection ends with code, sooner than the hub would find out by
// itself.
func expectClose(t *testing.T, conn *websocket.Conn, code int) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	for {
		if _, _, err := conn.ReadMessage(); err != nil {
			if !websocket.IsCloseError(err, code) {
				t.Errorf("close: got %v, want %d", err, code)
			}
			return
		}
	}
}

func (s *system) ticket(token string) string {
	s.t.Helper()
	return must(s.client(token).CreateWebSocketTicketWithResponse(s.t.Context())).JSON201.Ticket
}

func TestWebSocket_EveryWayToLogIn(t *testing.T) {
	s := start(t)
	v := s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Viewer])
	topic := fmt.Sprintf("sensors/%d", v.ID)
	ways := map[string]func() *websocket.Conn{
		"by header": func() *websocket.Conn {
			c, _ := s.dial("/ws", "Authorization",
				"Bearer "+token)
			return c
		},
		"by ticket": func() *websocket.Conn {
			c, _ := s.dial("/ws?ticket=" + s.ticket(token))
			return c
		},
		"by auth frame": func() *websocket.Conn {
			c, _ := s.dial("/ws")
			_ = c.WriteJSON(members{"type": "auth", "token": token})
			return c
		},
	}
	for name, dial := range ways {
		conn := dial()
		if conn == nil {
			t.Errorf("%s: refused", name)
			continue
		}
		if got := expect(t, conn, "authenticated")["user_id"]; got != float64(
			s.users[store.Viewer].ID,
		) {
			t.Errorf("%s: user: got %v", name, got)
		}
		_ = conn.WriteJSON(members{
			"type": "subscribe",
			"topics": []string{
				topic, "sensors/99", "gateways/1", "gateways/99", "sensors/5000000000",
			},
		})
		if got := fmt.Sprint(expect(t, conn, "subscribed")["topics"]); got != fmt.Sprintf(
			"[%s gateways/1]", topic,
		) {
			t.Errorf("%s: subscribed: got %s", name, got)
		}
		if got := fmt.Sprint(expect(t, conn, "error")["topics"]); got != "[sensors/99 "+
			"gateways/99 sensors/5000000000]" {
			t.Errorf("%s: unknown: got %s", name, got)
		}
		s.hub.Publish([]push.Reading{
			{
				SensorID:  v.ID,
				GatewayID: v.GatewayID,
				Timestamp: time.Now(),
				Value:     21.5,
				Quality:   "good",
			},
		})
		if got := expect(t, conn, "sensor_data")["sensor_id"]; got != float64(v.ID) {
			t.Errorf("%s: reading: got %v", name, got)
		}
		conn.Close()
	}
}

func TestWebSocket_OfOneSensor(t *testing.T) {
	s := start(t)
	v := s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Viewer])
	for _, path := range []string{
		fmt.Sprintf("/ws/sensors/%d", v.ID), fmt.Sprintf("/ws?topic=sensors/%d", v.ID),
		fmt.Sprintf("/ws?topic=gateways/status&topic=sensors%%2F%d", v.ID),
	} {
		conn, _ := s.dial(path, "Authorization", "Bearer "+token)
		expect(t, conn, "subscribed")
		s.hub.Publish([]push.Reading{{SensorID: v.ID, Timestamp: time.Now(), Quality: "good"}})
		expect(t, conn, "sensor_data")
	}
	for path, want := range map[string]int{
		"/ws/sensors/99": 404, "/ws/sensors/0": 400, "/ws/sensors/x": 400,
		"/ws?topic=sensors/99": 400, "/ws?topic=x": 400, "/ws?topic=": 400,
		"/ws?topic=sensors/1&topic=gateways/99":                  400,
		"/ws?topic=alarms" + strings.Repeat("&topic=alarms", 20): 400,
	} {
		if _, res := s.dial(path, "Authorization", "Bearer "+token); res.StatusCode != want {
			t.Errorf("%s: got %d, want %d", path, res.StatusCode, want)
		}
	}
}

func TestWebSocket_RefusedLogins(t *testing.T) {
	s := start(t)
	token := s.token(s.users[store.Viewer])
	used := s.ticket(token)
	s.dial("/ws?ticket=" + used)
	tests := map[string]struct {
		path   string
		header []string
		want   int
	}{
		"a garbage token": {"/ws", []string{"Authorization", "Bearer garbage"}, 401},
		"a token of an ended session": {
			"/ws", []string{"Authorization", "Bearer " + s.loggedOut()}, 401,
		},
		"an unknown ticket":      {"/ws?ticket=wt_x", nil, 401},
		"a used ticket":          {"/ws?ticket=" + used, nil, 401},
		"an empty ticket":        {"/ws?ticket=", nil, 401},
		"a token in the address": {"/ws?token=" + token, nil, 400},
		"a page of another site": {
			"/ws",
			[]string{"Origin", "https://evil.example", "Authorization", "Bearer " + token},
			403,
		},
	}
	for name, test := range tests {
		conn, res := s.dial(test.path, test.header...)
		if conn != nil || res.StatusCode != test.want ||
			res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: got %d %s, want %d", name, res.StatusCode, res.Header.Get("Content-Type"),
				test.want)
		}
	}
}

func TestWebSocket_EndsWithItsSession(t *testing.T) {
	s := start(t)
	token, other := s.token(s.users[store.Viewer]), s.token(s.users[store.Viewer])
	conn, _ := s.dial("/ws", "Authorization", "Bearer "+token)
	stays, _ := s.dial("/ws", "Authorization", "Bearer "+other)
	expect(t, conn, "authenticated")
	expect(t, stays, "authenticated")
	unused := s.ticket(token)
	s.send("POST", "/api/auth/logout", token, "")
	expectClose(t, conn, push.CloseNotAuthenticated)
	if _, res := s.dial("/ws?ticket=" + unused); res.StatusCode != 401 {
		t.Errorf("a ticket of the session: got %d, want 401", res.StatusCode)
	}
	_ = stays.WriteJSON(members{"type": "unsubscribe", "topics": []string{"sensors/1"}})
	expect(t, stays, "unsubscribed")
}

func TestWebSocket_RequestWithoutHandshake(t *testing.T) {
	s := start(t)
	token := "Bearer " + s.token(s.users[store.Viewer])
	handshake := []string{
		"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Key",
		"AAAAAAAAAAAAAAAAAAAAAA==",
	}
	tests := map[string]struct {
		header       []string
		status       int
		kind, detail string
	}{
		"asked for as a page": {nil, 426, "upgrade-required", "WebSocket clients"},
		"an older version": {
			append(handshake, "Sec-WebSocket-Version", "8"), 426, "upgrade-required", "version 13",
		},
		"an invalid key": {
			[]string{
				"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13",
			},
			400, "invalid-request", "Sec-WebSocket-Key",
		},
		"a page of another site": {
			append(handshake, "Sec-WebSocket-Version", "13", "Origin", "https://evil.example"), 403,
			"forbidden", "OEI_PUSH_ALLOWED_ORIGINS",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/ws/alarms", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", token)
			for i := 0; i < len(tt.header); i += 2 {
				req.Header.Set(tt.header[i], tt.header[i+1])
			}
			res, err := s.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var p client.Problem
			if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != tt.status || p.Type != "/problems/"+tt.kind ||
				!strings.Contains(p.Detail, tt.detail) || strings.Contains(p.Detail, "websocket:") {
				t.Errorf("got %d %+v, want %d %s", res.StatusCode, p, tt.status, tt.detail)
			}
			if got := res.Header.Get("Upgrade"); (tt.status == 426) != (got == "websocket") {
				t.Errorf("Upgrade: got %q", got)
			}
		})
	}
}

// A connection that logs in after the handshake is closed for a topic that does not exist.
func TestWebSocket_TopicsAreCheckedAfterLogin(t *testing.T) {
	s := start(t)
	v := s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Viewer])
	for topic, exists := range map[string]bool{
		fmt.Sprintf("sensors/%d", v.ID): true, "sensors/99": false,
	} {
		conn, _ := s.dial("/ws?topic=" + topic)
		if err := conn.WriteJSON(members{"type": "auth", "token": token}); err != nil {
			t.Fatal(err)
		}
		if exists {
			expect(t, conn, "subscribed")
		} else {
			expectClose(t, conn, push.CloseForbidden)
		}
	}
}

// TestWebSocket_SensorIsCheckedAfterLogin closes the database first, so that a query would be a
// 503 or 500.
func TestWebSocket_SensorIsCheckedAfterLogin(t *testing.T) {
	s := start(t)
	v := s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Viewer])
	conn, _ := s.dial("/ws/sensors/99")
	_ = conn.WriteJSON(members{"type": "auth", "token": token})
	expectClose(t, conn, 4403)
	s.store.Close()
	for _, id := range []int64{v.ID, 99} {
		if res := s.send("GET", fmt.Sprintf("/ws/sensors/%d", id), "", ""); res.StatusCode != 426 {
			t.Errorf("sensor %d: got %d: %s", id, res.StatusCode, res.body)
		}
		if conn, res := s.dial(fmt.Sprintf("/ws/sensors/%d", id)); conn == nil {
			t.Errorf("sensor %d by WebSocket: got %d", id, res.StatusCode)
		}
	}
}
