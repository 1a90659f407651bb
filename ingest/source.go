package ingest

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/prometheus/client_golang/prometheus"
)

// SourceConfig says where the external broker is. The broker keeps a session for this client while
// it is away, so its id has to stay the same and be its own.
type SourceConfig struct {
	Host     string `mapstructure:"host"` // empty: there is no external broker
	Port     int    `mapstructure:"port"`
	Username string `mapstructure:"username"`
	Password string `mapstructure:"password"`
	TLS      bool   `mapstructure:"tls"`
	// empty: made of the machine's name
	ClientID string `mapstructure:"client_id"`
	// that of all instances; whoever else joins it makes messages disappear
	ShareGroup string `mapstructure:"share_group"`
	// messages on their way to a commit; the broker holds back more
	ReceiveMaximum int           `mapstructure:"receive_maximum"`
	SessionExpiry  time.Duration `mapstructure:"session_expiry"`
}

// DefaultSourceConfig is right for one instance or several that share the work, once it has a
// ShareGroup that nobody can guess.
func DefaultSourceConfig() SourceConfig {
	return SourceConfig{Port: 1883, ReceiveMaximum: 1000, SessionExpiry: 7 * 24 * time.Hour}
}

// Validate reports every setting that cannot work.
func (c SourceConfig) Validate() error {
	var errs []error
	if c.Port < 0 || c.Port > 65535 || c.Port == 0 && c.Host != "" {
		errs = append(errs, fmt.Errorf("MQTT_PORT: %d is not a port; use 1 to 65535", c.Port))
	}
	if c.ReceiveMaximum < 1 || c.ReceiveMaximum > 65535 {
		errs = append(errs,
			fmt.Errorf("OEI_MQTT_RECEIVE_MAXIMUM: %d is out of range; use 1 to 65535",
				c.ReceiveMaximum))
	}
	if c.SessionExpiry < 24*time.Hour {
		errs = append(errs,
			fmt.Errorf("OEI_MQTT_SESSION_EXPIRY: %v is too short to outlast an outage; use 24h or more", c.SessionExpiry))
	}
	if c.ShareGroup != "" && !validKey(c.ShareGroup) {
		errs = append(errs,
			fmt.Errorf("OEI_MQTT_SHARE_GROUP: %q is not a name; use letters, digits, dots, dashes and underscores", c.ShareGroup))
	}
	return errors.Join(errs...)
}

// Source takes messages from an external broker. It acknowledges them to the broker after the
// commit; what the publisher was promised before that is between it and the broker.
type Source struct {
	cfg       SourceConfig
	submit    func(context.Context, Message) error
	log       *slog.Logger
	queue     chan arrival
	replies   *replies
	dropped   prometheus.Counter
	connected atomic.Bool
	trouble   trouble // why it is not
	// when it was connected last, in Unix nanoseconds
	since atomic.Int64
	// how many connections in a row were accepted and soon ended
	brief   atomic.Int32
	manager atomic.Pointer[autopaho.ConnectionManager] // set while Run does
	// to the broker; set before there is anything to read
	link atomic.Pointer[link]

	aside sync.WaitGroup // what runs beside Run
}

// arrival is a message and when it came.
type arrival struct {
	paho.PublishReceived
	at time.Time
}

// link is one connection.
type link struct {
	lost chan struct{}
	once sync.Once
	// it was lost, once lost is closed, as the end of a sentence that begins with the broker
	why string
}

func (l *link) cut(why string) {
	l.once.Do(func() {
		l.why = why
		close(l.lost)
	})
}

// NewSource makes a source that feeds submit while Run does.
func NewSource(
	cfg SourceConfig, submit func(context.Context, Message) error, log *slog.Logger,
	reg prometheus.Registerer,
) *Source {
	if cfg.ClientID == "" {
		host, _ := os.Hostname() // without a name the id is still stable
		cfg.ClientID = "oei-ms-" + host
	}
	s := &Source{
		cfg:     cfg,
		submit:  submit,
		log:     log,
		queue:   make(chan arrival, 2*cfg.ReceiveMaximum),
		replies: newReplies(reg),
	}
	s.dropped = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "oei_mqtt_dropped_total",
		Help: "Messages from the external broker that were not taken: QoS 0 beyond what can be held.",
	})
	reg.MustRegister(s.dropped)
	return s
}

// Check reports whether the broker is there, and what an acknowledgement is worth with it, or what
// is in the way.
func (s *Source) Check(context.Context) (string, error) {
	if !s.connected.Load() {
		detail := s.broker() + " " + cmp.Or(s.trouble.String(), "is not connected yet")
		return detail, errors.New(detail)
	}
	return s.addr() +
		"; a gateway's PUBACK is this broker's promise, ours to the broker follows the commit", nil
}

