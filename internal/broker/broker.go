package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
)

const (
	// revocationInterval is how often open connections are checked for credentials that no longer
	// hold.
	revocationInterval = 3 * time.Second
	// heartbeatInterval is how often clients that are not read from hear that we are there; below
	// any keep-alive.
	heartbeatInterval = 500 * time.Millisecond
)

// longestSession is in seconds.
const longestSession = 7 * 24 * 3600

// Access decides who may connect. All are called from many goroutines.
type Access struct {
	// BeginLogin counts a try to log in with a secret, and returns 0, or how long the client has to
	// wait after too many wrong ones. EndLogin takes the try back: the secret was right, or it was
	// not found out. They may be nil: then there is no limit.
	BeginLogin func(ctx context.Context, address, key string) (wait time.Duration, err error)
	EndLogin   func(ctx context.Context, address, key string, right bool) error
	// Login returns the gateway with this key, if this is its secret.
	Login func(ctx context.Context, key, secret string) (g Gateway, ok bool, err error)
	// Certified returns the gateway with this key, which has shown a certificate instead; it may be
	// nil.
	Certified func(ctx context.Context, key string) (g Gateway, ok bool, err error)
	// HasGateway reports whether there is a gateway with one of these keys; nil has none.
	HasGateway func(ctx context.Context, keys []string) (bool, error)
	// InForce reports for each of gateways whether its credential still holds and its key is the
	// one that it logged in with.
	InForce func(ctx context.Context, gateways []Gateway) ([]bool, error)
	// Resume reports whether a client has a session from before; clean means that it does not want
	// it, keep that the one that begins now outlasts the connection. Suspend says for how long it
	// does, when that is over. Without them no session outlasts the broker, and gateways whose
	// client honours Session Present lose what they hold unacknowledged when it starts anew.
	Resume  func(ctx context.Context, client string, g Gateway, clean, keep bool) (present bool, err error)
	Suspend func(ctx context.Context, client string, while time.Duration) error
}

// Gateway is who has logged in. Its id is its identity for as long as the connection lasts; its key
// is a name, which may be given to another gateway meanwhile.
type Gateway struct {
	ID         int64
	Key        string // at the login
	Credential int64  // that it logged in with; 0: a certificate
}

// Broker is the MQTT v5 broker of one machine. It routes nothing between clients: what a gateway
// publishes goes to the pipeline, and is acknowledged when the pipeline says so.
type Broker struct {
	cfg     Config
	access  Access
	submit  func(context.Context, ingest.Message) error
	log     *slog.Logger
	server  *mqtt.Server
	metrics *metrics
	crowd   *crowd
	journal *connJournal

	listeners []*listener

	ctx    context.Context // of Submit; ends when the broker stops
	cancel context.CancelFunc

	started time.Time
	trouble seldom         // with the database
	parting sync.WaitGroup // of those who are being disconnected
	letters atomic.Int64   // receipts that have a place

	mu       sync.Mutex
	sessions map[*mqtt.Client]*session
	gateways map[int64]*gatewaySessions // that have any
}

// New makes a broker that serves ls while Run does.
func New(cfg Config, ls Listeners, access Access,
	submit func(context.Context, ingest.Message) error,
	log *slog.Logger, reg prometheus.Registerer,
) (*Broker, error) {
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumClients = math.MaxInt64 // the listeners see to it
	caps.MaximumPacketSize = uint32(cfg.MaxPacket)
	caps.ReceiveMaximum = uint16(cfg.ReceiveMaximum)
	caps.MaximumQos = 1
	caps.TopicAliasMaximum = 0
	caps.RetainAvailable = 0
	caps.SharedSubAvailable = 0
	caps.WildcardSubAvailable = 0
	caps.MaximumSessionExpiryInterval = longestSession
	caps.MaximumClientWritesPending = mostPending
	b := &Broker{
		cfg:     cfg,
		started: time.Now(),
		access:  access,
		submit:  submit,
		log:     log,
		// we log what matters
		server:   mqtt.New(&mqtt.Options{Capabilities: caps, Logger: slog.New(slog.DiscardHandler)}),
		sessions: map[*mqtt.Client]*session{},
		gateways: map[int64]*gatewaySessions{},
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.crowd = newCrowd(cfg, &b.server.Listeners.ClientsWg)
	b.metrics = newBrokerMetrics(reg, b.connected, &b.crowd.pending)
	b.journal = &connJournal{log: log, metrics: b.metrics}
	if err := b.server.AddHook(&gate{b: b}, nil); err != nil {
		return nil, fmt.Errorf("mqtt broker: %w", err)
	}
	return b, b.listen(ls)
}

// mostPending is how many messages may wait to be sent to a client; mochi allocates for all of
// them, and its default is 64 KiB.
const mostPending = 512

// listen adds the listeners that there are.
func (b *Broker) listen(ls Listeners) error {
	secure := opener(plain) // for WebSocket, which goes without TLS when there is no certificate
	if b.cfg.TLSCertificate != "" {
		c, err := newCertificates(b.cfg, b.log)
		if err != nil {
			return err
		}
		secure = c.open
	}
	for _, l := range []struct {
		id string
		net.Listener
		open opener
	}{
		{"mqtt", ls.Plain, plain},
		{"mqtts", ls.TLS, secure},
		{"ws", ls.WebSocket, overWebSocket(secure, b.cfg.AllowedOrigins)},
	} {
		if l.Listener == nil {
			continue
		}
		l := newListener(l.id, l.Listener, l.open, b.crowd, b.journal)
		if err := b.server.AddListener(l); err != nil {
			return fmt.Errorf("mqtt broker: %w", err)
		}
		b.listeners = append(b.listeners, l)
	}
	return nil
}

// Run serves until ctx ends; then it disconnects everybody. Stop the pipeline first, so that what
// was committed is acknowledged.
func (b *Broker) Run(ctx context.Context) error {
	defer b.cancel()
	if err := b.server.Serve(); err != nil {
		return fmt.Errorf("mqtt broker: %w", err)
	}
	var beating sync.WaitGroup
	beating.Go(func() { b.reassure(ctx) })
	defer beating.Wait()
	tick := time.NewTicker(revocationInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.revoke(ctx)
		case <-ctx.Done():
			b.cancel() // a publisher that waits for room must not hold up the end
			err := b.server.Close()
			for _, l := range b.listeners {
				l.serving.Wait()
			}
			b.parting.Wait()
			return err
		}
	}
}

