package mqttsource_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/mosquitto"
	"github.com/oei-ms/oei-ms/internal/mqttsource"
	"github.com/oei-ms/oei-ms/internal/testutil"
)

// inbox collects the messages that a source submits. It acknowledges nothing by itself.
type inbox struct {
	t        *testing.T
	messages chan ingest.Message
	source   *mqttsource.Source
	stop     func() // stops the source and waits for it
}

func sourceConfig(b *mosquitto.Broker, id string) mqttsource.Config {
	cfg := mqttsource.DefaultConfig()
	cfg.Host, cfg.Port, cfg.ClientID, cfg.ShareGroup = b.Host(), b.Port(), id, "oei-ms-test"
	return cfg
}

// receive runs a source that calls submit, and waits until it is subscribed. A nil submit adds
// to the inbox.
func receive(
	t *testing.T, cfg mqttsource.Config, submit func(context.Context, ingest.Message) error,
) *inbox {
	t.Helper()
	in := &inbox{t: t, messages: make(chan ingest.Message, 10_000)}
	if submit == nil {
		submit = func(_ context.Context, m ingest.Message) error { in.messages <- m; return nil }
	}
	in.source = mqttsource.New(cfg, submit, discard, prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.source.Run(ctx) }()
	in.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("source: %v", err)
		}
	})
	t.Cleanup(in.stop)
	in.connected()
	return in
}

func (in *inbox) connected() {
	in.t.Helper()
	testutil.Eventually(in.t, testutil.Timeout, "the source is subscribed",
		func() bool { _, err := in.source.Check(in.t.Context()); return err == nil })
}

// next returns the next n messages.
func (in *inbox) next(n int) []ingest.Message {
	in.t.Helper()
	var ms []ingest.Message
	for len(ms) < n {
		select {
		case m := <-in.messages:
			ms = append(ms, m)
		case <-time.After(limit):
			in.t.Fatalf("got %d messages, want %d", len(ms), n)
		}
	}
	return ms
}

func payloads(ms []ingest.Message) string {
	var out []string
	for _, m := range ms {
		out = append(out, string(m.Payload))
	}
	return strings.Join(out, " ")
}

func numbers(from, to int) string {
	var out []string
	for n := from; n < to; n++ {
		out = append(out, fmt.Sprint(n))
	}
	return strings.Join(out, " ")
}

