// Package relay passes live updates between the instances that share a database, by Redis pub/sub.
//
// A message may be lost: alarm events are read from the alarm log in any case, and clients that
// listen to readings are told when some may be missing. internal/app passes every committed update
// to the hub of its own instance and to the relay.
package relay

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/rueidis"

	"github.com/oei-ms/oei-ms/internal/redisx"
	"github.com/oei-ms/oei-ms/push"
)

const (
	baseChannel  = "oei:live"
	shards       = 8               // channels of a sharded relay
	queueSize    = 1024            // messages that wait for Redis; more are dropped
	maxBatch     = 128             // messages of one round trip
	redisTimeout = 2 * time.Second // for Redis to answer
	// minBackoff passes between two attempts to reach Redis, and up to as much again at random.
	minBackoff = 500 * time.Millisecond
)

// Relay publishes the updates of this instance to the others, and theirs to the hub of this one.
// A nil Relay does nothing: there is one instance only.
type Relay struct {
	hub      *push.Hub
	option   rueidis.ClientOption
	channels []string
	sharded  bool
	instance uint64 // random, to recognize the messages of this instance
	log      *slog.Logger
	queue    chan outgoing
	alarms   chan struct{} // has a token when the alarm log has grown

	sent, dropped, received prometheus.Counter
	connected               prometheus.Gauge
}

// outgoing is an encoded message and its channel.
type outgoing struct {
	channel string
	body    string
}

// New returns a relay for hub by the Redis at url: redis://host for one server,
// redis://host1?addr=host2 for a cluster, ?master_set=name for Sentinel. It does not connect yet.
func New(
	url string, sharded bool, hub *push.Hub, log *slog.Logger, reg prometheus.Registerer,
) (*Relay, error) {
	option, err := redisx.ParseURL(url)
	if err != nil {
		return nil, err
	}
	option.DisableRetry = true // so that listen notices the end of a subscription
	f := promauto.With(reg)
	r := &Relay{
		hub:      hub,
		option:   option,
		channels: []string{baseChannel},
		sharded:  sharded,
		instance: rand.Uint64(),
		log:      log,
		queue:    make(chan outgoing, queueSize),
		alarms:   make(chan struct{}, 1),
		sent: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_relay_sent_total",
			Help: "Messages to other instances that Redis accepted.",
		}),
		dropped: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_relay_dropped_total",
			Help: "Messages to other instances that were dropped because Redis was slow or away.",
		}),
		received: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_relay_received_total",
			Help: "Messages received from other instances.",
		}),
		connected: f.NewGauge(prometheus.GaugeOpts{
			Name: "oei_relay_connected",
			Help: "1 while the instance is subscribed to all messages of other instances.",
		}),
	}
	if sharded {
		r.channels = nil
		for i := range shards {
			r.channels = append(r.channels, baseChannel+":{"+strconv.Itoa(i)+"}")
		}
	}
	return r, nil
}

// Publish passes committed readings to the other instances. It never blocks.
func (r *Relay) Publish(rs []push.Reading) {
	for r != nil && len(rs) > 0 {
		n := min(len(rs), maxReadings)
		r.enqueue(rs[0].GatewayID, appendReadings(r.header(kindReadings), rs[:n]))
		rs = rs[n:]
	}
}

// PublishStatus passes a gateway's status to the other instances. It never blocks.
func (r *Relay) PublishStatus(s push.Status) {
	if r != nil {
		r.enqueue(s.GatewayID, appendStatus(r.header(kindStatus), s))
	}
}

// AlarmsChanged has the other instances read the alarm log. It never blocks; calls that wait for
// Redis are merged into one message.
func (r *Relay) AlarmsChanged() {
	if r == nil {
		return
	}
	select {
	case r.alarms <- struct{}{}:
	default:
	}
}

func (r *Relay) header(kind byte) []byte {
	return appendHeader(make([]byte, 0, 64), kind, r.instance)
}

// enqueue has a message about a gateway published soon. It drops the message when too many wait,
// so that a commit never waits for Redis.
func (r *Relay) enqueue(gateway int64, body []byte) {
	channel := r.channels[gateway%int64(len(r.channels))]
	select {
	case r.queue <- outgoing{channel, rueidis.BinaryString(body)}:
	default:
		r.dropped.Inc()
	}
}

// Run passes messages both ways until ctx ends, and then returns nil.
func (r *Relay) Run(ctx context.Context) error {
	client := r.connect(ctx)
	if client == nil {
		return nil
	}
	defer client.Close()
	state := &subscriptions{relay: r, active: make(map[string]bool)}
	var loops sync.WaitGroup
	for _, channel := range r.channels {
		loops.Go(func() { r.listen(ctx, client, channel, state) })
	}
	r.publish(ctx, client)
	loops.Wait()
	return nil
}

