package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/oei-ms/oei-ms/ingest"
)

// gate is the hook through which every publish leaves the broker, and through which its PUBACK
// comes back after the commit.
//
// What it relies on in mochi-mqtt is pinned by tests: ErrRejectPacket from OnPublish means no
// PUBACK and no routing, any other error a PUBACK of success; wills pass neither OnACLCheck nor
// OnPublish; no hook is protected against a panic; an error from OnPacketRead other than
// ErrRejectPacket is ignored; a publish to $SYS is passed over without an acknowledgement.
type gate struct {
	mqtt.HookBase
	b *Broker
}

// ID names the hook.
func (g *gate) ID() string { return "oei-ms" }

// Provides lists the hooks below.
func (g *gate) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSessionEstablished,
		mqtt.OnDisconnect,
		mqtt.OnPacketRead, mqtt.OnPacketEncode, mqtt.OnPublish, mqtt.OnSubscribed, mqtt.OnWill,
		mqtt.OnWillSent:
		return true
	}
	return false
}

// OnConnect checks who connects, and answers itself where the broker would not say why.
func (g *gate) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	c := connOf(cl)
	if c.surplus {
		return g.turnAway(c, packets.ErrQuotaExceeded,
			"there are as many connections as are allowed, in all or from this address")
	}
	if c.certified != "" && len(pk.Connect.Username) == 0 {
		cl.Properties.Username = []byte(c.certified)
		c.request.username = c.certified
	}
	key := string(cl.Properties.Username)
	if cl.ID != key && !strings.HasPrefix(cl.ID, key+":") {
		return g.turnAway(c, packets.ErrClientIdentifierNotValid,
			"the client id must be the user name, the gateway's key, alone or with a colon and more behind it")
	}
	ctx, cancel := context.WithTimeout(g.b.ctx, g.b.cfg.ConnectTimeout)
	defer cancel()
	gateway, ok, wait, err := g.b.login(ctx, c, key, string(pk.Connect.Password))
	var others bool
	if ok && err == nil {
		others, err = g.b.isOthersID(ctx, cl.ID, key)
	}
	switch {
	case wait > 0:
		return g.turnAway(c, packets.ErrConnectionRateExceeded,
			fmt.Sprintf("too many wrong secrets; wait %v", wait.Round(time.Second)))
	case err != nil:
		if others, ok := g.b.trouble.due(); ok {
			g.b.log.WarnContext(g.b.ctx, "cannot check a gateway's credential", "gateway", key,
				"error", err, "others", others)
		}
		return g.turnAway(c, packets.ErrServerUnavailable, notNow)
	case !ok:
		return g.turnAway(c, packets.ErrBadUsernameOrPassword,
			"no gateway in use has this key with this secret or certificate")
	case others:
		return g.turnAway(c, packets.ErrClientIdentifierNotValid,
			"the client id is that of another gateway, whose key begins with this one's and a colon")
	}
	if cl.State.Keepalive > longestKeepAlive {
		cl.State.Keepalive, cl.State.ServerKeepalive = longestKeepAlive, true
	}
	s := g.b.newSession(gateway, cl)
	// before the session is looked up: the end of an earlier connection must not end it
	if !g.b.add(cl, s) {
		c.end(reasonSessions)
		return g.turnAway(c, packets.ErrQuotaExceeded,
			fmt.Sprintf("the gateway has %d connections, which is as many as are allowed",
				maxSessions))
	}
	if err := g.b.resume(ctx, cl, s, pk.Connect.Clean); err != nil {
		g.b.remove(cl)
		if others, ok := g.b.trouble.due(); ok {
			g.b.log.WarnContext(ctx, "cannot look up an mqtt session", "gateway", key, "error", err,
				"others", others)
		}
		return g.turnAway(c, packets.ErrServerUnavailable, notNow)
	}
	c.accept(g.b.loginOf(gateway, cl))
	g.b.takeOver(cl, c)
	return nil
}

const notNow = "the database is away; try again later"

