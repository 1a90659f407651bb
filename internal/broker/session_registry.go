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

// maxSessions is how many connections a gateway may have at a time, and how many sessions whose
// client is away.
const maxSessions = 32

// gatewaySessions are the sessions of one gateway.
type gatewaySessions struct {
	connected map[*mqtt.Client]*session
	// client ids whose session outlasts their connection, in the order in which they left
	away []string
}

// endSession ends a client's session, and submits the status offline when it was the gateway's
// last one.
func (b *Broker) endSession(cl *mqtt.Client) {
	s, last := b.remove(cl)
	if s == nil {
		return
	}
	s.close()
	if last {
		b.submitStatus(s.gateway, "offline", ingest.LinkDown)
	}
	b.suspend(cl, s.gateway.ID)
}

// resume finds out whether a client that logged in has a session from before, which may be from
// before a restart of the broker.
func (b *Broker) resume(ctx context.Context, cl *mqtt.Client, s *session, clean bool) (err error) {
	if b.access.Resume != nil {
		keep := sessionExpiry(cl) > 0
		s.present, err = b.access.Resume(ctx, cl.ID, s.gateway, clean, keep)
	}
	return err
}

// suspend keeps the session of a client that has left, unless it has reconnected. When the broker
// stops, stored sessions stay as they are.
func (b *Broker) suspend(cl *mqtt.Client, gateway int64) {
	if b.ctx.Err() != nil || b.hasReconnected(cl, gateway) {
		return
	}
	if sessionExpiry(cl) > 0 {
		b.addAway(cl, gateway)
	}
	if b.access.Suspend == nil {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, b.cfg.ConnectTimeout)
	defer cancel()
	if err := b.access.Suspend(ctx, cl.ID, sessionExpiry(cl)); err != nil && b.ctx.Err() == nil {
		if count, ok := b.databaseLog.allow(""); ok {
			b.log.WarnContext(ctx, "storing mqtt session end failed", "client_id", cl.ID,
				"error", err, "count", count)
		}
	}
}

// sessionExpiry returns how long a client's session outlasts its connection.
func sessionExpiry(cl *mqtt.Client) time.Duration {
	seconds := cl.Properties.Props.SessionExpiryInterval
	if cl.Properties.ProtocolVersion < 5 && !cl.Properties.Clean {
		seconds = maxSessionExpiry
	}
	return time.Duration(min(seconds, maxSessionExpiry)) * time.Second
}

// discard ends the session of a client and removes its subscriptions.
func (b *Broker) discard(cl *mqtt.Client) {
	b.disconnect(cl, packets.ErrSessionTakenOver)
	b.server.UnsubscribeClient(cl)
	b.server.Clients.Delete(cl.ID)
}

func (b *Broker) sessionsOf(gateway int64) *gatewaySessions {
	g := b.gateways[gateway]
	if g == nil {
		g = &gatewaySessions{connected: map[*mqtt.Client]*session{}}
		b.gateways[gateway] = g
	}
	return g
}

// add registers the session of a client that logged in, and reports whether its gateway may have
// another one. A take-over is always allowed.
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

// remove unregisters a client's session, and reports whether it was its gateway's last one. It
// returns nil when the client has not logged in.
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

// addAway registers a session whose client is away, and ends the one that left first when there
// are more than maxSessions.
func (b *Broker) addAway(cl *mqtt.Client, gateway int64) {
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
			b.discard(oldest)
		}
	}
}

// hasOther reports whether the client id of cl has another connection.
func (g *gatewaySessions) hasOther(cl *mqtt.Client) bool {
	for other := range g.connected {
		if other != cl && other.ID == cl.ID {
			return true
		}
	}
	return false
}

// hasReconnected reports whether the client id of cl has another connection.
func (b *Broker) hasReconnected(cl *mqtt.Client, gateway int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.gateways[gateway]
	return g != nil && g.hasOther(cl)
}

// hasReplacement reports whether the gateway has another connection than cl, with any client id.
func (b *Broker) hasReplacement(cl *mqtt.Client, gateway int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.gateways[gateway]
	if g == nil {
		return false
	}
	_, own := g.connected[cl]
	return len(g.connected) > 1 || !own && len(g.connected) == 1
}

// noteTakeOver notes on the existing connection of a client id that c takes it over.
func (b *Broker) noteTakeOver(cl *mqtt.Client, c *conn) {
	existing, ok := b.server.Clients.Get(cl.ID)
	if ok && existing != cl && !existing.Closed() {
		by := slog.String("by", c.socket.RemoteAddr().String())
		connOf(existing).noteEnd(reasonTakenOver, by)
	}
}
