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

// session is a gateway's connection: the publishes it waits for an acknowledgement of, in their
// order.
type session struct {
	b       *Broker
	gateway Gateway
	client  *mqtt.Client
	present bool          // there is a session from before
	room    chan struct{} // one for each publish on its way; its size is Receive Maximum
	wake    chan struct{}
	ended   chan struct{}
	end     sync.Once
	// since when nothing is read from the client, from the start of the broker; 0: it is read
	held   atomic.Int64
	behind atomic.Bool // it was held for long
	beat   atomic.Bool // it is due an answer to a ping

	mu          sync.Mutex
	pending     []*ack
	closed      bool
	left        bool     // nobody writes acknowledgements any more
	reserved    int      // places for receipts
	outbox      []letter // receipts to be sent to this client
	unconfirmed map[uint16]struct{}
	lastID      uint16 // of a receipt
}

// ack is a publish that waits for its acknowledgement.
type ack struct {
	s       *session
	id      uint16 // 0: of QoS 0, which only wants its receipt
	settled bool   // the receipt is there
	receipt ingest.Receipt
	reply   *reply // where it is to go; nil: nowhere
}

func (b *Broker) newSession(gateway Gateway, cl *mqtt.Client) *session {
	return &session{
		b:           b,
		gateway:     gateway,
		client:      cl,
		room:        make(chan struct{}, b.cfg.ReceiveMaximum),
		wake:        make(chan struct{}, 1),
		ended:       make(chan struct{}),
		unconfirmed: map[uint16]struct{}{},
	}
}

// hold says that nothing is read from the client until release.
func (s *session) hold(since time.Time) { s.held.Store(max(1, int64(since.Sub(s.b.started)))) }

func (s *session) release() {
	if s.long(s.held.Swap(0)) {
		s.behind.Store(true)
	}
}

// long reports whether the pipeline must have been full, for a message to be held since then.
func (s *session) long(since int64) bool {
	return since != 0 && time.Since(s.b.started)-time.Duration(since) > time.Millisecond
}

// reassure answers a ping that may be waiting behind what was not read yet. A client whose ping is
// not answered hangs up, and the longer the database was away, the longer is what stands before the
// ping.
func (s *session) reassure() {
	if behind := s.behind.Swap(false); behind || s.long(s.held.Load()) {
		s.beat.Store(true)
		s.wakeUp()
	}
}

func (s *session) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// expect notes a publish that is to be acknowledged or answered. A v5 client with more to be
// acknowledged than it was allowed gets nil; an older one, which was told no number, waits.
func (s *session) expect(ctx context.Context, a *ack) *ack {
	if a.id != 0 && !s.makeRoom(ctx) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, a)
	return a
}

func (s *session) makeRoom(ctx context.Context) bool {
	select {
	case s.room <- struct{}{}:
		return true
	default:
	}
	if s.client.Properties.ProtocolVersion == 5 {
		return false
	}
	select {
	case s.room <- struct{}{}:
	case <-s.ended:
	case <-ctx.Done():
	}
	return true
}

// done takes the receipt of a committed message. It never blocks.
func (a *ack) done(r ingest.Receipt) {
	a.s.mu.Lock()
	a.receipt, a.settled = r, true
	first, left := a.s.pending[0] == a, a.s.left
	a.s.mu.Unlock()
	switch {
	case left && a.reply != nil: // others of the gateway's connections may listen
		a.s.b.answer(a)
	case first:
		a.s.wakeUp()
	}
}

// leave sends the receipts of what is committed already, to others of the gateway's connections;
// those of the rest follow.
func (s *session) leave() {
	s.mu.Lock()
	s.left = true
	pending := slices.Clone(s.pending)
	var settled []*ack
	for _, a := range pending {
		if a.settled && a.reply != nil {
			settled = append(settled, a)
		}
	}
	s.mu.Unlock()
	for _, a := range settled {
		s.b.answer(a)
	}
}

// acknowledge writes acknowledgements, in the order of the publishes, until the connection ends.
// All that are ready go out in one write. It has a goroutine of its own: a gateway that stops
// reading must not hold up the others.
func (s *session) acknowledge() {
	var buf bytes.Buffer
	for {
		select {
		case <-s.wake:
		case <-s.ended:
			s.leave()
			return
		}
		for _, a := range s.ready() {
			if a.id != 0 {
				s.encode(&buf, a)
				<-s.room
			}
			if a.reply != nil {
				s.b.answer(a)
			}
		}
		s.deliver(&buf)
		if s.beat.Swap(false) {
			buf.Write([]byte{packets.Pingresp << 4, 0})
		}
		if err := s.write(&buf); err != nil {
			s.client.Stop(err)
			s.leave()
			return
		}
	}
}

// ready takes the publishes from the front that are settled.
func (s *session) ready() []*ack {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.pending) && s.pending[n].settled {
		n++
	}
	ready := s.pending[:n:n]
	s.pending = s.pending[n:]
	return ready
}

// encode appends a PUBACK; one with a reason string only to a client that wants it and can take it.
func (s *session) encode(buf *bytes.Buffer, a *ack) {
	props := &s.client.Properties
	// nearly all; both versions write it so
	if props.ProtocolVersion < 5 || a.receipt.Code == 0 && a.receipt.Text == "" {
		buf.Write([]byte{packets.Puback << 4, 2, byte(a.id >> 8), byte(a.id)})
		return
	}
	pk := packets.Packet{
		FixedHeader:     packets.FixedHeader{Type: packets.Puback},
		ProtocolVersion: props.ProtocolVersion,
		PacketID:        a.id,
		ReasonCode:      a.receipt.Code,
		Properties:      packets.Properties{ReasonString: a.receipt.Text},
	}
	pk.Mods.DisallowProblemInfo = props.Props.RequestProblemInfoFlag &&
		props.Props.RequestProblemInfo == 0
	at := buf.Len()
	err := pk.PubackEncode(buf)
	if limit := int(props.Props.MaximumPacketSize); err == nil && limit > 0 &&
		buf.Len()-at > limit {
		buf.Truncate(at)
		pk.Properties.ReasonString = ""
		err = pk.PubackEncode(buf)
	}
	if err != nil { // the encoder only fails on what is not set here
		buf.Truncate(at)
	}
}

// write sends what is in buf. The client's lock keeps it apart from what the broker writes.
func (s *session) write(buf *bytes.Buffer) error {
	if buf.Len() == 0 {
		return nil
	}
	s.client.Lock()
	defer s.client.Unlock()
	_, err := buf.WriteTo(s.client.Net.Conn)
	return err
}

// close ends acknowledge. What is still pending was not acknowledged.
func (s *session) close() {
	s.end.Do(func() {
		close(s.ended)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed = true
		s.b.letters.Add(-int64(s.reserved))
	})
}
