package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/oei-ms/oei-ms/ingest"
)

const (
	// maxOutgoing is how many messages may wait to be sent, of all sessions.
	maxOutgoing = 16384
	// maxUnacknowledged is how many messages of QoS 1 a client may leave unacknowledged before it
	// is sent no more.
	maxUnacknowledged = 1024
	// noReceiptTooLarge is the reason why a receipt over the client's maximum packet size is not
	// sent.
	noReceiptTooLarge = "too_large"
)

// responseAddress is where the receipt of a publish is sent.
type responseAddress struct {
	topic       string
	correlation []byte
}

// outgoingMessage is a receipt or an alarm event on its way to a subscriber.
type outgoingMessage struct {
	responseAddress
	payload         []byte
	qos             byte
	subscriptionIDs []int
}

// responseAddress returns where the receipt of pk is sent; nil when none is sent. It reserves a
// place of s, which sendReceipt releases.
func (b *Broker) responseAddress(s *session, pk *packets.Packet) *responseAddress {
	topic, correlation := pk.Properties.ResponseTopic, pk.Properties.CorrelationData
	if topic == "" {
		return nil
	}
	reason := ingest.NoReceipt(s.gateway.Key, topic, correlation)
	if reason == "" && !s.reserve() {
		reason = ingest.NoReceiptRoom
	}
	if reason != "" {
		b.metrics.noReceipt.WithLabelValues(reason).Inc()
		return nil
	}
	// Cloned, because correlation would keep the whole packet in memory.
	return &responseAddress{topic, bytes.Clone(correlation)}
}

// sendReceipt sends the receipt of p to the subscribers of its response topic, all of which are
// connections of the same gateway.
func (b *Broker) sendReceipt(p *publish) {
	p.s.unreserve()
	m := outgoingMessage{responseAddress: *p.response, payload: p.receipt.JSON(time.Now())}
	subscribers := 0
	for id, sub := range b.server.Topics.Subscribers(m.topic).Subscriptions {
		cl, _ := b.server.Clients.Get(id)
		to := b.session(cl)
		if to == nil || to.gateway.ID != p.s.gateway.ID {
			continue
		}
		subscribers++
		m.subscribedWith(sub)
		if !to.send(m) {
			b.metrics.noReceipt.WithLabelValues(ingest.NoReceiptRoom).Inc()
		}
	}
	if subscribers == 0 {
		b.metrics.noReceipt.WithLabelValues(ingest.NoReceiptListener).Inc()
	}
}

// Publish sends an alarm event to the gateway that topic, alarms/{gateway}/…, is about, if it
// subscribes to it now. It returns an error when a subscriber's queue is full; without a
// subscriber it returns nil.
func (b *Broker) Publish(ctx context.Context, topic string, payload []byte) error {
	var errs []error
	for id, sub := range b.server.Topics.Subscribers(topic).Subscriptions {
		cl, _ := b.server.Clients.Get(id)
		to := b.session(cl)
		if to == nil || !to.isOwnAlarmTopic(topic) {
			continue
		}
		// The key may be another gateway's by now; disconnectRevoked ends this session.
		if valid, err := b.isCredentialValid(ctx, to); err != nil || !valid {
			errs = append(errs, err)
			continue
		}
		m := outgoingMessage{responseAddress: responseAddress{topic: topic}, payload: payload}
		m.subscribedWith(sub)
		if !to.send(m) {
			errs = append(errs,
				fmt.Errorf("gateway %s does not read what it is sent", to.gateway.Key))
		}
	}
	return errors.Join(errs...)
}

// subscribedWith sets the QoS and the identifiers of the subscription.
func (m *outgoingMessage) subscribedWith(sub packets.Subscription) {
	m.qos, m.subscriptionIDs = min(sub.Qos, 1), nil
	for _, id := range sub.Identifiers {
		if id > 0 {
			m.subscriptionIDs = append(m.subscriptionIDs, id)
		}
	}
}

// reserve takes a place for an outgoing message, and reports whether there was one.
func (s *session) reserve() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	// one for each publish in flight, and as many for what the client has not read
	if s.closed || s.reserved >= 2*cap(s.window) {
		return false
	}
	if s.b.outgoing.Add(1) > maxOutgoing {
		s.b.outgoing.Add(-1)
		return false
	}
	s.reserved++
	return true
}

// unreserve releases a place, unless close has released all of them.
func (s *session) unreserve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.reserved--
		s.b.outgoing.Add(-1)
	}
}

// send queues m, and reports whether there was a place for it.
func (s *session) send(m outgoingMessage) bool {
	if !s.reserve() {
		return false
	}
	s.mu.Lock()
	s.outbox = append(s.outbox, m)
	s.mu.Unlock()
	s.wakeUp()
	return true
}

// acknowledged handles the client's PUBACK.
func (s *session) acknowledged(id uint16) {
	s.mu.Lock()
	delete(s.unacknowledged, id)
	s.mu.Unlock()
	s.wakeUp()
}

// nextOutgoing takes the first message from the outbox, and gives it a packet identifier if its
// QoS needs one. It returns false while the client has to acknowledge others first, also when
// later messages need no acknowledgement: they stay in order.
func (s *session) nextOutgoing() (m outgoingMessage, id uint16, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.outbox) == 0 {
		return m, 0, false
	}
	if m = s.outbox[0]; m.qos > 0 {
		window := maxUnacknowledged
		if receiveMaximum := int(s.client.Properties.Props.ReceiveMaximum); receiveMaximum > 0 {
			window = min(window, receiveMaximum)
		}
		if len(s.unacknowledged) >= window {
			return m, 0, false
		}
		for taken := true; taken; _, taken = s.unacknowledged[s.lastID] {
			s.lastID = s.lastID%0xffff + 1
		}
		s.unacknowledged[s.lastID] = struct{}{}
		id = s.lastID
	}
	s.outbox = s.outbox[1:]
	return m, id, true
}

// appendOutbox appends the messages that can be sent now.
func (s *session) appendOutbox(buf *bytes.Buffer) {
	for {
		m, id, ok := s.nextOutgoing()
		if !ok {
			return
		}
		props := &s.client.Properties
		pk := packets.Packet{
			FixedHeader:     packets.FixedHeader{Type: packets.Publish, Qos: m.qos},
			ProtocolVersion: props.ProtocolVersion,
			TopicName:       m.topic,
			Payload:         m.payload,
			PacketID:        id,
			Mods:            packets.Mods{AllowResponseInfo: true},
		}
		if props.ProtocolVersion == 5 {
			pk.Properties = packets.Properties{
				CorrelationData:        m.correlation,
				ContentType:            "application/json",
				PayloadFormat:          1,
				PayloadFormatFlag:      true,
				SubscriptionIdentifier: m.subscriptionIDs,
			}
		}
		at := buf.Len()
		err := pk.PublishEncode(buf)
		limit := int(props.Props.MaximumPacketSize)
		if err != nil || limit > 0 && buf.Len()-at > limit {
			buf.Truncate(at)
			s.acknowledged(id)
			s.b.metrics.noReceipt.WithLabelValues(noReceiptTooLarge).Inc()
		}
		s.unreserve()
	}
}
