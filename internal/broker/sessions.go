package broker

import (
	"context"
	"log/slog"
	"slices"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/oei-ms/oei-ms/ingest"
)

// leave ends a client's session, and makes its gateway known as offline when it was the last one.
func (b *Broker) leave(cl *mqtt.Client) {
	s, last := b.remove(cl)
	if s == nil {
		return
	}
	s.close()
	if last {
		b.report(s.gateway, "offline", ingest.LinkDown)
	}
	b.suspend(cl, s.gateway.ID)
}

// resume finds out whether a client that logged in has a session from before, also when the broker
// was another one then.
func (b *Broker) resume(ctx context.Context, cl *mqtt.Client, s *session, clean bool) (err error) {
	if b.access.Resume != nil {
		s.present, err = b.access.Resume(ctx, cl.ID, s.gateway, clean, lasts(cl) > 0)
	}
	return err
}

// suspend keeps the session of a client that is gone, unless it has come back already. When the
// broker stops, it is kept anyway.
func (b *Broker) suspend(cl *mqtt.Client, gateway int64) {
	if b.ctx.Err() != nil || b.returned(cl, gateway) {
		return
	}
	if lasts(cl) > 0 {
		b.keep(cl, gateway)
	}
	if b.access.Suspend == nil {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, b.cfg.ConnectTimeout)
	defer cancel()
	if err := b.access.Suspend(ctx, cl.ID, lasts(cl)); err != nil && b.ctx.Err() == nil {
		if others, ok := b.trouble.due(); ok {
			b.log.WarnContext(ctx, "cannot record the end of an mqtt connection", "client", cl.ID,
				"error", err, "others", others)
		}
	}
}

// lasts is how long a client's session outlasts its connection.
func lasts(cl *mqtt.Client) time.Duration {
	seconds := cl.Properties.Props.SessionExpiryInterval
	if cl.Properties.ProtocolVersion < 5 && !cl.Properties.Clean {
		seconds = longestSession
	}
	return time.Duration(min(seconds, longestSession)) * time.Second
}

// recheck ends a connection whose credential no longer holds, or whose gateway has another key by
// now: topics are named by keys.
func (b *Broker) recheck(cl *mqtt.Client) error {
	s := b.session(cl)
	if s == nil {
		return packets.ErrRejectPacket
	}
	ctx, cancel := context.WithTimeout(b.ctx, b.cfg.ConnectTimeout)
	defer cancel()
	holds, err := b.holds(ctx, s)
	switch {
	case err != nil: // it subscribes again when it is back
		b.disconnect(cl, packets.Code{Code: codeUnavailable, Reason: notNow})
	case !holds:
		b.disconnect(cl, packets.ErrNotAuthorized)
	default:
		return nil
	}
	return packets.ErrRejectPacket
}

// holds reports whether a session's credential holds and its gateway has the key that it logged in
// with.
func (b *Broker) holds(ctx context.Context, s *session) (bool, error) {
	valid, err := b.access.InForce(ctx, []Gateway{s.gateway})
	return err == nil && valid[0], err
}

// forget ends the session of a client, with its subscriptions.
func (b *Broker) forget(cl *mqtt.Client) {
	b.disconnect(cl, packets.ErrSessionTakenOver)
	b.server.UnsubscribeClient(cl)
	b.server.Clients.Delete(cl.ID)
}

// maxSessions is how many connections a gateway has at a time, and how many sessions whose client
// is away.
const maxSessions = 32

// gatewaySessions are the sessions of one gateway.
type gatewaySessions struct {
	connected map[*mqtt.Client]*session
	// client ids whose session outlasts their connection, the one that left first at the front
	away []string
}

func (b *Broker) sessionsOf(gateway int64) *gatewaySessions {
	g := b.gateways[gateway]
	if g == nil {
		g = &gatewaySessions{connected: map[*mqtt.Client]*session{}}
		b.gateways[gateway] = g
	}
	return g
}

// add keeps the session of a client that logged in, unless its gateway has as many as are allowed.
// One that takes over from another needs no room.
func (b *Broker) add(cl *mqtt.Client, s *session) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.sessionsOf(s.gateway.ID)
	if len(g.connected) >= maxSessions && !g.hasOther(cl) {
		return false
	}
	b.sessions[cl] = s
	g.connected[cl] = s
	g.away = slices.DeleteFunc(g.away, func(id string) bool { return id == cl.ID })
	return true
}

func (b *Broker) session(cl *mqtt.Client) *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sessions[cl]
}

// remove forgets a client's session and reports whether it was its gateway's last one. Nil when it
// never logged in.
func (b *Broker) remove(cl *mqtt.Client) (s *session, last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s = b.sessions[cl]
	if s == nil {
		return nil, false
	}
	delete(b.sessions, cl)
	g := b.sessionsOf(s.gateway.ID)
	delete(g.connected, cl)
	last = len(g.connected) == 0
	if last && len(g.away) == 0 {
		delete(b.gateways, s.gateway.ID)
	}
	return s, last
}

// keep remembers a session whose client is away, and ends the one that is away longest when there
// are too many.
func (b *Broker) keep(cl *mqtt.Client, gateway int64) {
	b.mu.Lock()
	g := b.sessionsOf(gateway)
	g.away = append(g.away, cl.ID)
	var ended []string
	if n := len(g.away) - maxSessions; n > 0 {
		ended = slices.Clone(g.away[:n])
		g.away = slices.Delete(g.away, 0, n)
	}
	b.mu.Unlock()
	for _, id := range ended {
		if oldest, ok := b.server.Clients.Get(id); ok && oldest.Closed() {
			b.forget(oldest)
		}
	}
}

// hasOther reports whether a client has another connection than cl.
func (g *gatewaySessions) hasOther(cl *mqtt.Client) bool {
	for other := range g.connected {
		if other != cl && other.ID == cl.ID {
			return true
		}
	}
	return false
}

// returned reports whether a client has another connection than cl.
func (b *Broker) returned(cl *mqtt.Client, gateway int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.gateways[gateway]
	return g != nil && g.hasOther(cl)
}

// takeOver notes on other connections of a client that the one that begins now ends them.
func (b *Broker) takeOver(cl *mqtt.Client, c *conn) {
	existing, ok := b.server.Clients.Get(cl.ID)
	if ok && existing != cl && !existing.Closed() {
		connOf(existing).end(reasonTakenOver, slog.String("by", c.wire.RemoteAddr().String()))
	}
}

// replaced reports whether a gateway has another connection than cl.
func (b *Broker) replaced(cl *mqtt.Client, gateway int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.gateways[gateway]
	if g == nil {
		return false
	}
	_, own := g.connected[cl]
	return len(g.connected) > 1 || !own && len(g.connected) == 1
}
