package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/oei-ms/oei-ms/internal/mosquitto"
	"github.com/oei-ms/oei-ms/internal/testutil"
)

func testConfig(b *mosquitto.Broker) Config {
	cfg := DefaultConfig()
	cfg.MQTT = "mqtt://" + b.Addr()
	cfg.Gateways, cfg.Sensors, cfg.Interval = 3, 5, 10*time.Millisecond
	return cfg
}

// begin lets the plant's gateways publish without registering them. The function returned stops
// them and gives their errors.
func begin(t *testing.T, cfg Config) (gateways []*gateway, count *counters, stop func() []error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	count = newCounters(cfg.Gateways)
	errs := make([]error, cfg.Gateways)
	var group sync.WaitGroup
	for i := range cfg.Gateways {
		g := newGateway(cfg, i, count, slog.New(slog.DiscardHandler))
		g.secret = "none"
		gateways = append(gateways, g)
		group.Go(func() { errs[i] = g.run(ctx) })
	}
	stop = sync.OnceValue(func() []error { cancel(); group.Wait(); return errs })
	t.Cleanup(func() { stop() })
	return gateways, count, stop
}

// listener gathers what the broker sends on: the distinct readings, and the last status of each
// gateway.
type listener struct {
	mu       sync.Mutex
	readings map[string]sample // by gateway/sensor@timestamp
	statuses map[string]string
	topics   map[string]bool
}

func listen(t *testing.T, b *mosquitto.Broker) *listener {
	t.Helper()
	l := &listener{
		readings: map[string]sample{},
		statuses: map[string]string{},
		topics:   map[string]bool{},
	}
	options := autopaho.ClientConfig{
		ServerUrls: []*url.URL{{Scheme: "mqtt", Host: b.Addr()}},
		KeepAlive:  30,
	}
	options.ClientID = "listener"
	type onPublish = func(paho.PublishReceived) (bool, error)
	options.OnPublishReceived = []onPublish{func(p paho.PublishReceived) (bool, error) {
		return true, l.take(p.Packet)
	}}
	conn, err := autopaho.NewConnection(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Disconnect(context.Background()) })
	if err := conn.AwaitConnection(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Subscribe(t.Context(),
		&paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "#", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *listener) take(p *paho.Publish) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics[p.Topic] = true
	parts := strings.Split(p.Topic, "/")
	if parts[2] == "status" {
		var s struct{ Status string }
		err := json.Unmarshal(p.Payload, &s)
		l.statuses[parts[1]] = s.Status
		return err
	}
	samples := make([]sample, 1)
	if err := json.Unmarshal(p.Payload, &samples); err != nil {
		if err := json.Unmarshal(p.Payload, &samples[0]); err != nil {
			return err
		}
		samples[0].Sensor = parts[2]
	}
	for _, s := range samples {
		l.readings[fmt.Sprintf("%s/%s@%s", parts[1], s.Sensor, s.Timestamp)] = s
	}
	return nil
}

func (l *listener) count() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.readings))
}

func (l *listener) all(status string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.statuses {
		if s != status {
			return false
		}
	}
	return true
}

func TestRun_DeliversEveryReading(t *testing.T) {
	tests := map[string]struct {
		perMessage int
		topic      string
	}{
		"each under its sensor's own topic":     {1, "sensors/plant-02/pressure-1/data"},
		"several sensors in one message":        {3, "gateways/plant-02/data"},
		"all sensors of a gateway in a message": {100, "gateways/plant-02/data"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := mosquitto.Start(t)
			heard := listen(t, b)
			cfg := testConfig(b)
			cfg.PerMessage = test.perMessage
			_, count, stop := begin(t, cfg)
			testutil.Eventually(t, testutil.Timeout, "500 readings are acked",
				func() bool { return count.acked.Load() >= 500 })
			for _, err := range stop() {
				if err != nil {
					t.Errorf("got %v, want none", err)
				}
			}
			if sent, acked := count.sent.Load(), count.acked.Load(); sent != acked {
				t.Errorf("got %d sent and %d acked, want the same", sent, acked)
			}
			testutil.Eventually(t, testutil.Timeout, "all have arrived",
				func() bool { return heard.count() >= count.sent.Load() })
			testutil.Eventually(t, testutil.Timeout, "every gateway says it is offline",
				func() bool { return heard.all("offline") })
			if got, want := heard.count(), count.sent.Load(); got != want {
				t.Errorf("got %d readings, want the %d sent", got, want)
			}
			heard.mu.Lock()
			defer heard.mu.Unlock()
			if !heard.topics[test.topic] {
				t.Errorf("nothing came under %s, got %v", test.topic, heard.topics)
			}
		})
	}
}

