package ingest

import (
	"context"
	"sync"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// seenInterval is how often the time at which gateways were last heard of is written.
const seenInterval = 5 * time.Second

const online = "online"

// presence knows which gateways are there and when they were last heard of.
type presence struct {
	mu     sync.Mutex
	status map[int64]string
	seen   map[int64]time.Time // since the last flush
}

func newPresence() *presence {
	return &presence{status: map[int64]string{}, seen: map[int64]time.Time{}}
}

// heard is what a message says of its gateway: a reading that comes from it means that it is there.
func (j *job) heard() (store.Presence, bool) {
	h := store.Presence{Status: online, At: j.message.Received}
	gateway := j.gateway
	switch {
	case j.byHTTP || j.reason != "":
		return h, false
	case j.status == nil:
		gateway = j.samples[0].point
	default:
		h.Status = j.status.state
		if !j.status.timestamp.IsZero() {
			skew := j.status.timestamp.Sub(h.At)
			h.Skew = &skew
		}
	}
	if gateway == nil || j.foreign(gateway) {
		return h, false
	}
	h.GatewayID = gateway.GatewayID
	return h, true
}

// changes reports whether h says anything new, after what the same transaction says already.
func (p *presence) changes(h store.Presence, status map[int64]string) bool {
	if before, ok := status[h.GatewayID]; ok {
		return before != h.Status || h.Skew != nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status[h.GatewayID] != h.Status || h.Skew != nil
}

// learn takes in what was committed.
func (p *presence) learn(heard []store.Presence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range heard {
		p.status[h.GatewayID] = h.Status
		p.seen[h.GatewayID] = h.At // a gateway's messages are committed in order, whatever our clock does
	}
}

// take returns what was seen since the last time.
func (p *presence) take() []store.Presence {
	p.mu.Lock()
	defer p.mu.Unlock()
	ps := make([]store.Presence, 0, len(p.seen))
	for id, at := range p.seen {
		ps = append(ps, store.Presence{GatewayID: id, At: at})
	}
	clear(p.seen)
	return ps
}

// flushSeen writes when gateways were last heard of, until ctx ends and once more then. Nothing is lost when that fails: the next
// message says it again.
func (p *Pipeline) flushSeen(ctx, work context.Context) {
	tick := time.NewTicker(seenInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		attempt, cancel := context.WithTimeout(work, seenInterval)
		if err := p.store.SetPresence(attempt, p.seen.take()); err != nil && work.Err() == nil {
			p.log.WarnContext(attempt, "cannot write when gateways were last seen", "error", err)
		}
		cancel()
	}
}