// loginOf is what the connection of a gateway needs of the broker.
func (b *Broker) loginOf(gateway Gateway, cl *mqtt.Client) *login {
	return &login{
		gateway: gateway,
		disconnect: func(f *packetFault) {
			b.disconnect(cl,
				packets.Code{Code: f.code, Reason: f.text})
		},
		reject: func(topic string, payload []byte, f *packetFault) {
			refused := ingest.RefusedTooLarge
			if f.code == codeQoS {
				refused = ingest.RefusedQoS
			}
			_ = b.hand(ingest.Message{
				Topic:     topic,
				Payload:   payload,
				GatewayID: gateway.ID,
				Gateway:   gateway.Key,
				Link:      ingest.Linked,
				Received:  time.Now(),
				Refused:   refused, Detail: f.text,
			})
		},
		leave: func() { b.leave(cl) },
	}
}

// connOf is the connection of a client.
func connOf(cl *mqtt.Client) *conn {
	c, ok := cl.Net.Conn.(*conn)
	if !ok { // it stands for a session whose client is away
		c = &conn{}
	}
	return c
}

// login returns the gateway that connects. A certificate is the gateway's own or no good; one does
// without a secret. After too many wrong secrets no more are looked at for a while.
func (b *Broker) login(
	ctx context.Context, c *conn, key, secret string,
) (g Gateway, ok bool, wait time.Duration, err error) {
	switch {
	case c.certified != "" && c.certified != key:
		return Gateway{}, false, 0, nil
	case c.certified != "" && secret == "" && b.access.Certified != nil:
		g, ok, err = b.access.Certified(ctx, key)
		return g, ok, 0, err
	case b.access.BeginLogin == nil:
		g, ok, err = b.access.Login(ctx, key, secret)
		return g, ok, 0, err
	}
	address, _, _ := net.SplitHostPort(c.wire.RemoteAddr().String())
	if wait, err = b.access.BeginLogin(ctx, address, key); wait > 0 || err != nil {
		return Gateway{}, false, wait, err
	}
	g, ok, err = b.access.Login(ctx, key, secret)
	if ok || err != nil {
		err = errors.Join(err, b.access.EndLogin(context.WithoutCancel(ctx), address, key, ok))
	}
	return g, ok, 0, err
}

// maxKey is how many bytes the key of a gateway has at most.
const maxKey = 64

// isOthersID reports whether the client id of the gateway with a key is another gateway's, whose
// key is longer: keys may have colons.
func (b *Broker) isOthersID(ctx context.Context, id, key string) (bool, error) {
	var longer []string
	for n := len(key) + 1; n <= min(len(id), maxKey); n++ {
		if n == len(id) || id[n] == ':' {
			longer = append(longer, id[:n])
		}
	}
	if len(longer) == 0 || b.access.HasGateway == nil {
		return false, nil
	}
	return b.access.HasGateway(ctx, longer)
}

// longestKeepAlive is in seconds. The broker reckons one and a half times of it in 16 bits, and
// comes to nothing at all behind these.
const longestKeepAlive = 12 * 3600

// turnAway refuses who connects, and says why where its version of MQTT has a way to.
func (g *gate) turnAway(c *conn, code packets.Code, why string) error {
	c.refuse(&packetFault{code.Code, why})
	return code
}

// OnConnectAuthenticate lets in whom OnConnect did. For one with a session of which the broker
// knows nothing, since it started after it, there is a stand-in to take over from: then it says
// that the session is present.
func (g *gate) OnConnectAuthenticate(cl *mqtt.Client, _ packets.Packet) bool {
	s := g.b.session(cl)
	if s == nil {
		return false
	}
	existing, known := g.b.server.Clients.Get(cl.ID)
	// the key was another gateway's: its session ends
	if known && !connOf(existing).isOf(s.gateway) {
		g.b.forget(existing)
		known = false
	}
	if s.present && !known {
		g.b.server.Clients.Add(g.b.server.NewClient(nil, cl.Net.Listener, cl.ID, false))
	}
	return true
}

