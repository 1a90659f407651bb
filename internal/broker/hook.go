package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/oei-ms/oei-ms/ingest"
)

// hook implements mochi's callbacks. Every publish goes through OnPublish to the pipeline, and its
// PUBACK is written by the session after the COMMIT.
//
// It relies on this behaviour of mochi-mqtt, which tests pin: ErrRejectPacket from OnPublish means
// no PUBACK and no routing, and any other error a PUBACK of success; wills pass neither OnACLCheck
// nor OnPublish; no hook is protected against a panic; an error from OnPacketRead other than
// ErrRejectPacket is ignored; a publish to $SYS is skipped without a PUBACK.
type hook struct {
	mqtt.HookBase
	b *Broker
}

// ID names the hook.
func (h *hook) ID() string { return "oei-ms" }

// Provides lists the callbacks below.
func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSessionEstablished,
		mqtt.OnDisconnect, mqtt.OnPacketRead, mqtt.OnPacketEncode, mqtt.OnPublish,
		mqtt.OnSubscribed, mqtt.OnWill, mqtt.OnWillSent:
		return true
	}
	return false
}

// OnConnect checks the login. It writes the CONNACK of a refusal itself, because mochi's has no
// reason string.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	c := connOf(cl)
	if c.overLimit {
		return h.refuse(c, packets.ErrQuotaExceeded,
			"the maximum number of connections is open, in all or from this address")
	}
	if c.certName != "" && len(pk.Connect.Username) == 0 {
		cl.Properties.Username = []byte(c.certName)
		c.request.username = c.certName
	}
	key := string(cl.Properties.Username)
	if cl.ID != key && !strings.HasPrefix(cl.ID, key+":") {
		return h.refuse(c, packets.ErrClientIdentifierNotValid,
			"the client id must be the user name, which is the gateway's key, "+
				"alone or followed by a colon and a suffix")
	}
	ctx, cancel := context.WithTimeout(h.b.ctx, h.b.cfg.ConnectTimeout)
	defer cancel()
	gateway, ok, wait, err := h.b.login(ctx, c, key, string(pk.Connect.Password))
	var isOthersID bool
	if ok && err == nil {
		isOthersID, err = h.b.isOthersID(ctx, cl.ID, key)
	}
	switch {
	case wait > 0:
		return h.refuse(c, packets.ErrConnectionRateExceeded,
			fmt.Sprintf("too many wrong secrets; wait %v", wait.Round(time.Second)))
	case err != nil:
		if count, ok := h.b.databaseLog.allow(""); ok {
			h.b.log.WarnContext(h.b.ctx, "checking gateway credential failed", "gateway", key,
				"error", err, "count", count)
		}
		return h.refuse(c, packets.ErrServerUnavailable, databaseAway)
	case !ok:
		return h.refuse(c, packets.ErrBadUsernameOrPassword,
			"no gateway in use has this key with this secret or certificate")
	case isOthersID:
		return h.refuse(c, packets.ErrClientIdentifierNotValid, "the client id is that of "+
			"another gateway, whose key begins with this one's and a colon")
	}
	if cl.State.Keepalive > maxKeepAlive {
		cl.State.Keepalive, cl.State.ServerKeepalive = maxKeepAlive, true
	}
	s := h.b.newSession(gateway, cl)
	// Before the stored session is looked up: the end of an earlier connection must not end it.
	if !h.b.add(cl, s) {
		c.noteEnd(reasonSessions)
		return h.refuse(c, packets.ErrQuotaExceeded, fmt.Sprintf(
			"the gateway has %d connections, which is the maximum", maxSessions))
	}
	if err := h.b.resume(ctx, cl, s, pk.Connect.Clean); err != nil {
		h.b.remove(cl)
		if count, ok := h.b.databaseLog.allow(""); ok {
			h.b.log.WarnContext(ctx, "looking up mqtt session failed", "gateway", key,
				"error", err, "count", count)
		}
		return h.refuse(c, packets.ErrServerUnavailable, databaseAway)
	}
	c.accept(h.b.loginOf(gateway, cl))
	h.b.noteTakeOver(cl, c)
	return nil
}

