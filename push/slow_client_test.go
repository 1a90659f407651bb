package push

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oei-ms/oei-ms/internal/testutil"
)

func TestSlowClient_ConflatesAndDoesNotDelayOthers(t *testing.T) {
	cfg := DefaultConfig()
	cfg.QueueSize = 256
	inBubble(t, cfg, func(t *testing.T, w *fixture) {
		const sensors, rounds = 10, 100
		slow, fast := w.subscribe("ann", "gateways/1"), w.subscribe("bob", "gateways/1")
		quick := fast.collect()

		begin := time.Now()
		for i := range sensors * rounds {
			w.hub.Publish([]Reading{reading(int64(i%sensors+1), 1, float64(i))})
			synctest.Wait() // the fast client has it
		}
		w.hub.PublishStatus(Status{GatewayID: 1, Status: "online", At: t0})
		w.hub.PublishStatus(Status{GatewayID: 1, Status: "offline", At: t0.Add(1)})
		if took := time.Since(begin); took != 0 {
			t.Errorf("publishing waited %v", took)
		}
		synctest.Wait()

		for i := range sensors * rounds {
			if got := values(t, <-quick); len(got) != 1 || got[0] != float64(i) {
				t.Fatalf("the fast client got %v as its frame %d", got, i)
			}
		}
		<-quick
		if got := <-quick; !strings.Contains(got, "offline") {
			t.Errorf("the fast client got %s, want every status", got)
		}

		late := slow.collect()
		time.Sleep(time.Second)
		inOrder := 0 // updates that had room: one in the writer, and the queue
		var frame string
		for frame = range late {
			if strings.HasPrefix(frame, `{"type":"lagged"`) {
				break
			}
			if got := values(t, frame); len(got) != 1 || got[0] != float64(inOrder) {
				t.Fatalf("the slow client got %s as its frame %d", frame, inOrder)
			}
			inOrder++
		}
		if inOrder != 1+cfg.QueueSize {
			t.Errorf("%d readings came in order, want %d", inOrder, 1+cfg.QueueSize)
		}
		dropped := sensors*rounds + 2 - inOrder - sensors - 1
		if want := fmt.Sprintf(`{"type":"lagged","dropped":%d}`, dropped); frame != want {
			t.Errorf("got %s, want %s", frame, want)
		}
		newest := make(map[float64]bool)
		status := ""
		for range sensors + 1 {
			frame := <-late
			if vs := values(t, frame); len(vs) == 1 {
				newest[vs[0]] = true
			} else {
				status = frame
			}
		}
		for i := sensors * (rounds - 1); i < sensors*rounds; i++ {
			if !newest[float64(i)] {
				t.Errorf("the newest reading %d is missing in %v", i, newest)
			}
		}
		if !strings.Contains(status, "offline") {
			t.Errorf("status %s, want the newest", status)
		}
		if got := w.metric("oei_ws_dropped_total", ""); got != float64(dropped) {
			t.Errorf("oei_ws_dropped_total = %v, want %v", got, dropped)
		}

		// the slow client queues again
		w.hub.Publish([]Reading{reading(1, 1, -1), reading(1, 1, -2)})
		if got := values(t, <-late, <-late); got[0] != -1 || got[1] != -2 {
			t.Errorf("after it had caught up the slow client got %v, want both readings", got)
		}
	})
}

// TestStorm has clients connect, change their topics, stall, be disconnected and leave while
// readings are published. It checks that no client gets a reading twice, out of order, or misses
// one without a lagged frame.
func TestStorm(t *testing.T) {
	cfg := DefaultConfig()
	cfg.QueueSize = 16
	cfg.FramesPerSecond, cfg.FrameBurst = 10_000, 10_000
	w := overTCP(t, cfg)

	stop := make(chan struct{})
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			rs := make([]Reading, 5)
			for j := range rs { // every sensor counts up by itself
				rs[j] = reading(int64(j+1), int64(j%2+1), float64(i))
				rs[j].Timestamp = t0.Add(time.Duration(i) * time.Millisecond)
			}
			w.hub.Publish(rs)
			if i%100 == 0 {
				w.hub.EndSession("s-cat")
				time.Sleep(time.Millisecond)
			}
		}
	})
	var clients sync.WaitGroup
	for n := range 24 {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(n)))
			for range 6 {
				useConnection(t, w, []string{"ann", "bob", "cat"}[n%3], r)
			}
		})
	}
	clients.Wait()
	close(stop)
	publisher.Wait()

	testutil.Eventually(t, testutil.Timeout, "all connections are closed",
		func() bool { return w.metric("websocket_connections_active", "") == 0 })
	w.hub.mu.RLock()
	defer w.hub.mu.RUnlock()
	if n := len(w.hub.conns) + len(w.hub.subscriptions) + len(w.hub.perOwner) +
		len(w.hub.perAddress); n != 0 {
		t.Errorf("after all clients have left the hub counts %d connections, topics, users or "+
			"addresses", n)
	}
}

// useConnection connects, reads some frames, changes topics and leaves.
func useConnection(t *testing.T, w *fixture, token string, r *rand.Rand) {
	c := w.connect(token, "sensors/1", "gateways/1", "gateways/2")
	defer c.ws.Close()
	// answers come first
	for _, kind := range []string{"authenticated", "subscribed"} {
		if frame, err := c.next(); err == nil && !strings.HasPrefix(frame, `{"type":"`+kind) {
			t.Errorf("got %s, want %s first", frame, kind)
		}
	}
	last := make(map[int64]float64) // of each sensor
	missing, dropped := 0.0, 0
	for n := range 50 + r.IntN(200) {
		frame, err := c.next()
		if err != nil {
			return // disconnected
		}
		var f struct {
			Type    string
			Dropped int
			Sensor  int64 `json:"sensor_id"`
			Data    struct{ Value float64 }
		}
		if err := json.Unmarshal([]byte(frame), &f); err != nil {
			t.Errorf("%s: %v", frame, err)
			return
		}
		dropped += f.Dropped
		if f.Type == "sensor_data" {
			was, known := last[f.Sensor]
			if known && f.Data.Value <= was {
				t.Errorf("sensor %d went from %v to %v", f.Sensor, was, f.Data.Value)
			}
			if known {
				missing += f.Data.Value - was - 1
			}
			last[f.Sensor] = f.Data.Value
		}
		if n%10 == 0 {
			c.send(`{"type":"subscribe","topics":["sensors/2","sensors/3"]}`)
			c.send(`{"type":"unsubscribe","topics":["sensors/2"]}`)
		}
		if r.IntN(50) == 0 {
			time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
		}
	}
	if missing > float64(dropped) {
		t.Errorf("%v readings are missing, lagged frames say %d", missing, dropped)
	}
}
