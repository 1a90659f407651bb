package notify_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/mosquitto"
	"github.com/oei-ms/oei-ms/internal/mqttsource"
	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/store"
)

func TestMQTT_PublishesEveryEventOnItsTopic(t *testing.T) {
	p, broker := newFixture(t), mosquitto.Start(t)
	cfg := mqttsource.DefaultConfig()
	cfg.Host, cfg.Port, cfg.ClientID = broker.Host(), broker.Port(), "oei-ms-test"
	source := mqttsource.New(cfg, func(context.Context, ingest.Message) error { return nil },
		slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { _ = source.Run(ctx) })

	received := make(chan *paho.Publish, 1000)
	u, _ := url.Parse("mqtt://" + broker.Addr())
	listener, err := autopaho.NewConnection(ctx,
		autopaho.ClientConfig{ServerUrls: []*url.URL{u}, ClientConfig: paho.ClientConfig{
			ClientID: "screen",
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){
				func(m paho.PublishReceived) (bool, error) {
					received <- m.Packet
					return true, nil
				},
			},
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { stop(); <-listener.Done() }()
	if err := listener.AwaitConnection(t.Context()); err != nil {
		t.Fatal(err)
	}
	subscription := &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: "alarms/press-1/#", QoS: 1}},
	}
	if _, err := listener.Subscribe(t.Context(), subscription); err != nil {
		t.Fatal(err)
	}
	p.route(store.Route{
		ChannelID:    p.channel(store.Channel{Kind: store.MQTT}).ID,
		GroupSeconds: 3600,
	})
	n := p.notifierWith(source.Publish)
	testutil.Eventually(t, testutil.Timeout, "the source is connected", func() bool {
		_, err := source.Check(t.Context())
		return err == nil
	})

	const events = 250 // more than one delivery holds
	p.raise(events, 1)
	p.step(n, noon)
	seen := map[int64]bool{}
	for range events {
		select {
		case m := <-received:
			var e struct {
				ID, Type, Alarm string
				Offset          int64
			}
			if err := json.Unmarshal(m.Payload, &e); err != nil || m.Topic != "alarms/press-1/t1" ||
				e.Alarm != "Oil too hot" || e.Type != "alarm.notification" || e.ID == "" ||
				seen[e.Offset] {
				t.Fatalf("got %s on %s, %v", m.Payload, m.Topic, err)
			}
			seen[e.Offset] = true
		case <-time.After(10 * time.Second):
			t.Fatalf("got %d events, want %d", len(seen), events)
		}
	}
	broker.Kill()
	p.raise(1, 1)
	p.step(n, noon.Add(time.Minute))
	ds := p.deliveries()
	if last := ds[len(ds)-1]; len(ds) != 4 || last.Status != "waiting" {
		t.Errorf("while the broker is away: got %d deliveries, the last %s %q", len(ds),
			last.Status, last.Detail)
	}
	broker.Run()
	if err := listener.AwaitConnection(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := noon.Add(time.Hour)
	testutil.Eventually(t, testutil.Timeout, "the event is sent again", func() bool {
		at = at.Add(time.Hour)
		p.step(n, at)
		ds := p.deliveries()
		return ds[len(ds)-1].Status == "delivered"
	})
}

func TestMQTT_WithoutBrokerFails(t *testing.T) {
	p := newFixture(t)
	d, err := p.notifier().TestChannel(t.Context(), p.channel(store.Channel{Kind: store.MQTT}).ID)
	if err != nil || d.Status != "failed" || d.Detail != "no MQTT broker is available" {
		t.Errorf("got %s %q, %v", d.Status, d.Detail, err)
	}
}