// loginOf returns what a connection needs of the broker once its gateway has logged in.
func (b *Broker) loginOf(gateway Gateway, cl *mqtt.Client) *login {
	return &login{
		gateway: gateway,
		disconnect: func(e *packetError) {
			b.disconnect(cl, packets.Code{Code: e.code, Reason: e.text})
		},
		reject: func(topic string, payload []byte, e *packetError) {
			reason := ingest.ReasonTooLarge
			if e.code == codeQoS {
				reason = ingest.ReasonUnsupportedQoS
			}
			_ = b.submit(ingest.Message{
				Topic:     topic,
				Payload:   payload,
				GatewayID: gateway.ID,
				Gateway:   gateway.Key,
				Link:      ingest.Linked,
				Received:  time.Now(),
				Rejection: reason,
				Detail:    e.text,
			})
		},
		end: func() { b.endSession(cl) },
	}
}

// connOf returns the connection of a client.
func connOf(cl *mqtt.Client) *conn {
	c, ok := cl.Net.Conn.(*conn)
	if !ok { // a placeholder for a session whose client is away
		c = &conn{}
	}
	return c
}

// maxKeepAlive is in seconds. mochi computes 1.5 × keep-alive as uint16, which overflows above
// 43690.
const maxKeepAlive = 12 * 3600

// refuse answers a CONNECT, with a reason string where the client's version of MQTT has one.
func (h *hook) refuse(c *conn, code packets.Code, reason string) error {
	c.refuse(&packetError{code.Code, reason})
	return code
}

// OnConnectAuthenticate accepts the clients that OnConnect has logged in. When a client has a
// stored session that mochi does not know, because the broker was restarted since, it adds a
// placeholder client for mochi to take over from, so that the CONNACK says Session Present.
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, _ packets.Packet) bool {
	s := h.b.session(cl)
	if s == nil {
		return false
	}
	existing, known := h.b.server.Clients.Get(cl.ID)
	if known && !connOf(existing).mayBelongTo(s.gateway) {
		// The key was another gateway's, whose session ends.
		h.b.discard(existing)
		known = false
	}
	if s.present && !known {
		h.b.server.Clients.Add(h.b.server.NewClient(nil, cl.Net.Listener, cl.ID, false))
	}
	return true
}

// OnACLCheck allows a gateway to publish to any topic, because nothing is routed and the pipeline
// decides and records, and to subscribe to its own topics.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	s := h.b.session(cl)
	if s == nil {
		return false
	}
	return write || s.maySubscribe(topic) && s.hasCapacityFor(topic)
}

// OnSubscribed replaces mochi's reason codes for refused subscriptions by more precise ones. codes
// are those of the SUBACK, which is not yet sent.
func (h *hook) OnSubscribed(cl *mqtt.Client, pk packets.Packet, codes []byte) {
	s := h.b.session(cl)
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

// OnPacketRead handles the acknowledgements of receipts. It changes a topic that begins with $,
// which mochi would skip without a PUBACK, into one that the pipeline rejects and records.
func (h *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	switch pk.FixedHeader.Type {
	case packets.Publish:
		if strings.HasPrefix(pk.TopicName, "$") {
			pk.TopicName = "/" + pk.TopicName
		}
	case packets.Connect:
		adjustConnect(&pk)
	case packets.Subscribe:
		return pk, h.b.checkCredential(cl)
	case packets.Puback:
		if s := h.b.session(cl); s != nil {
			s.acknowledged(pk.PacketID)
		}
	}
	return pk, nil
}

// adjustConnect changes what mochi would refuse and MQTT allows: an empty password, an empty will
// payload, and what a client older than v5 cannot be told is not supported.
func adjustConnect(pk *packets.Packet) {
	c := &pk.Connect
	c.PasswordFlag = len(c.Password) > 0
	if c.WillFlag && len(c.WillPayload) == 0 {
		c.WillPayload = []byte(" ") // the pipeline takes it for empty
	}
	if pk.ProtocolVersion < 5 {
		c.WillRetain, c.WillQos = false, min(c.WillQos, 1)
	}
}

// OnPacketEncode completes the CONNACK with what is not available.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Type == packets.Connack && cl.Properties.ProtocolVersion == 3 {
		pk.SessionPresent = false // MQTT 3.1 reserves that bit
	}
	if pk.FixedHeader.Type == packets.Connack && cl.Properties.ProtocolVersion == 5 &&
		pk.ReasonCode == packets.CodeSuccess.Code {
		p := &pk.Properties
		p.RetainAvailableFlag = true
		p.WildcardSubAvailableFlag = true
		p.SharedSubAvailableFlag = true
		p.MaximumPacketSize = uint32(h.b.cfg.MaxPacket)
	}
	return pk
}

