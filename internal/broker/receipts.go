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
	// mostLetters is how many receipts are on their way at a time, in all.
	mostLetters = 16384
	// mostUnconfirmed is how many receipts of QoS 1 a client may leave unacknowledged before it
	// gets no more.
	mostUnconfirmed = 1024
	// tooLarge is why a client that said how much it can take gets no receipt.
	tooLarge = "too_large"
)

// reply is where the receipt of a publish is to go.
type reply struct {
	topic       string
	correlation []byte
}

// letter is a receipt on its way to a subscriber.
type letter struct {
	reply
	payload []byte
	qos     byte
	ids     []int // of the subscription
}

// reply returns where the receipt of pk is to go; nil: nowhere. Whoever gets it owes s one release.
func (b *Broker) reply(s *session, pk *packets.Packet) *reply {
	topic, correlation := pk.Properties.ResponseTopic, pk.Properties.CorrelationData
	if topic == "" {
		return nil
	}
	why := ingest.NoReceipt(s.gateway.Key, topic, correlation)
	if why == "" && !s.reserve() {
		why = ingest.NoReceiptRoom
	}
	if why != "" {
		b.metrics.unanswered.WithLabelValues(why).Inc()
		return nil
	}
	// what came would keep the whole packet in memory
	return &reply{topic, bytes.Clone(correlation)}
}

// answer sends the receipt of a to everybody who subscribes to where it is to go, which the gateway
// itself alone may.
func (b *Broker) answer(a *ack) {
	a.s.unreserve()
	l := letter{reply: *a.reply, payload: a.receipt.JSON(time.Now())}
	listeners := 0
	for id, sub := range b.server.Topics.Subscribers(l.topic).Subscriptions {
		cl, _ := b.server.Clients.Get(id)
		to := b.session(cl)
		if to == nil || to.gateway.ID != a.s.gateway.ID {
			continue
		}
		listeners++
		l.qos, l.ids = min(sub.Qos, 1), nil
		for _, id := range sub.Identifiers {
			if id > 0 {
				l.ids = append(l.ids, id)
			}
		}
		if !to.post(l) {
			b.metrics.unanswered.WithLabelValues(ingest.NoReceiptRoom).Inc()
		}
	}
	if listeners == 0 {
		b.metrics.unanswered.WithLabelValues(ingest.NoReceiptListener).Inc()
	}
}

// Publish sends news of its own to the gateway that topic, alarms/{gateway}/…, is about, if it
// subscribes to it now. It is an error when there is no room; that nobody listens is none.
func (b *Broker) Publish(ctx context.Context, topic string, payload []byte) error {
	var errs []error
	for id, sub := range b.server.Topics.Subscribers(topic).Subscriptions {
		cl, _ := b.server.Clients.Get(id)
		to := b.session(cl)
		if to == nil || !to.hears(topic) {
			continue
		}
		// its key may be another gateway's by now; revoke ends it
		if holds, err := b.holds(ctx, to); err != nil || !holds {
			errs = append(errs, err)
			continue
		}
		l := letter{reply: reply{topic: topic}, payload: payload, qos: min(sub.Qos, 1)}
		for _, id := range sub.Identifiers {
			if id > 0 {
				l.ids = append(l.ids, id)
			}
		}
		if !to.post(l) {
			errs = append(errs,
				fmt.Errorf("gateway %s does not read what it is sent", to.gateway.Key))
		}
	}
	return errors.Join(errs...)
}

// reserve takes a place for a receipt, unless there are too many.
func (s *session) reserve() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	// those it will have, and as many that it has not read
	if s.closed || s.reserved >= 2*cap(s.room) {
		return false
	}
	if s.b.letters.Add(1) > mostLetters {
		s.b.letters.Add(-1)
		return false
	}
	s.reserved++
	return true
}

// unreserve gives a place back; the end of the session has given back all of them.
func (s *session) unreserve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.reserved--
		s.b.letters.Add(-1)
	}
}

// post has l sent, or says that there is no room for it.
func (s *session) post(l letter) bool {
	if !s.reserve() {
		return false
	}
	s.mu.Lock()
	s.outbox = append(s.outbox, l)
	s.mu.Unlock()
	s.wakeUp()
	return true
}

// confirm takes the client's acknowledgement of a receipt.
func (s *session) confirm(id uint16) {
	s.mu.Lock()
	delete(s.unconfirmed, id)
	s.mu.Unlock()
	s.wakeUp()
}

// nextLetter takes a receipt out of the box, and gives it a packet id if it needs one. There is
// none while the client has to confirm others first. Those stay in order.
func (s *session) nextLetter() (l letter, id uint16, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.outbox) == 0 {
		return l, 0, false
	}
	if l = s.outbox[0]; l.qos > 0 {
		window := mostUnconfirmed
		if most := int(s.client.Properties.Props.ReceiveMaximum); most > 0 {
			window = min(window, most)
		}
		if len(s.unconfirmed) >= window {
			return l, 0, false
		}
		for taken := true; taken; _, taken = s.unconfirmed[s.lastID] {
			s.lastID = s.lastID%0xffff + 1
		}
		s.unconfirmed[s.lastID] = struct{}{}
		id = s.lastID
	}
	s.outbox = s.outbox[1:]
	return l, id, true
}

// deliver appends the receipts that can be sent now.
func (s *session) deliver(buf *bytes.Buffer) {
	for {
		l, id, ok := s.nextLetter()
		if !ok {
			return
		}
		props := &s.client.Properties
		pk := packets.Packet{
			FixedHeader:     packets.FixedHeader{Type: packets.Publish, Qos: l.qos},
			ProtocolVersion: props.ProtocolVersion,
			TopicName:       l.topic,
			Payload:         l.payload,
			PacketID:        id,
			Mods:            packets.Mods{AllowResponseInfo: true},
		}
		if props.ProtocolVersion == 5 {
			pk.Properties = packets.Properties{
				CorrelationData:        l.correlation,
				ContentType:            "application/json",
				PayloadFormat:          1,
				PayloadFormatFlag:      true,
				SubscriptionIdentifier: l.ids,
			}
		}
		at := buf.Len()
		err := pk.PublishEncode(buf)
		if limit := int(props.Props.MaximumPacketSize); err != nil || limit > 0 &&
			buf.Len()-at > limit {
			buf.Truncate(at)
			s.confirm(id)
			s.b.metrics.unanswered.WithLabelValues(tooLarge).Inc()
		}
		s.unreserve()
	}
}
