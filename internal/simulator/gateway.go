package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
)

// resendAfter is how long a connected gateway waits for an acknowledgement before it publishes the
// message again.
const resendAfter = 2 * time.Minute

// gateway is one device. Each of its streams publishes on one topic, with one message in flight, so
// that the readings of a sensor arrive in order. A message that is not acknowledged is sent again;
// until then later readings of the stream wait. They need no memory: signals can be computed for
// any instant.
type gateway struct {
	key, name, secret string
	sensors           []sensor
	cfg               Config
	// index of its first stream, and number of streams of the plant: they are spread over the
	// interval
	first, all int
	count      *counters
	log        *slog.Logger

	conn *autopaho.ConnectionManager
	up   chan struct{}      // receives a value after each connection
	stop context.CancelFunc // ends the gateway

	mu sync.Mutex
	// ends when the broker has lost the session, and with it the messages in flight
	session context.Context
	forget  context.CancelFunc
	ups     int
	since   time.Time // of the connection
	brief   int       // number of successive short connections
	failure error     // that ended the gateway
}

// newGateway returns the gateway with this index, still without a secret.
func newGateway(cfg Config, index int, count *counters, log *slog.Logger) *gateway {
	streams := (cfg.Sensors + cfg.PerMessage - 1) / cfg.PerMessage
	key := fmt.Sprintf("%s-%02d", cfg.Prefix, index+1)
	return &gateway{
		key:     key,
		name:    fmt.Sprintf("Simulated machine %d", index+1),
		sensors: sensors(mix(cfg.Seed, int64(index)), cfg.Sensors),
		cfg:     cfg,
		first:   index * streams,
		all:     cfg.Gateways * streams,
		count:   count,
		log:     log.With("gateway", key),
		up:      make(chan struct{}, 1),
	}
}

// run publishes until ctx ends, then waits for pending acknowledgements, at most the Drain of the
// plant.
func (g *gateway) run(ctx context.Context) error {
	ctx, g.stop = context.WithCancel(ctx)
	defer g.stop()
	drain, drained := context.WithCancel(context.WithoutCancel(ctx)) // ends when the wait does
	defer drained()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(g.cfg.Drain, drained) })()
	g.session, g.forget = context.WithCancel(drain)

	options, err := g.options(drain)
	if err != nil {
		return err
	}
	if g.conn, err = autopaho.NewConnection(context.WithoutCancel(ctx), options); err != nil {
		return fmt.Errorf("gateway %s: %w", g.key, err)
	}
	var streams sync.WaitGroup
	number := g.first
	for chunk := range slices.Chunk(g.sensors, g.cfg.PerMessage) {
		offset := time.Duration(float64(g.cfg.Interval) * float64(number) / float64(g.all))
		streams.Go(func() { g.stream(ctx, drain, chunk, offset) })
		number++
	}
	ended := make(chan struct{})
	go func() { streams.Wait(); close(ended) }()
	g.announce(drain, ended)
	g.leave(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failure
}

// fail ends the gateway; run returns the first err given.
func (g *gateway) fail(err error) {
	g.mu.Lock()
	if g.failure == nil {
		g.failure = fmt.Errorf("gateway %s: %w", g.key, err)
	}
	g.mu.Unlock()
	g.stop()
}

func (g *gateway) options(drain context.Context) (autopaho.ClientConfig, error) {
	address, err := url.Parse(g.cfg.MQTT)
	if err != nil {
		return autopaho.ClientConfig{}, fmt.Errorf("MQTT address: %w", err)
	}
	backoff := autopaho.NewExponentialBackoff(200*time.Millisecond, 10*time.Second, time.Second,
		1.5)
	options := autopaho.ClientConfig{
		ServerUrls:            []*url.URL{address},
		KeepAlive:             30,
		SessionExpiryInterval: 3600,
		ConnectUsername:       g.key,
		ConnectPassword:       []byte(g.secret),
		WillMessage: &paho.WillMessage{
			Topic:   g.statusTopic(),
			Payload: []byte(`{"status":"offline"}`),
			QoS:     1,
		},
		ReconnectBackoff: func(attempt int) time.Duration {
			g.mu.Lock()
			defer g.mu.Unlock()
			// jitter: gateways reconnect at different moments
			return backoff(attempt+max(0, g.brief-2)) + rand.N(300*time.Millisecond)
		},
		OnConnectionUp: func(_ *autopaho.ConnectionManager, ack *paho.Connack) {
			g.connected(
				drain, ack.SessionPresent,
			)
		},
		OnConnectionDown: g.disconnected,
		OnConnectError:   g.noteError,
	}
	options.ClientID = g.key
	options.PacketTimeout = resendAfter
	options.OnClientError = g.noteError
	options.OnServerDisconnect = func(d *paho.Disconnect) {
		reason := fmt.Sprintf("the broker closed the connection: %s", reasonName(d.ReasonCode))
		if d.Properties != nil && d.Properties.ReasonString != "" {
			reason += " (" + d.Properties.ReasonString + ")"
		}
		g.noteError(errors.New(reason))
		if d.ReasonCode == sessionTakenOver {
			g.fail(errors.New("another client has connected with this client id; use " +
				"another prefix for this plant"))
		}
	}
	return options, nil
}