func (s *Source) addr() string { return net.JoinHostPort(s.cfg.Host, strconv.Itoa(s.cfg.Port)) }

func (s *Source) broker() string { return "the broker at " + s.addr() }

// complain keeps what is wrong for those who ask, and logs it when it is news.
func (s *Source) complain(ctx context.Context, text string, err error) {
	if s.trouble.set(text) {
		s.log.WarnContext(ctx, "no readings from the mqtt broker", "problem", s.broker()+" "+text,
			"error", err)
	}
}

// Run keeps a connection to the broker until ctx ends. Stop the pipeline first, so that what was
// committed is acknowledged.
func (s *Source) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer s.aside.Wait()
	defer cancel()
	s.aside.Go(func() { s.replies.run(work) })
	cm, err := autopaho.NewConnection(work, s.clientConfig(work))
	if err != nil {
		return fmt.Errorf("mqtt: %w", err)
	}
	s.manager.Store(cm)
	s.forward(ctx)
	<-ctx.Done()
	select {
	case <-time.After(50 * acksInterval): // paho drops what it has not sent by then
	case <-cm.Done():
	}
	if l := s.link.Load(); l != nil {
		l.cut("")
	}
	bye, cancelBye := context.WithTimeout(work, 2*time.Second)
	defer cancelBye()
	_ = cm.Disconnect(bye) // the session stays with the broker either way
	return nil
}

// Publish sends a message by the broker at QoS 1, and returns when the broker has taken it.
func (s *Source) Publish(ctx context.Context, topic string, payload []byte) error {
	cm := s.manager.Load()
	if cm == nil {
		return autopaho.ConnectionDownError
	}
	res, err := cm.Publish(ctx, &paho.Publish{
		Topic:      topic,
		QoS:        1,
		Payload:    payload,
		Properties: &paho.PublishProperties{ContentType: "application/json"},
	})
	if res != nil && res.ReasonCode >= 0x80 {
		return errors.New(s.broker() + " " + ofPublishing(topic, res.ReasonCode))
	}
	return err
}

const (
	// shortLived is how long a connection lasts that the broker ends on purpose.
	shortLived = 5 * time.Second
	// manyBrief is how many such connections in a row are no coincidence, as when the broker is
	// restarted.
	manyBrief = 3
)

// acksInterval is how often acknowledgements are sent.
const acksInterval = 5 * time.Millisecond

func (s *Source) clientConfig(ctx context.Context) autopaho.ClientConfig {
	u := &url.URL{Scheme: "mqtt", Host: s.addr()}
	cfg := autopaho.ClientConfig{
		ServerUrls:            []*url.URL{u},
		KeepAlive:             20,
		SessionExpiryInterval: uint32(s.cfg.SessionExpiry / time.Second),
		ConnectTimeout:        10 * time.Second,
		ReconnectBackoff: func(attempt int) time.Duration {
			limit := min(100*time.Millisecond<<min(attempt, 7), 10*time.Second)
			return limit/2 + rand.N(limit/2)
		},
		AttemptConnection: s.dial,
		ConnectUsername:   s.cfg.Username,
		ConnectPassword:   []byte(s.cfg.Password),
		ConnectPacketBuilder: func(c *paho.Connect, _ *url.URL) (*paho.Connect, error) {
			window := uint16(s.cfg.ReceiveMaximum)
			c.Properties.ReceiveMaximum = &window
			s.link.Store(&link{lost: make(chan struct{})})
			return c, nil
		},
		OnConnectionUp: func(cm *autopaho.ConnectionManager, ack *paho.Connack) {
			s.since.Store(time.Now().UnixNano())
			s.log.InfoContext(ctx, "connected to the mqtt broker", "broker", u.Host,
				"session_present", ack.SessionPresent)
			s.aside.Go(func() { s.subscribe(ctx, cm) })
		},
		OnConnectionDown: func() bool { s.down(ctx); return true },
		OnConnectError: func(err error) {
			s.brief.Store(0)
			s.complain(ctx, s.cfg.ofConnecting(err), err)
		},
		ClientConfig: paho.ClientConfig{
			ClientID:                   s.cfg.ClientID,
			EnableManualAcknowledgment: true,
			SendAcksInterval:           acksInterval,
			OnPublishReceived:          []func(paho.PublishReceived) (bool, error){s.receive},
			OnClientError:              func(err error) { s.link.Load().cut(ofLoss(err)) },
			OnServerDisconnect: func(d *paho.Disconnect) {
				s.link.Load().cut(
					ofDisconnect(d.ReasonCode),
				)
			},
		},
	}
	return cfg
}