// connect tries until Redis answers; it returns nil when ctx ends first.
func (r *Relay) connect(ctx context.Context) rueidis.Client {
	for failing := false; ; failing = true {
		client, err := rueidis.NewClient(r.option)
		if err == nil {
			return client
		}
		if !failing {
			r.log.WarnContext(ctx, "relay cannot connect, retrying", "error", err)
		}
		r.discard()
		if !backoff(ctx) {
			return nil
		}
	}
}

// discard drops all messages that wait: they would be old when Redis answers again.
func (r *Relay) discard() {
	for {
		select {
		case <-r.queue:
			r.dropped.Inc()
		default:
			return
		}
	}
}

// backoff waits before the next attempt and reports whether to make it.
func backoff(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(minBackoff + rand.N(minBackoff)):
		return true
	}
}

// publish sends messages that wait, up to maxBatch in one round trip, until ctx ends.
func (r *Relay) publish(ctx context.Context, client rueidis.Client) {
	for failing := false; ; {
		var cmds rueidis.Commands
		select {
		case <-ctx.Done():
			return
		case <-r.alarms:
			hint := outgoing{r.channels[0], rueidis.BinaryString(r.header(kindAlarms))}
			cmds = append(cmds, r.command(client, hint))
		case m := <-r.queue:
			cmds = append(cmds, r.command(client, m))
		}
		for more := true; more && len(cmds) < maxBatch; {
			select {
			case m := <-r.queue:
				cmds = append(cmds, r.command(client, m))
			default:
				more = false
			}
		}
		err := r.send(ctx, client, cmds)
		if err != nil && !failing && ctx.Err() == nil {
			r.log.WarnContext(ctx, "relay cannot publish, retrying", "error", err)
		}
		if failing = err != nil; failing {
			r.discard()
			if !backoff(ctx) {
				return
			}
		}
	}
}

// send makes one round trip and returns the last error of its commands.
func (r *Relay) send(
	ctx context.Context, client rueidis.Client, cmds rueidis.Commands,
) (err error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	for _, res := range client.DoMulti(ctx, cmds...) {
		if res.Error() != nil {
			err = res.Error()
			r.dropped.Inc()
		} else {
			r.sent.Inc()
		}
	}
	return err
}

func (r *Relay) command(client rueidis.Client, m outgoing) rueidis.Completed {
	if r.sharded {
		return client.B().Spublish().Channel(m.channel).Message(m.body).Build()
	}
	return client.B().Publish().Channel(m.channel).Message(m.body).Build()
}

// listen receives the messages of one channel until ctx ends. It subscribes again when a
// subscription ends.
func (r *Relay) listen(
	ctx context.Context, client rueidis.Client, channel string, state *subscriptions,
) {
	hooked := rueidis.WithOnSubscriptionHook(ctx, func(s rueidis.PubSubSubscription) {
		if s.Kind == "subscribe" || s.Kind == "ssubscribe" {
			state.begin(ctx, channel)
		}
	})
	for {
		subscribe := client.B().Subscribe().Channel(channel).Build()
		if r.sharded {
			subscribe = client.B().Ssubscribe().Channel(channel).Build()
		}
		err := client.Receive(hooked, subscribe,
			func(m rueidis.PubSubMessage) { r.receive(ctx, m.Message) })
		if ctx.Err() != nil || errors.Is(err, rueidis.ErrClosing) {
			return
		}
		state.end(ctx, channel, err)
		if !backoff(ctx) {
			return
		}
	}
}

func (r *Relay) receive(ctx context.Context, body string) {
	m, err := parseMessage([]byte(body))
	switch {
	case err != nil:
		r.log.WarnContext(ctx, "relay received an unknown message", "error", err,
			"hint", "run the same version on all instances")
		return
	case m.instance == r.instance:
		return
	}
	r.received.Inc()
	switch m.kind {
	case kindReadings:
		r.hub.Publish(m.readings)
	case kindStatus:
		r.hub.PublishStatus(m.status)
	case kindAlarms:
		r.hub.ReadAlarms()
	}
}

// subscriptions knows which channels are subscribed to. When a subscription begins again it has the
// hub make up for what was missed.
type subscriptions struct {
	relay *Relay

	mu     sync.Mutex
	active map[string]bool // by channel; absent until the first subscription
}

func (s *subscriptions) begin(ctx context.Context, channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	active, again := s.active[channel]
	if active {
		return
	}
	s.active[channel] = true
	s.updateGauge()
	s.relay.hub.ReadAlarms()
	if again {
		s.relay.log.InfoContext(ctx, "relay subscribed again", "channel", channel)
		s.relay.hub.ReadingsMissed()
	}
}

func (s *subscriptions) end(ctx context.Context, channel string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active[channel] {
		s.relay.log.WarnContext(ctx, "relay lost its subscription, retrying", "channel", channel,
			"error", err)
		s.active[channel] = false
	}
	s.updateGauge()
}

func (s *subscriptions) updateGauge() {
	all := len(s.active) == len(s.relay.channels)
	for _, active := range s.active {
		all = all && active
	}
	s.relay.connected.Set(0)
	if all {
		s.relay.connected.Set(1)
	}
}
