// Package broker is the embedded MQTT broker, for installations without an external one. It
// routes nothing between clients: it submits what gateways publish to the ingest pipeline, and
// acknowledges a message after its COMMIT. It sends receipts and alarm events to gateways.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
)

const (
	// revocationInterval is how often open connections are checked for credentials that are no
	// longer valid.
	revocationInterval = 3 * time.Second
	// pingInterval is how often clients that are not read from are sent a PINGRESP unasked; it is
	// below any keep-alive.
	pingInterval = 500 * time.Millisecond
	// maxSessionExpiry is in seconds.
	maxSessionExpiry = 7 * 24 * 3600
	// maxQueuedWrites is how many messages may wait to be sent to a client. mochi allocates a
	// queue of this size for each client; its default is 64 Ki.
	maxQueuedWrites = 512
)

// Broker is an MQTT broker for v5, 3.1.1 and 3.1.
type Broker struct {
	cfg      Config
	access   Access
	pipeline func(context.Context, ingest.Message) error
	log      *slog.Logger
	server   *mqtt.Server
	metrics  *metrics
	limiter  *connLimiter
	journal  *connJournal

	listeners []*listener

	ctx    context.Context // of submits; ends when the broker stops
	cancel context.CancelFunc

	started       time.Time
	databaseLog   logLimiter     // for failures of the database
	disconnecting sync.WaitGroup // goroutines that end connections
	outgoing      atomic.Int64   // receipts and alarm events that have a place, of all sessions

	mu       sync.Mutex
	sessions map[*mqtt.Client]*session
	gateways map[int64]*gatewaySessions // without those that have no session
}

// New makes a broker that serves ls and calls submit while Run runs.
func New(cfg Config, ls Listeners, access Access,
	submit func(context.Context, ingest.Message) error,
	log *slog.Logger, reg prometheus.Registerer,
) (*Broker, error) {
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumClients = math.MaxInt64 // connLimiter bounds them
	caps.MaximumPacketSize = uint32(cfg.MaxPacket)
	caps.ReceiveMaximum = uint16(cfg.ReceiveMaximum)
	caps.MaximumQos = 1
	caps.TopicAliasMaximum = 0
	caps.RetainAvailable = 0
	caps.SharedSubAvailable = 0
	caps.WildcardSubAvailable = 0
	caps.MaximumSessionExpiryInterval = maxSessionExpiry
	caps.MaximumClientWritesPending = maxQueuedWrites
	b := &Broker{
		cfg:      cfg,
		started:  time.Now(),
		access:   access,
		pipeline: submit,
		log:      log,
		// the journal logs instead
		server: mqtt.New(&mqtt.Options{
			Capabilities: caps,
			Logger:       slog.New(slog.DiscardHandler),
		}),
		sessions: map[*mqtt.Client]*session{},
		gateways: map[int64]*gatewaySessions{},
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.limiter = newConnLimiter(cfg, &b.server.Listeners.ClientsWg)
	b.metrics = newMetrics(reg, b.connected, &b.limiter.pending)
	b.journal = &connJournal{log: log, metrics: b.metrics}
	if err := b.server.AddHook(&hook{b: b}, nil); err != nil {
		return nil, fmt.Errorf("mqtt broker: %w", err)
	}
	return b, b.listen(ls)
}

// listen adds the listeners that are not nil.
func (b *Broker) listen(ls Listeners) error {
	secure := opener(plain) // WebSocket is plain as well when there is no certificate
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
		l := newListener(l.id, l.Listener, l.open, b.limiter, b.journal)
		if err := b.server.AddListener(l); err != nil {
			return fmt.Errorf("mqtt broker: %w", err)
		}
		b.listeners = append(b.listeners, l)
	}
	return nil
}

// Run serves until ctx ends, and then disconnects all clients. Stop the pipeline first, so that
// what was committed is acknowledged.
func (b *Broker) Run(ctx context.Context) error {
	defer b.cancel()
	if err := b.server.Serve(); err != nil {
		return fmt.Errorf("mqtt broker: %w", err)
	}
	var pings sync.WaitGroup
	pings.Go(func() { b.answerPings(ctx) })
	defer pings.Wait()
	tick := time.NewTicker(revocationInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.disconnectRevoked(ctx)
		case <-ctx.Done():
			b.cancel() // a publisher that waits for the pipeline must not delay the end
			err := b.server.Close()
			for _, l := range b.listeners {
				l.serving.Wait()
			}
			b.disconnecting.Wait()
			return err
		}
	}
}

// Check says how many gateways are connected, and what a PUBACK of this broker means.
func (b *Broker) Check(context.Context) (string, error) {
	detail := fmt.Sprintf("%.0f gateways connected; a PUBACK follows the commit", b.connected())
	if n := b.journal.takeovers.count(); n >= minSharedTakeovers {
		detail += fmt.Sprintf("; %d connections a minute are taken over by another "+
			"with the same client id: see the log", n)
	}
	return detail, nil
}

// connected returns how many clients are logged in.
func (b *Broker) connected() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return float64(len(b.sessions))
}

// disconnectRevoked disconnects clients whose credential was revoked or whose gateway was
// renamed, deleted or taken out of use.
func (b *Broker) disconnectRevoked(ctx context.Context) {
	b.mu.Lock()
	open := make([]*mqtt.Client, 0, len(b.sessions))
	gateways := make([]Gateway, 0, len(b.sessions))
	for cl, s := range b.sessions {
		if cl.Closed() { // without a call of OnDisconnect
			b.disconnecting.Go(func() { b.endSession(cl) })
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
	valid, err := b.access.AreValid(ctx, gateways)
	if err != nil {
		if count, ok := b.databaseLog.allow(""); ok && ctx.Err() == nil {
			b.log.WarnContext(ctx, "checking credentials of connections failed", "error", err,
				"count", count)
		}
		return
	}
	for i, cl := range open {
		if !valid[i] {
			// in a goroutine, because the client may not be reading
			b.disconnecting.Go(func() { b.disconnect(cl, packets.ErrNotAuthorized) })
		}
	}
}

// disconnect ends a connection, with a DISCONNECT where the client's version of MQTT has one.
func (b *Broker) disconnect(cl *mqtt.Client, code packets.Code) {
	connOf(cl).noteEnd(reasonOfCode(code.Code), slog.String("detail", code.Reason))
	if cl.Properties.ProtocolVersion == 5 {
		_ = b.server.DisconnectClient(cl, code)
	}
	cl.Stop(code)
}

var errPanicked = errors.New("the pipeline panicked")

// submit passes m to the pipeline. It waits while that is full. A panic becomes an error: it must
// end one connection only.
func (b *Broker) submit(m ingest.Message) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if count, ok := b.journal.panics.allow("pipeline"); ok {
				b.log.ErrorContext(b.ctx, "pipeline panicked on a message", "topic", m.Topic,
					"panic", r, "count", count, "stack", string(debug.Stack()))
			}
			err = errPanicked
		}
	}()
	return b.pipeline(b.ctx, m)
}

// answerPings sends PINGRESP to clients that are not read from, until ctx ends.
func (b *Broker) answerPings(ctx context.Context) {
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		b.mu.Lock()
		for _, s := range b.sessions {
			s.answerPing()
		}
		b.mu.Unlock()
	}
}