// connected is called after every connection. When the broker does not have the session, messages
// in flight are published again; otherwise paho has already sent them again.
func (g *gateway) connected(drain context.Context, known bool) {
	g.count.connected.Add(1)
	g.mu.Lock()
	g.ups++
	g.since = time.Now()
	if g.ups > 1 && !known {
		g.forget()
		g.session, g.forget = context.WithCancel(drain)
	}
	g.mu.Unlock()
	select {
	case g.up <- struct{}{}:
	default:
	}
}

// disconnected is called after every lost connection. When connections are short, the pause before
// the next one grows.
func (g *gateway) disconnected() (reconnect bool) {
	g.count.connected.Add(-1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.brief++
	if time.Since(g.since) > 5*time.Second {
		g.brief = 0
	}
	return true
}

// noteError records why the gateway is not connected.
func (g *gateway) noteError(err error) {
	g.count.lastError.Store(g.key + ": " + err.Error())
	g.log.Debug("gateway not connected", "error", err)
}

// stream publishes the given sensors at every interval until ctx ends.
func (g *gateway) stream(ctx, drain context.Context, sensors []sensor, offset time.Duration) {
	topic := "gateways/" + g.key + "/data"
	if g.cfg.PerMessage == 1 {
		topic = "sensors/" + g.key + "/" + sensors[0].key + "/data"
	}
	next := time.Now().Truncate(g.cfg.Interval).Add(g.cfg.Interval + offset)
	for pause(ctx, time.Until(next)) && g.conn.AwaitConnection(ctx) == nil {
		payload, err := g.payload(sensors, next)
		if err == nil {
			err = g.deliver(drain, topic, payload, len(sensors))
		}
		if err != nil {
			g.fail(err)
			return
		}
		next = next.Add(g.cfg.Interval)
	}
}

func (g *gateway) payload(sensors []sensor, at time.Time) ([]byte, error) {
	if g.cfg.PerMessage == 1 {
		return json.Marshal(sensors[0].at(at))
	}
	samples := make([]sample, len(sensors))
	for i, s := range sensors {
		samples[i] = s.at(at)
		samples[i].Sensor = s.key
	}
	return json.Marshal(samples)
}

// deliver publishes a message of n readings until it is acknowledged or rejected, or drain ends. An
// error means that the message can never be sent.
func (g *gateway) deliver(drain context.Context, topic string, payload []byte, n int) error {
	g.count.sent.Add(int64(n))
	for {
		resp, err := g.publish(topic, payload)
		switch {
		case resp != nil && resp.ReasonCode >= 0x80:
			text := ""
			if resp.Properties != nil {
				text = resp.Properties.ReasonString
			}
			g.count.reject(n, resp.ReasonCode, text)
			return nil
		case err == nil:
			g.count.acked.Add(int64(n))
			return nil
		case errors.Is(err, paho.ErrInvalidArguments):
			return fmt.Errorf("publish to %s: %w", topic, err)
		}
		if !pause(drain, 20*time.Millisecond) || g.conn.AwaitConnection(drain) != nil {
			return nil
		}
		g.count.repeated.Add(int64(n))
	}
}

func (g *gateway) publish(topic string, payload []byte) (*paho.PublishResponse, error) {
	g.mu.Lock()
	session := g.session
	g.mu.Unlock()
	return g.conn.Publish(session, &paho.Publish{Topic: topic, Payload: payload, QoS: 1})
}

// announce publishes that the gateway is online after every connection, until the streams have
// ended.
func (g *gateway) announce(drain context.Context, ended <-chan struct{}) {
	var announcements sync.WaitGroup
	defer announcements.Wait()
	for {
		select {
		case <-ended:
			return
		case <-g.up:
			announcements.Go(func() { g.publishOnline(drain) })
		}
	}
}

// publishOnline publishes that the gateway is online until it is acknowledged or rejected, or the
// connection is lost.
func (g *gateway) publishOnline(drain context.Context) {
	for pause(drain, 0) {
		resp, err := g.publish(g.statusTopic(), status("online"))
		if err == nil || resp != nil || errors.Is(err, autopaho.ConnectionDownError) {
			return
		}
	}
}

// leave publishes that the gateway is offline and disconnects.
func (g *gateway) leave(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	wait, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := g.conn.Publish(wait,
		&paho.Publish{Topic: g.statusTopic(), Payload: status("offline"), QoS: 1}); err != nil {
		g.log.DebugContext(ctx, "offline status not published", "error", err)
	}
	wait, cancel = context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := g.conn.Disconnect(wait); err != nil {
		g.log.DebugContext(ctx, "disconnect failed", "error", err)
	}
}

func (g *gateway) statusTopic() string { return "gateways/" + g.key + "/status" }

func status(word string) []byte {
	return fmt.Appendf(nil, `{"status":%q,"timestamp":%q}`, word,
		time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
}

// pause waits for d, and reports false when ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
	return ctx.Err() == nil
}
