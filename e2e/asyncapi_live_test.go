package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/gen/client"
)

// vary lists the members of each message of WebSocket that depend on time and database.
var vary = map[string][]string{
	"authenticated":  {"user_id", "api_key_id", "expires_at"},
	"subscribed":     {"epoch", "offset"},
	"gateway_status": {"timestamp"},
	"alarm":          {"epoch", "offset", "at", "recorded_at", "alarm_id"},
	"alarm_snapshot": {"epoch", "offset", "at", "recorded_at", "alarm_id"},
	"lagged":         {"dropped"},
	// wantBatch may repeat the readings
	"sensor_data_batch": {"timestamp"},
	"ping":              {"time"},
}

// documentedSocket is a WebSocket whose frames are validated against the document.
type documentedSocket struct {
	*documented
	conn   *websocket.Conn
	frames chan []byte
}

// open opens a WebSocket and validates every frame that it receives. The answer to pings is sent
// while a frame is awaited or not.
func (d *documented) open(header http.Header) *documentedSocket {
	d.t.Helper()
	conn, res, err := websocket.DefaultDialer.DialContext(d.t.Context(), "ws://"+d.api+"/ws",
		header)
	if err != nil {
		d.t.Fatal(err)
	}
	_ = res.Body.Close()
	s := &documentedSocket{documented: d, conn: conn, frames: make(chan []byte, 10_000)}
	done := make(chan struct{})
	d.t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	go func() {
		defer close(done)
		defer close(s.frames)
		for {
			_, frame, err := conn.ReadMessage()
			if err != nil {
				return
			}
			s.frames <- frame
		}
	}()
	return s
}

// loggedIn opens a WebSocket with a login in the handshake.
func (d *documented) loggedIn() *documentedSocket {
	d.t.Helper()
	s := d.open(http.Header{"Authorization": {d.auth}})
	s.want("authenticated", "")
	return s
}