// OnACLCheck lets a gateway publish anywhere, since nothing is routed and the pipeline decides and
// records, and subscribe to what is addressed to it.
func (g *gate) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	s := g.b.session(cl)
	if s == nil {
		return false
	}
	return write || s.maySubscribe(topic) && s.hasRoomFor(topic)
}

// maySubscribe reports whether topic is addressed to the gateway.
func (s *session) maySubscribe(topic string) bool {
	return !strings.ContainsAny(topic, "+#") &&
		(s.owns(topic, "commands") || s.owns(topic, "receipts") || s.hears(topic))
}

const (
	// maxSubscriptions is how many subscriptions a session has.
	maxSubscriptions = 1000
	// maxFilter is the longest topic filter of a subscription, in bytes.
	maxFilter = 1 << 10
)

// hasRoomFor reports whether the session may have a subscription to topic besides those it has.
func (s *session) hasRoomFor(topic string) bool {
	subscriptions := s.client.State.Subscriptions
	_, existing := subscriptions.Get(topic)
	return existing || subscriptions.Len() < maxSubscriptions && len(topic) <= maxFilter
}

// owns reports whether topic is gateways/{gateway}/{branch} or below it.
func (s *session) owns(topic, branch string) bool {
	rest, ok := strings.CutPrefix(topic, "gateways/"+s.gateway.Key+"/"+branch)
	return ok && (rest == "" || rest[0] == '/')
}

// hears reports whether topic has alarms of the gateway's own sensors, alarms/{gateway}/{sensor}.
func (s *session) hears(topic string) bool {
	sensor, ok := strings.CutPrefix(topic, "alarms/"+s.gateway.Key+"/")
	return ok && sensor != "" && !strings.Contains(sensor, "/")
}

// OnSubscribed says why a subscription is refused, where the broker only says that it is. The codes
// are those of the SUBACK, which is still to be sent.
func (g *gate) OnSubscribed(cl *mqtt.Client, pk packets.Packet, codes []byte) {
	s := g.b.session(cl)
	for i, f := range pk.Filters {
		switch {
		case codes[i] < packets.ErrUnspecifiedError.Code:
		case cl.Properties.ProtocolVersion < 5:
			codes[i] = packets.ErrUnspecifiedError.Code
		case mqtt.IsSharedFilter(f.Filter):
			codes[i] = packets.ErrSharedSubscriptionsNotSupported.Code
		case codes[i] == packets.ErrNotAuthorized.Code && strings.ContainsAny(f.Filter, "+#"):
			codes[i] = packets.ErrWildcardSubscriptionsNotSupported.Code
		case codes[i] == packets.ErrNotAuthorized.Code && s != nil && s.maySubscribe(f.Filter):
			codes[i] = packets.ErrQuotaExceeded.Code
		}
	}
}

// OnPacketRead takes acknowledgements of receipts. A topic that the broker would pass over in
// silence, so that the publisher waited for its acknowledgement for ever, is made one that the
// pipeline refuses and records.
func (g *gate) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	switch pk.FixedHeader.Type {
	case packets.Publish:
		if strings.HasPrefix(pk.TopicName, "$") {
			pk.TopicName = "/" + pk.TopicName
		}
	case packets.Connect:
		adjustConnect(&pk)
	case packets.Subscribe:
		return pk, g.b.recheck(cl)
	case packets.Puback:
		if s := g.b.session(cl); s != nil {
			s.confirm(pk.PacketID)
		}
	}
	return pk, nil
}

// adjustConnect changes what the broker would refuse and MQTT allows: a password or a will's
// payload of no bytes, and what an older client was not told is not supported.
func adjustConnect(pk *packets.Packet) {
	c := &pk.Connect
	c.PasswordFlag = len(c.Password) > 0
	if c.WillFlag && len(c.WillPayload) == 0 {
		c.WillPayload = []byte(" ") // to the pipeline it is as empty
	}
	if pk.ProtocolVersion < 5 {
		c.WillRetain, c.WillQos = false, min(c.WillQos, 1)
	}
}

