package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/rueidis"
)

const (
	relayChannel = "oei:live"
	relayShards  = 8 // channels of a sharded relay
	// messages that wait for Redis; those that find no room are dropped
	relayWaiting = 1024
	relayAtOnce  = 128             // messages in one round trip
	relayWithin  = 2 * time.Second // for Redis to answer
	// between attempts to reach it, and as much again at random
	relayPause = 500 * time.Millisecond
)

// Relay tells other instances what this one has committed, and this one's hub what they have, by
// Redis pub/sub. It is a hint that may be lost: alarm events are read from the log in any case, and
// who listens to readings is told when some may be missing.
type Relay struct {
	option   rueidis.ClientOption
	channels []string
	sharded  bool
	self     uint64 // of this instance, to know its own messages by
	log      *slog.Logger
	out      chan relayed
	hint     chan struct{} // has a token when an alarm hint waits

	sent, dropped, received prometheus.Counter
	connected               prometheus.Gauge
}

// relayed is one encoded message and its channel.
type relayed struct {
	channel string
	body    string
}

// NewRelay returns a relay by the Redis at url: one server, redis://host1?addr=host2 for a cluster,
// ?master_set=name for Sentinel. It does not connect yet.
func NewRelay(
	url string, sharded bool, log *slog.Logger, reg prometheus.Registerer,
) (*Relay, error) {
	option, err := rueidis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	option.Dialer.Timeout = relayWithin
	option.ConnWriteTimeout = relayWithin
	option.DisableCache = true
	option.DisableRetry = true // so that a subscription that ended is seen to have
	f := promauto.With(reg)
	r := &Relay{
		option:   option,
		sharded:  sharded,
		self:     rand.Uint64(),
		log:      log,
		channels: []string{relayChannel},
		out:      make(chan relayed, relayWaiting), hint: make(chan struct{}, 1),
		sent: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_relay_sent_total",
			Help: "Messages to other instances that Redis took.",
		}),
		dropped: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_relay_dropped_total",
			Help: "Messages to other instances that Redis did not take in time.",
		}),
		received: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_relay_received_total",
			Help: "Messages of other instances.",
		}),
		connected: f.NewGauge(prometheus.GaugeOpts{
			Name: "oei_relay_connected",
			Help: "1 while all that other instances say is heard.",
		}),
	}
	if sharded {
		r.channels = nil
		for i := range relayShards {
			r.channels = append(r.channels, relayChannel+":{"+strconv.Itoa(i)+"}")
		}
	}
	return r, nil
}

func (r *Relay) sendReadings(rs []Reading) {
	for len(rs) > 0 {
		n := min(len(rs), relayReadings)
		r.send(rs[0].GatewayID, appendRelayedReadings(r.head(kindReadings), rs[:n]))
		rs = rs[n:]
	}
}

func (r *Relay) sendStatus(s Status) {
	r.send(s.GatewayID,
		appendRelayedStatus(r.head(kindStatus), s))
}

// sendAlarms says that there are new alarm events; many such hints that wait are one.
func (r *Relay) sendAlarms() {
	select {
	case r.hint <- struct{}{}:
	default:
	}
}

// send has a message published soon, or drops it when too many wait: whoever commits does not wait
// for Redis.
func (r *Relay) send(about int64, body []byte) {
	select {
	case r.out <- relayed{r.channels[about%int64(len(r.channels))], rueidis.BinaryString(body)}:
	default:
		r.dropped.Inc()
	}
}

// run carries messages both ways until ctx ends.
func (r *Relay) run(ctx context.Context, h *Hub) error {
	var client rueidis.Client
	for failing := false; client == nil; {
		var err error
		if client, err = rueidis.NewClient(r.option); err == nil {
			break
		}
		client = nil
		if !failing {
			r.log.WarnContext(ctx, "other instances cannot be reached, Redis does not answer",
				"error", err)
			failing = true
		}
		r.discard()
		if !pause(ctx) {
			return nil
		}
	}
	defer client.Close()
	state := &hearing{relay: r, hub: h, channels: make(map[string]bool)}
	var loops sync.WaitGroup
	for _, channel := range r.channels {
		loops.Go(func() { r.listen(ctx, client, channel, state) })
	}
	r.publish(ctx, client)
	loops.Wait()
	return nil
}

// discard drops what waits: it would be old by the time it could leave.
func (r *Relay) discard() {
	for {
		select {
		case <-r.out:
			r.dropped.Inc()
		default:
			return
		}
	}
}

func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(relayPause + rand.N(relayPause)):
		return true
	}
}