// play sends the example of a client's message and wants the answers in the document, in order.
func (s *documentedSocket) play(message, example string) {
	s.t.Helper()
	e := s.example(message, example)
	answer := s.document.Components.Messages[message].Answers[example]
	if err := s.document.Validate(s.t, message, e.Payload); err != nil {
		s.t.Errorf("%s/%s: %v", message, example, err)
	}
	text, err := json.Marshal(e.Payload)
	var payload any
	if err == nil {
		err = json.Unmarshal(text, &payload)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	sent := s.actual(payload).(map[string]any)
	if message == "WsAuth" {
		sent["token"] = s.tokenOf(example)
	}
	s.write(sent)
	s.used[message+"/"+example] = true
	if len(answer.Frames) == 0 {
		s.t.Errorf("%s/%s has no answer", message, example)
	}
	for _, name := range answer.Frames {
		s.want(s.messageOf(name), name)
	}
}

// tokenOf returns the access token for an example of auth.
func (s *documentedSocket) tokenOf(example string) string {
	switch example {
	case "log_in":
		return strings.TrimPrefix(s.auth, "Bearer ")
	case "log_in_with_api_key":
		return s.post("/api/api-keys", `{"name":"Kiosk","role":"viewer"}`)["key"].(string)
	}
	const password = "a password of the examples"
	s.post("/api/users", fmt.Sprintf(
		`{"username":"other","email":"other@example.com","password":%q,"role":"viewer"}`, password))
	c, err := client.NewClientWithResponses("http://" + s.api)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := c.LoginWithResponse(s.t.Context(),
		client.LoginRequest{Username: "other", Password: password})
	if err != nil || res.JSON200 == nil {
		s.t.Fatalf("login: %v %s", err, body(res))
	}
	return res.JSON200.AccessToken
}

func (s *documentedSocket) write(message any) {
	s.t.Helper()
	if err := s.conn.WriteJSON(message); err != nil {
		s.t.Fatal(err)
	}
}

// messageOf returns the message of the server that has an example with this name.
func (d *documented) messageOf(example string) string {
	d.t.Helper()
	_, sent := d.document.Directions(false)
	for _, message := range slices.Sorted(maps.Keys(sent)) {
		for _, e := range d.document.Components.Messages[message].Examples {
			if e.Name == example {
				return message
			}
		}
	}
	d.t.Fatalf("no message has the example %s", example)
	return ""
}

// want reads until a frame equals an example of a message; without an example, until one has that
// type. Every frame must match its schema.
func (s *documentedSocket) want(message, example string) {
	s.t.Helper()
	if fault := s.await(message, example, 45*time.Second); fault != "" {
		s.t.Fatalf("%s %s: %s", message, example, fault)
	}
}

// await is want that returns why it fails within a time.
func (s *documentedSocket) await(message, example string, within time.Duration) (fault string) {
	s.t.Helper()
	deadline := time.After(within)
	var last string
	for {
		select {
		case frame, ok := <-s.frames:
			if !ok {
				return "the connection was closed; last: " + last
			}
			kind := s.validate(frame)
			if example == "" && kind == message {
				return ""
			}
			if s.document.Components.Messages[message].Name != kind {
				continue
			}
			if last = s.match(message, example, frame, vary[kind]...); last == "" {
				return ""
			}
			last += "; " + string(frame)
		case <-deadline:
			return "no such frame; last: " + last
		}
	}
}

// wantBatch writes readings of both sensors until they come in one frame: the writer of the
// connection may take the first of them before the second is there.
func (s *documentedSocket) wantBatch() {
	s.t.Helper()
	var fault string
	for i := range 20 {
		s.store(fmt.Sprintf(`{"gateway":"press-1","sensor":"t1","value":81.5,"timestamp":%d},`+
			`{"gateway":"press-1","sensor":"p1","value":6.5,"timestamp":%[1]d}`,
			1767330246000+1000*i))
		fault = s.await("WsSensorDataBatch", "sensor_data_batch", 2*time.Second)
		if fault == "" {
			return
		}
	}
	s.t.Fatalf("WsSensorDataBatch: %s", fault)
}

// validate validates a frame against the schema of its type, and returns the type.
func (s *documentedSocket) validate(frame []byte) string {
	s.t.Helper()
	var received map[string]any
	if err := json.Unmarshal(frame, &received); err != nil {
		s.t.Fatalf("%s: %v", frame, err)
	}
	_, sent := s.document.Directions(false)
	for message := range sent {
		if s.document.Components.Messages[message].Name == received["type"] {
			if err := s.document.Validate(s.t, message, received); err != nil {
				s.t.Errorf("%s does not match the schema of %s: %v", frame, message, err)
			}
			return received["type"].(string)
		}
	}
	s.t.Errorf("asyncapi.yaml has no message for %s", frame)
	return ""
}

// TestAsyncAPI_LiveExamplesAreAnsweredAsWritten sends every example over WebSocket and compares the
// answers, and causes every example of a message that the server sends by itself.
func TestAsyncAPI_LiveExamplesAreAnsweredAsWritten(t *testing.T) {
	t.Parallel()
	d := serveDocumented(t)
	d.post("/api/alarms", fmt.Sprintf(`{"sensor_id":%v,"rule":%s}`, d.ids["sensor_id 12"],
		alarmRule))
	d.store(`{"gateway":"press-1","sensor":"t1","value":22.5,"quality":"good",` +
		`"timestamp":"2026-01-02T04:04:05.678Z"}`)

	first := d.open(nil)
	for _, example := range []struct{ message, name string }{
		{"WsSubscribe", "before_login"},
		{"WsAuth", "log_in"},
		{"WsAuth", "another_user"},
		{"WsSubscribe", "readings"},
		{"WsSubscribe", "invalid"},
		{"WsSubscribe", "some_unknown"},
	} {
		first.play(example.message, example.name)
	}
	d.open(nil).play("WsAuth", "log_in_with_api_key")
	gateway, alarms := d.loggedIn(), d.loggedIn()
	gateway.play("WsSubscribe", "gateway")
	alarms.write(map[string]any{"type": "subscribe", "topics": []string{"alarms"}})
	alarms.want("subscribed", "")

	d.store(`{"gateway":"press-1","sensor":"t1","value":81.5,"quality":"good",` +
		`"timestamp":"2026-01-02T05:04:05.678Z"},{"gateway":"press-1","sensor":"p1","value":6.5,` +
		`"quality":"good","timestamp":"2026-01-02T05:04:05.678Z"}`)
	first.want("WsSensorData", "sensor_data")
	alarms.want("WsAlarm", "alarm")
	gateway.wantBatch()

	d.loggedIn().play("WsSubscribe", "alarms")
	d.loggedIn().play("WsSubscribe", "resume")
	d.loggedIn().play("WsSubscribe", "conflate")
	first.play("WsUnsubscribe", "sensor")
	mqtt := d.listen(d.press, "gateways/press-1/receipts")
	if _, err := mqtt.Publish(t.Context(), &paho.Publish{
		Topic:   "gateways/press-1/status",
		QoS:     1,
		Payload: []byte(`{"status":"offline"}`),
	}); err != nil {
		t.Fatal(err)
	}
	gateway.want("WsGatewayStatus", "gateway_status")
	d.overLimits()
	first.want("WsPing", "ping")
	d.lag()

	received, sent := d.document.Directions(false)
	d.wantAllUsed(received)
	d.wantAllUsed(sent)
}

// store writes readings by the API.
func (d *documented) store(readings string) {
	d.t.Helper()
	if got := d.post("/api/data", `{"readings":[`+readings+`]}`); got["rejected"] != 0.0 ||
		got["conflicts"] != 0.0 {
		d.t.Fatalf("writing readings: got %v", got)
	}
}

// overLimits subscribes to too many topics, and sends too many frames.
func (d *documented) overLimits() {
	d.t.Helper()
	topics := make([]string, 1000)
	for i := range topics {
		topics[i] = fmt.Sprintf("sensors?type=%d", i)
	}
	many := d.loggedIn()
	many.write(map[string]any{"type": "subscribe", "topics": topics})
	many.want("subscribed", "")
	many.write(map[string]any{"type": "subscribe", "topics": []string{"sensors?type=1000"}})
	many.want("WsError", "too_many_topics")

	fast := d.loggedIn()
	for range 115 { // fewer than 20 over the burst of 100, which would end the connection
		fast.write(map[string]any{"type": "unsubscribe", "topics": []string{"alarms"}})
	}
	fast.want("WsError", "rate_limited")
}

// lag writes more readings at once than wait for a client. It needs a server with a short queue.
func (d *documented) lag() {
	d.t.Helper()
	short := serveDocumented(d.t.(*testing.T), "OEI_PUSH_QUEUE_SIZE=1")
	short.used = d.used
	s := short.loggedIn()
	s.write(map[string]any{
		"type":   "subscribe",
		"topics": []string{fmt.Sprintf("gateways/%v", short.ids["gateway_id 3"])},
	})
	s.want("subscribed", "")
	var readings []string
	for i := range 2000 {
		readings = append(readings, fmt.Sprintf(
			`{"gateway":"press-1","sensor":"t1","value":%d,"timestamp":%d}`, i, 1767323045000+i))
	}
	short.store(strings.Join(readings, ","))
	s.want("WsLagged", "lagged")
}
