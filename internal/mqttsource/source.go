package mqttsource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
)

// Source takes messages from an external broker and submits them to the pipeline. It
// acknowledges each to the broker after its COMMIT. The PUBACK that a gateway gets comes from
// the broker, before that.
type Source struct {
	cfg       Config
	submit    func(context.Context, ingest.Message) error
	log       *slog.Logger
	queue     chan received
	receipts  *receiptSender
	dropped   prometheus.Counter
	isUp      atomic.Bool
	diagnosis diagnosis // why isUp is false
	// when the current connection was accepted, in Unix nanoseconds
	connectedAt atomic.Int64
	// how many connections in a row were accepted and ended within shortLived
	shortLivedInRow atomic.Int32
	manager         atomic.Pointer[autopaho.ConnectionManager] // set while Run runs
	// the current connection; set before anything is read from it
	conn atomic.Pointer[connection]

	background sync.WaitGroup // goroutines that Run waits for
}

// received is a message and the instant at which it was received.
type received struct {
	paho.PublishReceived
	at time.Time
}

// New makes a source that calls submit while Run runs.
func New(
	cfg Config, submit func(context.Context, ingest.Message) error, log *slog.Logger,
	reg prometheus.Registerer,
) *Source {
	if cfg.ClientID == "" {
		host, _ := os.Hostname() // without a host name the id is still stable
		cfg.ClientID = "oei-ms-" + host
	}
	s := &Source{
		cfg:      cfg,
		submit:   submit,
		log:      log,
		queue:    make(chan received, 2*cfg.ReceiveMaximum),
		receipts: newReceiptSender(reg),
	}
	s.dropped = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "oei_mqtt_dropped_total",
		Help: "Messages of QoS 0 from the external broker that were dropped: the queue was full.",
	})
	reg.MustRegister(s.dropped)
	return s
}

// Check reports whether the broker is connected and subscribed, or why not and what to do.
func (s *Source) Check(context.Context) (string, error) {
	if !s.isUp.Load() {
		detail := s.broker() + " " + cmp.Or(s.diagnosis.String(), "is not connected yet")
		return detail, errors.New(detail)
	}
	return s.addr() + "; this broker answers gateways with PUBACK before the COMMIT, " +
		"and is acknowledged after it", nil
}

func (s *Source) addr() string { return net.JoinHostPort(s.cfg.Host, strconv.Itoa(s.cfg.Port)) }

func (s *Source) broker() string { return "the broker at " + s.addr() }

// report keeps text for Check, and logs it when it is new.
func (s *Source) report(ctx context.Context, text string, err error) {
	if s.diagnosis.set(text) {
		s.log.WarnContext(ctx, "no readings from mqtt broker", "problem", s.broker()+" "+text,
			"error", err)
	}
}

// Run keeps a connection to the broker until ctx ends. Stop the pipeline first, so that what was
// committed is acknowledged.
func (s *Source) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer s.background.Wait()
	defer cancel()
	s.background.Go(func() { s.receipts.run(work) })
	cm, err := autopaho.NewConnection(work, s.clientConfig(work))
	if err != nil {
		return fmt.Errorf("mqtt: %w", err)
	}
	s.manager.Store(cm)
	s.forward(ctx)
	<-ctx.Done()
	select {
	case <-time.After(50 * ackInterval): // paho drops acknowledgements that it has not sent by then
	case <-cm.Done():
	}
	if c := s.conn.Load(); c != nil {
		c.lose("")
	}
	disconnect, cancelDisconnect := context.WithTimeout(work, 2*time.Second)
	defer cancelDisconnect()
	_ = cm.Disconnect(disconnect) // the broker keeps the session whether this succeeds or not
	return nil
}

// Publish sends a message to the broker at QoS 1, and returns when the broker has
// acknowledged it.
func (s *Source) Publish(ctx context.Context, topic string, payload []byte) error {
	cm := s.manager.Load()
	if cm == nil {
		return autopaho.ConnectionDownError
	}
	res, err := cm.Publish(ctx, &paho.Publish{
		Topic:   topic,
		QoS:     1,
		Payload: payload,
		Properties: &paho.PublishProperties{
			ContentType:   "application/json",
			PayloadFormat: new(utf8Payload),
		},
	})
	if res != nil && res.ReasonCode >= 0x80 {
		return errors.New(s.broker() + " " + diagnosePublish(topic, res.ReasonCode))
	}
	return err
}

// receive queues p. One half of the queue is for messages that the broker may send
// unacknowledged. Messages of QoS 0, which no receive maximum bounds, have the other half and
// are dropped when that is full. When a broker sends more than the receive maximum, as
// mosquitto 2.0 does with a backlog, receive blocks and so stops reading from it.
func (s *Source) receive(p paho.PublishReceived) (bool, error) {
	if p.Packet.QoS == 0 && len(s.queue) >= s.cfg.ReceiveMaximum {
		s.dropped.Inc()
		return true, nil
	}
	r := received{p, time.Now()}
	select {
	case s.queue <- r:
		return true, nil
	default:
	}
	select {
	case s.queue <- r:
	case <-s.conn.Load().lost: // the broker sends it again
	}
	return true, nil
}

// discardUnacknowledged removes from the queue what the broker will send again, since its
// connection was lost. No receive runs meanwhile.
func (s *Source) discardUnacknowledged() {
	for range len(s.queue) {
		select {
		case p := <-s.queue:
			if p.Packet.QoS == 0 { // never sent again
				s.queue <- p
			}
		default:
			return
		}
	}
}

// forward submits received messages in order until ctx ends. Messages that are in the queue then
// are not acknowledged, so the broker sends them again.
func (s *Source) forward(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-s.queue:
			if err := s.submit(ctx, s.message(r)); err != nil {
				return
			}
		}
	}
}

// message converts r for the pipeline.
func (s *Source) message(r received) ingest.Message {
	m := ingest.Message{
		Topic:    r.Packet.Topic,
		Payload:  r.Packet.Payload,
		Received: r.at,
		Retained: r.Packet.Retain,
	}
	if p := r.Packet.Properties; p != nil {
		m.ContentType, m.Text = p.ContentType, p.PayloadFormat != nil && *p.PayloadFormat == 1
		if p.MessageExpiry != nil {
			m.Expiry = time.Duration(*p.MessageExpiry) * time.Second
		}
	}
	wantsReceipt := s.receipts.isWanted(r.PublishReceived)
	m.Itemized = wantsReceipt
	m.Done = func(receipt ingest.Receipt) {
		// Ack fails when the connection is lost; then the broker sends the message again, and its
		// samples are duplicates.
		_ = r.Client.Ack(r.Packet)
		if wantsReceipt {
			s.receipts.add(r.PublishReceived, receipt)
		}
	}
	return m
}