// down notes that the connection is lost, and says what is known of it.
func (s *Source) down(ctx context.Context) {
	s.connected.Store(false)
	s.discard()
	l := s.link.Load()
	l.cut(ofLoss(nil)) // unless the reason is known already
	why := l.why
	if time.Since(time.Unix(0, s.since.Load())) >= shortLived {
		s.brief.Store(0)
	} else if n := s.brief.Add(1); n >= manyBrief && !strings.Contains(why, "(0x") {
		why = "ends each connection as soon as it is made, without saying why: look at its log; " +
			"another client may have the same OEI_MQTT_CLIENT_ID, which is to be each instance's own"
	}
	if s.trouble.set(why) {
		s.log.WarnContext(ctx, "lost the mqtt broker, connecting again", "broker", s.addr(),
			"problem", s.broker()+" "+why)
	}
}

// dial connects to the broker.
func (s *Source) dial(ctx context.Context, _ autopaho.ClientConfig, u *url.URL) (net.Conn, error) {
	var conn net.Conn
	var err error
	if s.cfg.TLS {
		d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.cfg.Host}}
		conn, err = d.DialContext(ctx, "tcp", u.Host)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	}
	if err != nil {
		return nil, err
	}
	return gather(conn), nil
}

// receive queues p. Half of the queue is for what the broker may have on its way unacknowledged;
// QoS 0, which knows no such bound, has the other half, and the rest of it is dropped. A broker
// that sends more than it may, as mosquitto 2.0 does behind a backlog, has to wait: nothing more is
// read from it.
func (s *Source) receive(p paho.PublishReceived) (bool, error) {
	if p.Packet.QoS == 0 && len(s.queue) >= s.cfg.ReceiveMaximum {
		s.dropped.Inc()
		return true, nil
	}
	a := arrival{p, time.Now()}
	select {
	case s.queue <- a:
		return true, nil
	default:
	}
	select {
	case s.queue <- a:
	case <-s.link.Load().lost: // it comes again
	}
	return true, nil
}

// discard makes room for what comes again, since its connection was lost. Nobody queues anything
// meanwhile.
func (s *Source) discard() {
	for range len(s.queue) {
		select {
		case p := <-s.queue:
			if p.Packet.QoS == 0 { // this does not
				s.queue <- p
			}
		default:
			return
		}
	}
}

// formerGroup was every instance's by default once; a session of then still has it.
const formerGroup = "oei-ms"

// subscribe asks for everything we understand, on every connection: that is harmless when the
// session has it already.
func (s *Source) subscribe(ctx context.Context, cm *autopaho.ConnectionManager) {
	const patience, pause = 10 * time.Second, 5 * time.Second
	sub, former := &paho.Subscribe{}, &paho.Unsubscribe{}
	for _, f := range Filters {
		sub.Subscriptions = append(sub.Subscriptions,
			paho.SubscribeOptions{Topic: "$share/" + s.cfg.ShareGroup + "/" + f, QoS: 1})
		former.Topics = append(former.Topics, "$share/"+formerGroup+"/"+f)
	}
	for {
		attempt, cancel := context.WithTimeout(ctx, patience)
		ack, err := cm.Subscribe(attempt, sub)
		if err == nil && s.cfg.ShareGroup != formerGroup {
			_, err = cm.Unsubscribe(attempt, former) // else everything came twice
		}
		cancel()
		switch {
		case err == nil:
			s.trouble.set("")
			s.connected.Store(true)
			return
		case ctx.Err() != nil || errors.Is(err, autopaho.ConnectionDownError):
			return
		}
		s.complain(ctx, ofSubscribing(sub, ack, err), err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// forward submits what came, in order, until ctx ends. What is in the queue then was not
// acknowledged and comes again.
func (s *Source) forward(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-s.queue:
			m := s.message(a)
			if err := s.submit(ctx, m); err != nil {
				return
			}
		}
	}
}

// message is what came, as the pipeline takes it.
func (s *Source) message(a arrival) Message {
	m := Message{
		Topic:    a.Packet.Topic,
		Payload:  a.Packet.Payload,
		Received: a.at,
		Retained: a.Packet.Retain,
	}
	if p := a.Packet.Properties; p != nil {
		m.ContentType, m.Text = p.ContentType, p.PayloadFormat != nil && *p.PayloadFormat == 1
		if p.MessageExpiry != nil {
			m.Expiry = time.Duration(*p.MessageExpiry) * time.Second
		}
	}
	answered := s.replies.wanted(a.PublishReceived)
	m.Itemized = answered
	m.Done = func(r Receipt) {
		// fails when the connection is gone; then it comes again, and is a duplicate
		_ = a.Client.Ack(a.Packet)
		if answered {
			s.replies.add(a.PublishReceived, r)
		}
	}
	return m
}
