package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/push"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// reading returns a reading of gateway 1 with the value n, n seconds after t0.
func reading(sensor, n int64) push.Reading {
	return push.Reading{
		SensorID:  sensor,
		GatewayID: 1,
		Timestamp: t0.Add(time.Duration(n) * time.Second),
		Value:     float64(n),
		Quality:   "good",
	}
}

// alarmTable is the alarm log that all instances read.
type alarmTable struct {
	mu     sync.Mutex
	events []push.AlarmEvent
}

func (a *alarmTable) add(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for range n {
		offset := int64(len(a.events)) + 1
		a.events = append(a.events, push.AlarmEvent{
			Offset:   offset,
			Severity: "major",
			JSON:     fmt.Appendf(nil, `{"n":%d}`, offset),
		})
	}
}

func (a *alarmTable) log() *push.AlarmSource {
	return &push.AlarmSource{
		Events: func(
			_ context.Context, after int64, limit int,
		) (string, []push.AlarmEvent, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			page := a.events[min(after, int64(len(a.events))):]
			return "e", append([]push.AlarmEvent(nil), page[:min(limit, len(page))]...), nil
		},
		Active: func(context.Context) (string, int64, []push.ActiveAlarm, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			return "e", int64(len(a.events)), nil, nil
		},
	}
}

// instance is a hub and a relay as a running program has them.
type instance struct {
	t     testing.TB
	hub   *push.Hub
	relay *Relay
	url   string
}

func startInstance(t testing.TB, url string, sharded bool, table *alarmTable) *instance {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	hub := push.New(push.DefaultConfig(), push.Deps{
		Auth: push.Auth{
			Check: func(context.Context, push.Identity) error { return nil },
		},
		Alarms: table.log(),
	}, log, nil)
	relay, err := New(url, sharded, hub, log, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = hub.Run(ctx) })
	running.Go(func() { _ = relay.Run(ctx) })
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := &push.Identity{UserID: 1, SessionID: "s", Expires: time.Now().Add(time.Hour)}
		_ = hub.Serve(w, r, id, r.URL.Query()["topic"])
	}))
	t.Cleanup(func() { stop(); running.Wait(); srv.Close() })
	return &instance{
		t:     t,
		hub:   hub,
		relay: relay,
		url:   "ws" + strings.TrimPrefix(srv.URL, "http"),
	}
}

func (in *instance) publish(rs ...push.Reading) {
	in.hub.Publish(rs)
	in.relay.Publish(rs)
}

func (in *instance) publishStatus(s push.Status) {
	in.hub.PublishStatus(s)
	in.relay.PublishStatus(s)
}

func (in *instance) alarmsChanged() {
	in.hub.ReadAlarms()
	in.relay.AlarmsChanged()
}

// connected reports whether the instance receives the messages of the others.
func (in *instance) connected() bool {
	var m dto.Metric
	if err := in.relay.connected.Write(&m); err != nil {
		in.t.Fatal(err)
	}
	return m.GetGauge().GetValue() == 1
}

func (in *instance) awaitConnected() {
	in.t.Helper()
	testutil.Eventually(in.t, testutil.Timeout, "the instance is subscribed",
		in.connected)
}

// subscribe returns the text frames that a client of the topics gets; its first two, authenticated
// and subscribed, have been read.
func (in *instance) subscribe(topics ...string) <-chan string {
	in.t.Helper()
	url := in.url + "/?topic=" + strings.Join(topics, "&topic=")
	ws, _, err := websocket.DefaultDialer.DialContext(in.t.Context(), url, nil)
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(func() { ws.Close() })
	frames := make(chan string, 1<<16)
	go func() {
		defer close(frames)
		for {
			_, frame, err := ws.ReadMessage()
			if err != nil {
				return
			}
			frames <- string(frame)
		}
	}()
	for _, kind := range []string{"authenticated", "subscribed"} {
		if frame := next(in.t, frames); !strings.Contains(frame, `"type":"`+kind+`"`) {
			in.t.Fatalf("got %s, want %s", frame, kind)
		}
	}
	return frames
}

func next(t testing.TB, frames <-chan string) string {
	t.Helper()
	select {
	case frame := <-frames:
		return frame
	case <-time.After(20 * time.Second):
		t.Fatal("no frame within 20 s")
		return ""
	}
}

// value returns the value of a sensor_data frame.
func value(frame string) (v float64, ok bool) {
	var f struct {
		Type string
		Data struct{ Value float64 }
	}
	err := json.Unmarshal([]byte(frame), &f)
	return f.Data.Value, err == nil && f.Type == "sensor_data"
}
