package mqttsource

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/bufconn"
)

const (
	// shortLived is how long a connection lasts at most that the broker ends on purpose.
	shortLived = 5 * time.Second
	// minShortLived is how many short-lived connections in a row are no coincidence, such as a
	// restart of the broker.
	minShortLived = 3
	// ackInterval is how often acknowledgements are sent.
	ackInterval = 5 * time.Millisecond
)

// connection is one connection to the broker.
type connection struct {
	lost chan struct{} // closed when the connection is lost
	once sync.Once
	// why it was lost, once lost is closed: the predicate of a sentence about the broker
	why string
}

func (c *connection) lose(why string) {
	c.once.Do(func() {
		c.why = why
		close(c.lost)
	})
}

func (s *Source) clientConfig(ctx context.Context) autopaho.ClientConfig {
	u := &url.URL{Scheme: "mqtt", Host: s.addr()}
	return autopaho.ClientConfig{
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
			s.conn.Store(&connection{lost: make(chan struct{})})
			return c, nil
		},
		OnConnectionUp: func(cm *autopaho.ConnectionManager, ack *paho.Connack) {
			s.connectedAt.Store(time.Now().UnixNano())
			s.log.InfoContext(ctx, "connected to mqtt broker", "broker", u.Host,
				"session_present", ack.SessionPresent)
			s.background.Go(func() { s.subscribe(ctx, cm) })
		},
		OnConnectionDown: func() bool { s.connectionLost(ctx); return true },
		OnConnectError: func(err error) {
			s.shortLivedInRow.Store(0)
			s.report(ctx, s.cfg.diagnoseConnect(err), err)
		},
		ClientConfig: paho.ClientConfig{
			ClientID:                   s.cfg.ClientID,
			EnableManualAcknowledgment: true,
			SendAcksInterval:           ackInterval,
			OnPublishReceived:          []func(paho.PublishReceived) (bool, error){s.receive},
			OnClientError:              func(err error) { s.conn.Load().lose(diagnoseLoss(err)) },
			OnServerDisconnect: func(d *paho.Disconnect) {
				s.conn.Load().lose(diagnoseDisconnect(d.ReasonCode))
			},
		},
	}
}

// connectionLost notes that the connection is lost, and reports what is known of the reason.
func (s *Source) connectionLost(ctx context.Context) {
	s.isUp.Store(false)
	s.discardUnacknowledged()
	c := s.conn.Load()
	c.lose(diagnoseLoss(nil)) // unless the reason is already known
	why := c.why
	if time.Since(time.Unix(0, s.connectedAt.Load())) >= shortLived {
		s.shortLivedInRow.Store(0)
	} else if n := s.shortLivedInRow.Add(1); n >= minShortLived && !strings.Contains(why, "(0x") {
		why = "ends each connection right after accepting it, without a reason: look at its log; " +
			"another client may use the same OEI_MQTT_CLIENT_ID, which must differ between " +
			"instances"
	}
	if s.diagnosis.set(why) {
		s.log.WarnContext(ctx, "mqtt broker connection lost, reconnecting", "broker", s.addr(),
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
	return bufconn.NewAutoFlush(conn), nil
}

// formerGroup was the default share group of every instance once; sessions of that time still
// have subscriptions in it.
const formerGroup = "oei-ms"

// subscribe subscribes to every topic of the pipeline, and repeats it on every connection, which
// changes nothing when the session has the subscriptions already.
func (s *Source) subscribe(ctx context.Context, cm *autopaho.ConnectionManager) {
	const timeout, retryInterval = 10 * time.Second, 5 * time.Second
	sub, former := &paho.Subscribe{}, &paho.Unsubscribe{}
	for _, f := range ingest.Filters {
		sub.Subscriptions = append(sub.Subscriptions,
			paho.SubscribeOptions{Topic: "$share/" + s.cfg.ShareGroup + "/" + f, QoS: 1})
		former.Topics = append(former.Topics, "$share/"+formerGroup+"/"+f)
	}
	for {
		attempt, cancel := context.WithTimeout(ctx, timeout)
		ack, err := cm.Subscribe(attempt, sub)
		if err == nil && s.cfg.ShareGroup != formerGroup {
			_, err = cm.Unsubscribe(attempt, former) // otherwise every message would come twice
		}
		cancel()
		switch {
		case err == nil:
			s.diagnosis.set("")
			s.isUp.Store(true)
			return
		case ctx.Err() != nil || errors.Is(err, autopaho.ConnectionDownError):
			return
		}
		s.report(ctx, diagnoseSubscribe(sub, ack, err), err)
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
		}
	}
}
