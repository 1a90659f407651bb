package ingest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// seenInterval is how often the times of the gateways' last messages are written.
const seenInterval = 5 * time.Second

const online = "online"

// presence tracks which gateways are online and when each last sent a message.
type presence struct {
	mu     sync.Mutex
	status map[int64]string         // last status that this instance received
	seen   map[int64]store.Presence // since the last flush

	// rejected messages and samples since the last flush; 0 stands for unregistered gateways
	rejected map[int64]int64
}

func newPresence() *presence {
	return &presence{
		status:   map[int64]string{},
		seen:     map[int64]store.Presence{},
		rejected: map[int64]int64{},
	}
}

// presence returns what a message says about its gateway. A reading from it means that it is
// online.
func (e *entry) presence() (store.Presence, bool) {
	h := store.Presence{Status: online, At: e.message.Received, Link: e.message.Link}
	gateway := e.gateway
	switch {
	case e.byHTTP || e.reason != "":
		return h, false
	case e.status == nil:
		gateway = e.samples[0].info
	case e.message.Retained && e.status.state == online:
		return h, false // it was online at some time
	default:
		h.Status, h.Old = e.status.state, e.message.Retained
		if e.hasCurrentTimestamp() && !e.status.timestamp.IsZero() {
			skew := e.status.timestamp.Sub(h.At)
			h.Skew = &skew
		}
	}
	if gateway == nil || gateway.IsSystem || e.isForeign(gateway) {
		return h, false
	}
	h.GatewayID = gateway.GatewayID
	return h, true
}

// isUnknown reports whether this instance has received nothing from a gateway.
func (p *presence) isUnknown(gateway int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status[gateway] == ""
}

// isNews reports whether h has to be written, given the statuses that the same transaction writes.
// An explicit status always has: another instance may have received another one meanwhile.
func (p *presence) isNews(e *entry, h store.Presence, status map[int64]string) bool {
	if e.status != nil {
		return true
	}
	if before, ok := status[h.GatewayID]; ok {
		return before != h.Status
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status[h.GatewayID] != h.Status
}

// update takes what was committed.
func (p *presence) update(heard []store.Presence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range heard {
		p.status[h.GatewayID] = h.Status
		// a gateway's messages are committed in order, also when the server's clock jumps
		p.seen[h.GatewayID] = h
	}
}

// countRejections counts the rejections in entries, but for bulk writes.
func (p *presence) countRejections(entries []*entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range entries {
		if e.byHTTP {
			continue
		}
		if e.reason != "" {
			by, _ := e.publisher(nil)
			p.rejected[by]++
		}
		for i := range e.samples {
			if s := &e.samples[i]; s.rejection != nil {
				by, _ := e.publisher(s)
				p.rejected[by]++
			}
		}
	}
}

// take returns the presences and rejections since the last call. For a gateway that is online it
// says so, in case another instance takes it for offline; for any other only the time.
func (p *presence) take() ([]store.Presence, map[int64]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rejected := p.rejected
	p.rejected = map[int64]int64{}
	ps := make([]store.Presence, 0, len(p.seen))
	for id, h := range p.seen {
		again := store.Presence{GatewayID: id, At: h.At}
		if h.Status == online {
			again.Status, again.Link = online, min(h.Link, store.Linked)
		}
		ps = append(ps, again)
	}
	clear(p.seen)
	return ps, rejected
}

// flushPresence writes the times of the gateways' last messages until ctx ends, and then once more.
// A failure is harmless for presence: the next message says the same.
func (p *Pipeline) flushPresence(ctx, work context.Context) {
	tick := time.NewTicker(seenInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		attempt, cancel := context.WithTimeout(work, seenInterval)
		seen, rejected := p.presence.take()
		changed, err := p.store.SetPresence(attempt, seen)
		if err := errors.Join(err, p.store.AddRejectionCounts(attempt, rejected)); err != nil &&
			work.Err() == nil {
			p.log.WarnContext(attempt, "writing gateway presence failed", "error", err)
		}
		if len(changed) > 0 {
			p.notify(Committed{Presence: changed})
		}
		cancel()
	}
}