// publisher connects a client to the broker; the function publishes and returns when the broker has
// acknowledged.
func publisher(t *testing.T, b *mosquitto.Broker) func(qos byte, topic, payload string) {
	t.Helper()
	conn, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c := paho.NewClient(paho.ClientConfig{Conn: conn})
	if _, err := c.Connect(t.Context(),
		&paho.Connect{ClientID: "publisher", CleanStart: true, KeepAlive: 30}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}); <-c.Done() })
	return func(qos byte, topic, payload string) {
		t.Helper()
		if _, err := c.Publish(t.Context(),
			&paho.Publish{QoS: qos, Topic: topic, Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSource_LeavesTheFormerShareGroup(t *testing.T) {
	b := mosquitto.Start(t)
	cfg := sourceConfig(b, "one")
	cfg.ShareGroup = "oei-ms"
	former := receive(t, cfg, nil)
	former.stop()
	publish := publisher(t, b)
	for n := range 10 { // while the source is away
		publish(1, topic, fmt.Sprint(n))
	}
	now := receive(t, sourceConfig(b, "one"), nil)
	for n := 10; n < 20; n++ {
		publish(1, topic, fmt.Sprint(n))
	}
	if got := payloads(now.next(20)); got != numbers(0, 20) {
		t.Errorf("got %s, want each once", got)
	}
}

func TestSource_AcknowledgesInOrderWhatIsDone(t *testing.T) {
	b := mosquitto.Start(t)
	cfg := sourceConfig(b, "one")
	first := receive(t, cfg, nil)
	publish := publisher(t, b)
	for n := range 20 {
		publish(1, topic, fmt.Sprint(n))
	}
	ms := first.next(20)
	if got := payloads(ms); got != numbers(0, 20) || ms[0].Topic != topic || ms[0].Gateway != "" ||
		ms[0].Received.IsZero() {
		t.Errorf("got %s, %+v", got, ms[0])
	}
	for _, m := range ms[:5] {
		m.Done(ingest.Receipt{})
	}
	ms[7].Done(ingest.Receipt{Code: 0x99}) // must wait for the ones before it
	first.stop()
	publish(1, topic, "20") // while the source is away

	second := receive(t, cfg, nil)
	ms = second.next(16)
	if got := payloads(ms); got != numbers(5, 21) {
		t.Errorf("after 5 were done: got %s, want %s", got, numbers(5, 21))
	}
	for _, i := range []int{3, 0, 2, 1} {
		ms[i].Done(ingest.Receipt{})
	}
	for _, m := range ms[4:] {
		m.Done(ingest.Receipt{})
	}
	second.stop()

	third := receive(t, cfg, nil)
	publish(1, topic, "last")
	if got := payloads(third.next(1)); got != "last" {
		t.Errorf("after all were done: got %s", got)
	}
}

func TestSource_ReconnectsAfterTheBrokerWasAway(t *testing.T) {
	b := mosquitto.Start(t)
	in := receive(t, sourceConfig(b, "one"), nil)
	publish := publisher(t, b)
	publish(1, topic, "0")
	held := in.next(1)[0]
	b.Stop()
	testutil.Eventually(t, testutil.Timeout, "the source reports the lost connection",
		func() bool { _, err := in.source.Check(t.Context()); return err != nil })
	held.Done(ingest.Receipt{}) // cannot be sent
	b.Run()
	in.connected()
	publish = publisher(t, b)
	publish(1, topic, "1")
	ms := in.next(2)
	if got := payloads(ms); got != "0 1" {
		t.Errorf("got %s, want the unacknowledged one and the new one", got)
	}
	held.Done(ingest.Receipt{}) // of the lost connection: must not affect the new one
	for _, m := range ms {
		m.Done(ingest.Receipt{})
	}
	in.stop()
	in = receive(t, sourceConfig(b, "one"), nil)
	publish(1, topic, "2")
	if got := payloads(in.next(1)); got != "2" {
		t.Errorf("got %s", got)
	}
}

// TestSource_DoesNotStallWithAFullQueue blocks submit while the broker is restarted several times
// and sends messages of QoS 0.
func TestSource_DoesNotStallWithAFullQueue(t *testing.T) {
	b := mosquitto.Start(t)
	cfg := sourceConfig(b, "one")
	cfg.ReceiveMaximum = 5
	open := make(chan struct{})
	var mu sync.Mutex
	var seen []string
	submit := func(ctx context.Context, m ingest.Message) error {
		select {
		case <-open:
		case <-ctx.Done():
			return ctx.Err()
		}
		mu.Lock()
		if !slices.Contains(seen, string(m.Payload)) {
			seen = append(seen, string(m.Payload))
		}
		mu.Unlock()
		m.Done(ingest.Receipt{})
		return nil
	}
	in := receive(t, cfg, submit)
	publish := publisher(t, b)
	for n := range 40 {
		publish(1, topic, fmt.Sprint(n))
	}
	for range 4 {
		for n := range 50 {
			publish(0, topic, fmt.Sprint("loose", n))
		}
		b.Stop()
		testutil.Eventually(t, testutil.Timeout, "the source reports the lost connection",
			func() bool { _, err := in.source.Check(t.Context()); return err != nil })
		b.Run()
		in.connected()
		publish = publisher(t, b)
	}
	for n := range 20 {
		publish(0, topic, fmt.Sprint("loose", n))
		publish(1, topic, fmt.Sprint(40+n))
	}
	close(open)
	testutil.Eventually(t, testutil.Timeout, "every message of QoS 1 arrived", func() bool {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for _, s := range seen {
			if !strings.HasPrefix(s, "loose") {
				n++
			}
		}
		return n == 60
	})
}

func TestSource_SharesMessagesBetweenInstances(t *testing.T) {
	b := mosquitto.Start(t)
	pipeline, db := newPipeline(t)
	var mu sync.Mutex
	submitted := map[string]int{}
	for _, id := range []string{"one", "two"} {
		receive(t, sourceConfig(b, id), func(ctx context.Context, m ingest.Message) error {
			mu.Lock()
			submitted[id]++
			mu.Unlock()
			return pipeline.Submit(ctx, m)
		})
	}
	publish := publisher(t, b)
	const n = 200
	for i := range n {
		publish(1, topic, reading(i))
	}
	count(t, db, `SELECT count(*) FROM sensor_data`, n)
	mu.Lock()
	defer mu.Unlock()
	if submitted["one"]+submitted["two"] != n || submitted["one"] == 0 || submitted["two"] == 0 {
		t.Errorf("got %v, want %d shared by both", submitted, n)
	}
}

func TestSource_InvalidMessagesDoNotFillTheInFlightWindow(t *testing.T) {
	b := mosquitto.Start(t)
	pipeline, db := newPipeline(t)
	cfg := sourceConfig(b, "one")
	cfg.ReceiveMaximum = 5
	receive(t, cfg, pipeline.Submit)
	publish := publisher(t, b)
	for n := range 50 {
		publish(1, topic, "invalid")
		publish(1, "sensors/unknown/t1/data", reading(n))
		publish(1, "gateways/g1/status", `{"status":"?"}`)
		publish(1, topic, reading(n))
	}
	count(t, db, `SELECT count(*) FROM sensor_data`, 50)
	count(t, db, `SELECT coalesce(sum(count), 0) FROM rejections`, 150)
}

func TestSource_CheckFailsWithoutABroker(t *testing.T) {
	b := mosquitto.Start(t)
	b.Stop()
	cfg := sourceConfig(b, "")
	source := mqttsource.New(cfg, nil, discard, prometheus.NewRegistry())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := source.Run(ctx); err != nil {
		t.Errorf("run: %v", err)
	}
	if _, err := source.Check(t.Context()); err == nil || !strings.Contains(err.Error(), b.Addr()) {
		t.Errorf("check: got %v", err)
	}
}