// Check says how many gateways are connected, and what an acknowledgement is worth.
func (b *Broker) Check(context.Context) (string, error) {
	detail := fmt.Sprintf("%.0f gateways connected; a PUBACK follows the commit", b.connected())
	if n := b.journal.takeovers.count(); n >= manyTakeovers {
		detail += fmt.Sprintf("; %d connections a minute are taken over by another with the same client id: see the log", n)
	}
	return detail, nil
}

// connected is how many clients are logged in.
func (b *Broker) connected() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return float64(len(b.sessions))
}

// revoke disconnects clients whose credential was revoked or whose gateway was renamed, deleted or
// put out of use.
func (b *Broker) revoke(ctx context.Context) {
	b.mu.Lock()
	open := make([]*mqtt.Client, 0, len(b.sessions))
	gateways := make([]Gateway, 0, len(b.sessions))
	for cl, s := range b.sessions {
		if cl.Closed() { // it ended in a way that told nobody
			b.parting.Go(func() { b.leave(cl) })
			continue
		}
		open = append(open, cl)
		gateways = append(gateways, s.gateway)
	}
	b.mu.Unlock()
	if len(open) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, revocationInterval)
	defer cancel()
	valid, err := b.access.InForce(ctx, gateways)
	if err != nil {
		if others, ok := b.trouble.due(); ok && ctx.Err() == nil {
			b.log.WarnContext(ctx, "cannot check credentials of open connections", "error", err,
				"others", others)
		}
		return
	}
	for i, cl := range open {
		if !valid[i] {
			// it may not be listening
			b.parting.Go(func() { b.disconnect(cl, packets.ErrNotAuthorized) })
		}
	}
}

// disconnect ends a connection and tells the client why, where its version of MQTT has a way to.
func (b *Broker) disconnect(cl *mqtt.Client, code packets.Code) {
	connOf(cl).end(endReason(code.Code), slog.String("detail", code.Reason))
	if cl.Properties.ProtocolVersion == 5 {
		_ = b.server.DisconnectClient(cl, code)
	}
	cl.Stop(code)
}

// hand gives m to the pipeline. It waits while that is full. A panic is an error: it must harm one
// connection only.
func (b *Broker) hand(m ingest.Message) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if count, ok := b.journal.panics.allow("pipeline"); ok {
				b.log.ErrorContext(b.ctx, "a message broke the pipeline", "topic", m.Topic, "panic",
					r, "count", count, "stack", string(debug.Stack()))
			}
			err = errBroke
		}
	}()
	return b.submit(b.ctx, m)
}

var errBroke = errors.New("the pipeline broke")

// report submits a status on behalf of a gateway. When the pipeline has stopped there is nobody to
// tell.
func (b *Broker) report(gateway Gateway, status string, link ingest.Link) {
	_ = b.hand(ingest.Message{
		Topic:     "gateways/" + strconv.FormatInt(gateway.ID, 10) + "/status",
		Payload:   []byte(`{"status":"` + status + `"}`),
		GatewayID: gateway.ID,
		Gateway:   gateway.Key,
		Link:      link,
		Received:  time.Now(),
	})
}

// Announce says again of every gateway that is connected that it is online: others have taken this
// instance for ended.
func (b *Broker) Announce() {
	b.mu.Lock()
	gateways := make(map[int64]Gateway, len(b.sessions))
	for _, s := range b.sessions {
		gateways[s.gateway.ID] = s.gateway
	}
	b.mu.Unlock()
	for _, gateway := range gateways {
		b.report(gateway, "online", ingest.Linked)
	}
}

// reassure tells clients that are not read from that we are there, until ctx ends.
func (b *Broker) reassure(ctx context.Context) {
	tick := time.NewTicker(heartbeatInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		b.mu.Lock()
		for _, s := range b.sessions {
			s.reassure()
		}
		b.mu.Unlock()
	}
}
