package broker

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/oei-ms/oei-ms/ingest"
)

// session is a gateway's connection: its publishes that are not yet acknowledged, in order, and
// what is to be sent to it.
type session struct {
	b       *Broker
	gateway Gateway
	client  *mqtt.Client
	present bool          // a session from before exists
	window  chan struct{} // one element for each in-flight publish; Receive Maximum is its capacity
	wake    chan struct{}
	ended   chan struct{}
	end     sync.Once
	// since when the client is not read from, counted from the start of the broker; 0: it is read
	blockedSince atomic.Int64
	wasBlocked   atomic.Bool // for long, since the last answerPing
	pingDue      atomic.Bool // a PINGRESP is to be sent

	mu             sync.Mutex
	pending        []*publish
	closed         bool
	writerEnded    bool              // acknowledgements are no longer written
	reserved       int               // places for receipts
	outbox         []outgoingMessage // to be sent to this client
	unacknowledged map[uint16]struct{}
	lastID         uint16 // packet identifier of the last message sent
}

// publish is a message that waits for its acknowledgement.
type publish struct {
	s        *session
	id       uint16 // 0: QoS 0, which only wants its receipt
	settled  bool   // receipt is set
	receipt  ingest.Receipt
	response *responseAddress // nil: no receipt is sent
}

func (b *Broker) newSession(gateway Gateway, cl *mqtt.Client) *session {
	return &session{
		b:              b,
		gateway:        gateway,
		client:         cl,
		window:         make(chan struct{}, b.cfg.ReceiveMaximum),
		wake:           make(chan struct{}, 1),
		ended:          make(chan struct{}),
		unacknowledged: map[uint16]struct{}{},
	}
}

// blockReading notes that the client is not read from until unblockReading.
func (s *session) blockReading(since time.Time) {
	s.blockedSince.Store(max(1, int64(since.Sub(s.b.started))))
}

func (s *session) unblockReading() {
	if s.isLong(s.blockedSince.Swap(0)) {
		s.wasBlocked.Store(true)
	}
}

// isLong reports whether a client that is blocked since then waits for a full pipeline.
func (s *session) isLong(since int64) bool {
	return since != 0 && time.Since(s.b.started)-time.Duration(since) > time.Millisecond
}

// answerPing sends a PINGRESP for a PINGREQ that may not have been read yet. A client whose ping
// is not answered disconnects, and the longer the database was away, the more packets precede the
// ping.
func (s *session) answerPing() {
	if wasBlocked := s.wasBlocked.Swap(false); wasBlocked || s.isLong(s.blockedSince.Load()) {
		s.pingDue.Store(true)
		s.wakeUp()
	}
}

func (s *session) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// addPending adds a publish that is to be acknowledged or answered. It returns false when a v5
// client has exceeded the Receive Maximum; an older client, which knows no such number, waits.
func (s *session) addPending(ctx context.Context, p *publish) bool {
	if p.id != 0 && !s.enterWindow(ctx) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, p)
	return true
}

func (s *session) enterWindow(ctx context.Context) bool {
	select {
	case s.window <- struct{}{}:
		return true
	default:
	}
	if s.client.Properties.ProtocolVersion == 5 {
		return false
	}
	select {
	case s.window <- struct{}{}:
	case <-s.ended:
	case <-ctx.Done():
	}
	return true
}

// done takes the receipt of a committed message. It never blocks.
func (p *publish) done(r ingest.Receipt) {
	p.s.mu.Lock()
	p.receipt, p.settled = r, true
	isFirst, writerEnded := p.s.pending[0] == p, p.s.writerEnded
	p.s.mu.Unlock()
	switch {
	case writerEnded && p.response != nil: // another connection of the gateway may subscribe
		p.s.b.sendReceipt(p)
	case isFirst:
		p.s.wakeUp()
	}
}

// writeAcknowledgements writes acknowledgements, in the order of the publishes, until the
// connection ends. All that are ready go out in one write. It runs in a goroutine of its own: a
// gateway that does not read must not delay others.
func (s *session) writeAcknowledgements() {
	var buf bytes.Buffer
	for {
		select {
		case <-s.wake:
		case <-s.ended:
			s.endWriting()
			return
		}
		for _, p := range s.takeSettled() {
			if p.id != 0 {
				s.appendPuback(&buf, p)
				<-s.window
			}
			if p.response != nil {
				s.b.sendReceipt(p)
			}
		}
		s.appendOutbox(&buf)
		if s.pingDue.Swap(false) {
			buf.Write([]byte{packets.Pingresp << 4, 0})
		}
		if err := s.write(&buf); err != nil {
			s.client.Stop(err)
			s.endWriting()
			return
		}
	}
}

// endWriting sends the receipts of settled publishes to other connections of the gateway; done
// sends later ones.
func (s *session) endWriting() {
	s.mu.Lock()
	s.writerEnded = true
	pending := slices.Clone(s.pending)
	var settled []*publish
	for _, p := range pending {
		if p.settled && p.response != nil {
			settled = append(settled, p)
		}
	}
	s.mu.Unlock()
	for _, p := range settled {
		s.b.sendReceipt(p)
	}
}

// takeSettled removes the settled publishes from the front of pending.
func (s *session) takeSettled() []*publish {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.pending) && s.pending[n].settled {
		n++
	}
	settled := s.pending[:n:n]
	s.pending = s.pending[n:]
	return settled
}

// appendPuback appends a PUBACK, with a reason string if the client wants it and its maximum
// packet size allows it.
func (s *session) appendPuback(buf *bytes.Buffer, p *publish) {
	props := &s.client.Properties
	// Nearly all are of this form, which is the same in all versions.
	if props.ProtocolVersion < 5 || p.receipt.Code == 0 && p.receipt.Text == "" {
		buf.Write([]byte{packets.Puback << 4, 2, byte(p.id >> 8), byte(p.id)})
		return
	}
	pk := packets.Packet{
		FixedHeader:     packets.FixedHeader{Type: packets.Puback},
		ProtocolVersion: props.ProtocolVersion,
		PacketID:        p.id,
		ReasonCode:      p.receipt.Code,
		Properties:      packets.Properties{ReasonString: p.receipt.Text},
	}
	pk.Mods.DisallowProblemInfo = props.Props.RequestProblemInfoFlag &&
		props.Props.RequestProblemInfo == 0
	at := buf.Len()
	err := pk.PubackEncode(buf)
	limit := int(props.Props.MaximumPacketSize)
	if err == nil && limit > 0 && buf.Len()-at > limit {
		buf.Truncate(at)
		pk.Properties.ReasonString = ""
		err = pk.PubackEncode(buf)
	}
	if err != nil { // the encoder fails only on fields that are not set here
		buf.Truncate(at)
	}
}

// write sends buf. It holds the client's lock because mochi writes as well.
func (s *session) write(buf *bytes.Buffer) error {
	if buf.Len() == 0 {
		return nil
	}
	s.client.Lock()
	defer s.client.Unlock()
	_, err := buf.WriteTo(s.client.Net.Conn)
	return err
}

// close ends writeAcknowledgements. What is still pending was not acknowledged.
func (s *session) close() {
	s.end.Do(func() {
		close(s.ended)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed = true
		s.b.outgoing.Add(-int64(s.reserved))
	})
}
