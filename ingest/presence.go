package ingest

import (
	"context"
	"errors"
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
	status map[int64]string         // as this instance has heard it last
	seen   map[int64]store.Presence // since the last flush

	// messages and samples since the last flush; 0 is gateways that are not registered
	refused map[int64]int64
}

func newPresence() *presence {
	return &presence{
		status:  map[int64]string{},
		seen:    map[int64]store.Presence{},
		refused: map[int64]int64{},
	}
}

// heard is what a message says of its gateway: a reading that comes from it means that it is there.
func (j *job) heard() (store.Presence, bool) {
	h := store.Presence{Status: online, At: j.message.Received, Link: j.message.Link}
	gateway := j.gateway
	switch {
	case j.byHTTP || j.reason != "":
		return h, false
	case j.status == nil:
		gateway = j.samples[0].point
	case j.message.Retained && j.status.state == online:
		return h, false // that was so at some time
	default:
		h.Status, h.Old = j.status.state, j.message.Retained
		if j.tellsTime() && !j.status.timestamp.IsZero() {
			skew := j.status.timestamp.Sub(h.At)
			h.Skew = &skew
		}
	}
	if gateway == nil || gateway.IsSystem || j.foreign(gateway) {
		return h, false
	}
	h.GatewayID = gateway.GatewayID
	return h, true
}

// isUnheard reports whether this instance has heard nothing of a gateway.
func (p *presence) isUnheard(gateway int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status[gateway] == ""
}

// implies reports whether what j means for h's gateway is new, after what the same transaction says
// already. What is said outright is never taken for known: another instance may have heard
// otherwise meanwhile.
func (p *presence) implies(j *job, h store.Presence, status map[int64]string) bool {
	if j.status != nil {
		return true
	}
	if before, ok := status[h.GatewayID]; ok {
		return before != h.Status
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status[h.GatewayID] != h.Status
}

// learn takes in what was committed.
func (p *presence) learn(heard []store.Presence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range heard {
		p.status[h.GatewayID] = h.Status
		// a gateway's messages are committed in order, whatever our clock does
		p.seen[h.GatewayID] = h
	}
}

// refuse counts what was refused of jobs. Whoever writes by HTTP is told, and sees to it.
func (p *presence) refuse(jobs []*job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range jobs {
		if j.byHTTP {
			continue
		}
		if j.reason != "" {
			by, _ := j.publisher(nil)
			p.refused[by]++
		}
		for i := range j.samples {
			if s := &j.samples[i]; s.refused != nil {
				by, _ := j.publisher(s)
				p.refused[by]++
			}
		}
	}
}

// take returns what was seen and how much was refused since the last time: of a gateway that is
// there, that it is, in case another instance takes it for gone; of any other, only when.
func (p *presence) take() ([]store.Presence, map[int64]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	refused := p.refused
	p.refused = map[int64]int64{}
	ps := make([]store.Presence, 0, len(p.seen))
	for id, h := range p.seen {
		again := store.Presence{GatewayID: id, At: h.At}
		if h.Status == online {
			again.Status, again.Link = online, min(h.Link, store.Linked)
		}
		ps = append(ps, again)
	}
	clear(p.seen)
	return ps, refused
}

// flushSeen writes when gateways were last heard of, until ctx ends and once more then. Nothing is
// lost when that fails: the next message says it again.
func (p *Pipeline) flushSeen(ctx, work context.Context) {
	tick := time.NewTicker(seenInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		attempt, cancel := context.WithTimeout(work, seenInterval)
		seen, refused := p.seen.take()
		changed, err := p.store.SetPresence(attempt, seen)
		if err := errors.Join(err, p.store.AddRejectionCounts(attempt, refused)); err != nil &&
			work.Err() == nil {
			p.log.WarnContext(attempt, "cannot write when gateways were last seen", "error", err)
		}
		if len(changed) > 0 {
			p.notify(Committed{Presence: changed})
		}
		cancel()
	}
}
