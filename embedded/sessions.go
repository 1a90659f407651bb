package embedded

import (
	"context"
	"log/slog"
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
	b.suspend(cl)
}

// resume finds out whether a client that logged in has a session from before, also when the broker was another one then.
func (b *Broker) resume(ctx context.Context, cl *mqtt.Client, s *session, clean bool) (err error) {
	if b.access.Resume != nil {
		s.present, err = b.access.Resume(ctx, cl.ID, s.gateway.Credential, clean, lasts(cl) > 0)
	}
	return err
}

// suspend keeps the session of a client that is gone, unless it has come back already. When the broker stops, it is kept anyway.
func (b *Broker) suspend(cl *mqtt.Client) {
	if b.access.Suspend == nil || b.ctx.Err() != nil || b.returned(cl) {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, b.cfg.ConnectTimeout)
	defer cancel()
	if err := b.access.Suspend(ctx, cl.ID, lasts(cl)); err != nil && b.ctx.Err() == nil {
		if others, ok := b.trouble.due(); ok {
			b.log.WarnContext(ctx, "cannot record the end of an mqtt connection", "client", cl.ID, "error", err, "others", others)
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

// returned reports whether a client has another connection than cl.
func (b *Broker) returned(cl *mqtt.Client) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for other := range b.sessions {
		if other != cl && other.ID == cl.ID {
			return true
		}
	}
	return false
}

// recheck ends a connection whose credential no longer holds, or whose gateway has another key by now: topics are named by keys.
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

// holds reports whether a session's credential holds and its gateway has the key that it logged in with.
func (b *Broker) holds(ctx context.Context, s *session) (bool, error) {
	keys, err := b.access.InForce(ctx, []int64{s.gateway.Credential})
	return keys[s.gateway.Credential] == s.gateway.Key, err
}

// forget ends the session of a client, with its subscriptions.
func (b *Broker) forget(cl *mqtt.Client) {
	b.disconnect(cl, packets.ErrSessionTakenOver)
	b.server.UnsubscribeClient(cl)
	b.server.Clients.Delete(cl.ID)
}

// takeOver notes on other connections of a client that the one that begins now ends them.
func (b *Broker) takeOver(cl *mqtt.Client, c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for other := range b.sessions {
		if other != cl && other.ID == cl.ID {
			connOf(other).end(reasonTakenOver, slog.String("by", c.wire.RemoteAddr().String()))
		}
	}
}

// add keeps the session of a client that logged in.
func (b *Broker) add(cl *mqtt.Client, s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions[cl] = s
}

func (b *Broker) session(cl *mqtt.Client) *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sessions[cl]
}

// remove forgets a client's session and reports whether it was its gateway's last one. Nil when it never logged in.
func (b *Broker) remove(cl *mqtt.Client) (s *session, last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s = b.sessions[cl]
	if s == nil {
		return nil, false
	}
	delete(b.sessions, cl)
	return s, !b.hasOther(cl, s.gateway.ID)
}

// replaced reports whether a gateway has another connection than cl.
func (b *Broker) replaced(cl *mqtt.Client, gateway int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hasOther(cl, gateway)
}

func (b *Broker) hasOther(cl *mqtt.Client, gateway int64) bool {
	for other, s := range b.sessions {
		if other != cl && s.gateway.ID == gateway {
			return true
		}
	}
	return false
}