// OnPacketEncode tells a client that connects what it need not try.
func (g *gate) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Type == packets.Connack && cl.Properties.ProtocolVersion == 3 {
		pk.SessionPresent = false // MQTT 3.1 reserves that bit
	}
	if pk.FixedHeader.Type == packets.Connack && cl.Properties.ProtocolVersion == 5 &&
		pk.ReasonCode == packets.CodeSuccess.Code {
		p := &pk.Properties
		p.RetainAvailableFlag, p.WildcardSubAvailableFlag, p.SharedSubAvailableFlag = true, true, true
		p.MaximumPacketSize = uint32(g.b.cfg.MaxPacket)
	}
	return pk
}

// OnSessionEstablished makes the gateway known as online.
func (g *gate) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	if s := g.b.session(cl); s != nil {
		go s.acknowledge()
		s.hold(time.Now())
		defer s.release()
		g.b.report(s.gateway, "online", ingest.LinkUp)
	}
}

// OnDisconnect ends the session.
func (g *gate) OnDisconnect(cl *mqtt.Client, err error, _ bool) {
	if code, ok := errors.AsType[packets.Code](err); ok {
		connOf(cl).end(endReason(code.Code), slog.String("detail", code.Reason))
	}
	g.b.leave(cl)
}

// OnPublish hands the message to the pipeline and keeps the broker from acknowledging and routing
// it. It waits while the pipeline is full, and so stops reading from this client. A message that
// breaks the pipeline ends the connection, not acknowledged.
func (g *gate) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	s := g.b.session(cl)
	if s == nil {
		return pk, packets.ErrRejectPacket
	}
	m := ingest.Message{
		Topic:       pk.TopicName,
		Payload:     pk.Payload,
		GatewayID:   s.gateway.ID,
		Gateway:     s.gateway.Key,
		Link:        ingest.Linked,
		Received:    time.Now(),
		Expiry:      time.Duration(pk.Properties.MessageExpiryInterval) * time.Second,
		ContentType: pk.Properties.ContentType,
		Text:        pk.Properties.PayloadFormatFlag && pk.Properties.PayloadFormat == 1,
	}
	if pk.FixedHeader.Retain {
		g.b.metrics.retained.Inc()
	}
	s.hold(m.Received)
	defer s.release()
	reply := g.b.reply(s, &pk)
	if pk.FixedHeader.Qos > 0 || reply != nil {
		a := s.expect(g.b.ctx, &ack{s: s, id: pk.PacketID, reply: reply})
		if a == nil {
			g.b.disconnect(cl, packets.ErrReceiveMaximum)
			return pk, packets.ErrRejectPacket
		}
		m.Done, m.Itemized = a.done, reply != nil
	}
	switch err := g.b.hand(m); {
	case errors.Is(err, errBroke):
		g.b.disconnect(cl, packets.ErrImplementationSpecificError)
	case err != nil && pk.FixedHeader.Qos == 0:
		g.b.metrics.dropped.Inc()
	}
	return pk, packets.ErrRejectPacket
}

// OnWill lets only wills pass that go to the pipeline; any other could reach a client it is not
// meant for. A gateway that has connected anew is not gone, whatever the will of its old connection
// says.
func (g *gate) OnWill(cl *mqtt.Client, will mqtt.Will) (mqtt.Will, error) {
	kind, l := ingest.ParseTopic(will.TopicName).Kind, connOf(cl).login
	if l == nil || kind == ingest.None || kind == ingest.StatusReport &&
		g.b.replaced(cl, l.gateway.ID) {
		return mqtt.Will{}, nil
	}
	return will, nil
}

// OnWillSent hands the will to the pipeline, which checks that its topic is the gateway's own.
func (g *gate) OnWillSent(cl *mqtt.Client, pk packets.Packet) {
	l := connOf(cl).login
	if pk.TopicName == "" || l == nil {
		return
	}
	_ = g.b.hand(ingest.Message{
		Topic:     pk.TopicName,
		Payload:   pk.Payload,
		GatewayID: l.gateway.ID,
		Gateway:   l.gateway.Key,
		Link:      ingest.LinkDown,
		Received:  time.Now(),
		Will:      true,
	})
}