// publish sends what waits, as much as there is in one round trip.
func (r *Relay) publish(ctx context.Context, client rueidis.Client) {
	for failing := false; ; {
		var cmds rueidis.Commands
		select {
		case <-ctx.Done():
			return
		case <-r.hint:
			cmds = append(cmds,
				r.command(client, relayed{r.channels[0], rueidis.BinaryString(r.head(kindAlarms))}))
		case m := <-r.out:
			cmds = append(cmds, r.command(client, m))
		}
		for more := true; more && len(cmds) < relayAtOnce; {
			select {
			case m := <-r.out:
				cmds = append(cmds, r.command(client, m))
			default:
				more = false
			}
		}
		within, cancel := context.WithTimeout(ctx, relayWithin)
		var err error
		for _, res := range client.DoMulti(within, cmds...) {
			if res.Error() != nil {
				err = res.Error()
				r.dropped.Inc()
			} else {
				r.sent.Inc()
			}
		}
		cancel()
		if err != nil && !failing && ctx.Err() == nil {
			r.log.WarnContext(ctx, "other instances are not told, Redis does not answer", "error",
				err)
		}
		if failing = err != nil; failing {
			r.discard()
			if !pause(ctx) {
				return
			}
		}
	}
}

func (r *Relay) command(client rueidis.Client, m relayed) rueidis.Completed {
	if r.sharded {
		return client.B().Spublish().Channel(m.channel).Message(m.body).Build()
	}
	return client.B().Publish().Channel(m.channel).Message(m.body).Build()
}

// listen hears one channel, and subscribes again whenever that ends.
func (r *Relay) listen(ctx context.Context, client rueidis.Client, channel string, state *hearing) {
	subscribed := rueidis.WithOnSubscriptionHook(ctx, func(s rueidis.PubSubSubscription) {
		if s.Kind == "subscribe" || s.Kind == "ssubscribe" {
			state.begin(channel)
		}
	})
	for {
		subscribe := client.B().Subscribe().Channel(channel).Build()
		if r.sharded {
			subscribe = client.B().Ssubscribe().Channel(channel).Build()
		}
		err := client.Receive(subscribed, subscribe,
			func(m rueidis.PubSubMessage) { r.receive(ctx, state.hub, m.Message) })
		if ctx.Err() != nil || errors.Is(err, rueidis.ErrClosing) {
			return
		}
		state.end(ctx, channel, err)
		if !pause(ctx) {
			return
		}
	}
}

func (r *Relay) receive(ctx context.Context, h *Hub, message string) {
	m, err := parseRelayed([]byte(message))
	switch {
	case err != nil:
		r.log.WarnContext(ctx,
			"a message of another instance is not understood; do they run the same version?", "error",
			err)
		return
	case m.from == r.self:
		return
	}
	r.received.Inc()
	switch m.kind {
	case kindReadings:
		h.deliver(m.readings)
	case kindStatus:
		h.deliverStatus(m.status)
	case kindAlarms:
		h.ReadAlarms()
	}
}

// hearing is which channels are heard. Whenever one is, again, what was missed is caught up.
type hearing struct {
	relay *Relay
	hub   *Hub

	mu       sync.Mutex
	channels map[string]bool // absent until it was heard for the first time
}

func (s *hearing) begin(channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	heard, before := s.channels[channel]
	if heard {
		return
	}
	s.channels[channel] = true
	s.gauge()
	s.hub.ReadAlarms()
	if before {
		s.relay.log.Info("other instances are heard again")
		s.hub.tellHole()
	}
}

func (s *hearing) end(ctx context.Context, channel string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.channels[channel] {
		s.relay.log.WarnContext(ctx, "other instances are not heard, Redis does not answer", "error",
			err)
		s.channels[channel] = false
	}
	s.gauge()
}

func (s *hearing) gauge() {
	all := len(s.channels) == len(s.relay.channels)
	for _, heard := range s.channels {
		all = all && heard
	}
	s.relay.connected.Set(0)
	if all {
		s.relay.connected.Set(1)
	}
}

// tellHole says to all who listen to readings that some of other instances may be missing.
func (h *Hub) tellHole() {
	frame := encode(resyncFrame{
		Type:   "resync",
		Scope:  "readings",
		Reason: "readings that other instances stored may be missing",
	})
	for _, c := range h.all() {
		h.mu.RLock()
		listens := c.listensToReadings()
		h.mu.RUnlock()
		if listens && !c.lane.reply(frame) {
			c.end(CloseTryLater, "answers are not being taken")
		}
	}
}

// listensToReadings reports whether one of its topics carries readings or statuses. The caller
// holds hub.mu.
func (c *conn) listensToReadings() bool {
	for t := range c.topics {
		if t.Kind != Alarms {
			return true
		}
	}
	return false
}