func TestRun_LosesNothingWhenAConnectionBreaks(t *testing.T) {
	b := mosquitto.Start(t)
	heard := listen(t, b)
	gateways, count, stop := begin(t, testConfig(b))
	testutil.Eventually(t, testutil.Timeout, "readings are acked",
		func() bool { return count.acked.Load() >= 100 })
	for range 6 {
		for _, g := range gateways {
			g.conn.TerminateConnectionForTest()
		}
		acked := count.acked.Load()
		testutil.Eventually(t, testutil.Timeout, "readings are acked again",
			func() bool { return count.acked.Load() >= acked+15 })
	}
	stop()
	if sent, acked := count.sent.Load(), count.acked.Load(); sent != acked {
		t.Errorf("got %d sent and %d acked, want the same", sent, acked)
	}
	testutil.Eventually(t, testutil.Timeout, "all have arrived",
		func() bool { return heard.count() >= count.sent.Load() })
}

func TestRun_PublishesAgainWhenTheBrokerLosesItsSessions(t *testing.T) {
	b := mosquitto.Start(t)
	_, count, stop := begin(t, testConfig(b))
	for range 3 {
		acked := count.acked.Load()
		testutil.Eventually(t, testutil.Timeout, "readings are acked",
			func() bool { return count.acked.Load() >= acked+200 })
		b.Kill()
		time.Sleep(100 * time.Millisecond)
		b.Run()
	}
	acked := count.acked.Load()
	testutil.Eventually(t, testutil.Timeout, "readings are acked again",
		func() bool { return count.acked.Load() >= acked+200 })
	stop()
	if sent, acked := count.sent.Load(), count.acked.Load(); sent != acked {
		t.Errorf("got %d sent and %d acked, want the same", sent, acked)
	}
}

func TestRun_HasAReadingOfEveryIntervalAfterAnOutage(t *testing.T) {
	b := mosquitto.Start(t)
	heard := listen(t, b)
	cfg := testConfig(b)
	cfg.Gateways, cfg.Sensors = 1, 1
	gateways, count, stop := begin(t, cfg)
	testutil.Eventually(t, testutil.Timeout, "readings are acked",
		func() bool { return count.acked.Load() > 0 })
	for range 4 {
		testutil.Eventually(t, testutil.Timeout, "a connection",
			func() bool { return count.connected.Load() == 1 })
		gateways[0].conn.TerminateConnectionForTest()
		time.Sleep(50 * time.Millisecond)
	}
	acked := count.acked.Load()
	testutil.Eventually(t, testutil.Timeout, "readings are acked again",
		func() bool { return count.acked.Load() >= acked+50 })
	stop()
	testutil.Eventually(t, testutil.Timeout, "all have arrived",
		func() bool { return heard.count() >= count.sent.Load() })
	heard.mu.Lock()
	defer heard.mu.Unlock()
	first, last := time.Time{}, time.Time{}
	for _, s := range heard.readings {
		at, err := time.Parse(time.RFC3339Nano, s.Timestamp)
		if err != nil {
			t.Fatal(err)
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	if got, want := len(heard.readings), int(last.Sub(first)/cfg.Interval)+1; got != want {
		t.Errorf("got %d readings in %v, want %d", got, last.Sub(first), want)
	}
}

// welcome lets everybody in.
type welcome struct{ mochi.HookBase }

func (*welcome) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (*welcome) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (*welcome) OnACLCheck(*mochi.Client, string, bool) bool              { return true }

func TestRun_EndsWhenAnotherPlantUsesItsPrefix(t *testing.T) {
	broker := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := broker.AddHook(new(welcome), nil); err != nil {
		t.Fatal(err)
	}
	tcp := listeners.NewTCP(listeners.Config{ID: "tcp", Address: "127.0.0.1:0"})
	if err := broker.AddListener(tcp); err != nil {
		t.Fatal(err)
	}
	if err := broker.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	cfg := DefaultConfig()
	cfg.MQTT, cfg.Gateways = "mqtt://"+tcp.Address(), 1
	cfg.Interval, cfg.Drain = 10*time.Millisecond, 100*time.Millisecond

	_, first, stopFirst := begin(t, cfg)
	testutil.Eventually(t, testutil.Timeout, "the first publishes",
		func() bool { return first.acked.Load() > 0 })
	_, second, _ := begin(t, cfg)
	testutil.Eventually(t, testutil.Timeout, "the second publishes",
		func() bool { return second.acked.Load() > 50 })
	if err := stopFirst()[0]; err == nil || !strings.Contains(err.Error(), "another prefix") {
		t.Errorf("got error %v, want one that says to take another prefix", err)
	}
}