// OnSessionEstablished submits the status online.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	if s := h.b.session(cl); s != nil {
		go s.writeAcknowledgements()
		s.blockReading(time.Now())
		defer s.unblockReading()
		h.b.submitStatus(s.gateway, "online", ingest.LinkUp)
	}
}

// OnDisconnect ends the session.
func (h *hook) OnDisconnect(cl *mqtt.Client, err error, _ bool) {
	if code, ok := errors.AsType[packets.Code](err); ok {
		connOf(cl).noteEnd(reasonOfCode(code.Code), slog.String("detail", code.Reason))
	}
	h.b.endSession(cl)
}

// OnPublish submits the message to the pipeline, and keeps mochi from acknowledging and routing it.
// It waits while the pipeline is full, so that nothing is read from this client. A message on which
// the pipeline panics ends the connection without an acknowledgement.
func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	s := h.b.session(cl)
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
		h.b.metrics.retained.Inc()
	}
	s.blockReading(m.Received)
	defer s.unblockReading()
	response := h.b.responseAddress(s, &pk)
	if pk.FixedHeader.Qos > 0 || response != nil {
		p := &publish{s: s, id: pk.PacketID, response: response}
		if !s.addPending(h.b.ctx, p) {
			h.b.disconnect(cl, packets.ErrReceiveMaximum)
			return pk, packets.ErrRejectPacket
		}
		m.Done, m.Itemized = p.done, response != nil
	}
	switch err := h.b.submit(m); {
	case errors.Is(err, errPanicked):
		h.b.disconnect(cl, packets.ErrImplementationSpecificError)
	case err != nil && pk.FixedHeader.Qos == 0:
		h.b.metrics.dropped.Inc()
	}
	return pk, packets.ErrRejectPacket
}

// OnWill drops a will that is not for the pipeline, because mochi would route it, and a status in
// the will of a gateway that has connected again.
func (h *hook) OnWill(cl *mqtt.Client, will mqtt.Will) (mqtt.Will, error) {
	kind, l := ingest.ParseTopic(will.TopicName).Kind, connOf(cl).login
	if l == nil || kind == ingest.None ||
		kind == ingest.StatusReport && h.b.hasReplacement(cl, l.gateway.ID) {
		return mqtt.Will{}, nil
	}
	return will, nil
}

// OnWillSent submits the will to the pipeline, which checks that its topic is the gateway's own.
func (h *hook) OnWillSent(cl *mqtt.Client, pk packets.Packet) {
	l := connOf(cl).login
	if pk.TopicName == "" || l == nil {
		return
	}
	_ = h.b.submit(ingest.Message{
		Topic:     pk.TopicName,
		Payload:   pk.Payload,
		GatewayID: l.gateway.ID,
		Gateway:   l.gateway.Key,
		Link:      ingest.LinkDown,
		Received:  time.Now(),
		Will:      true,
	})
}
