package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

const (
	attemptTimeout = 30 * time.Second // of one transaction
	firstBackoff   = 50 * time.Millisecond
	maxBackoff     = 5 * time.Second
	// maxFailures is how often a message may fail for an unexplained reason before it is rejected:
	// with the backoff half a minute.
	maxFailures = 12
)

// errLate means that an attempt has taken all its time.
var errLate = errors.New("the transaction took too long")

// failure is the class of an error of a transaction.
type failure uint8

const (
	// unavailable: the database is away or needs its operator, for any batch
	unavailable failure = iota
	invalid             // the database refuses a value: SQLSTATE classes 22 and 23
	overload            // the alarms take too many evaluations
	late                // the transaction took too long
	unexplained         // any other error, which may be the fault of one message
)

func classify(err error) failure {
	switch {
	case errors.Is(err, store.ErrInvalid):
		return invalid
	case errors.Is(err, store.ErrOverload):
		return overload
	case errors.Is(err, errLate):
		return late
	case store.Transient(err), store.NeedsRepair(err):
		return unavailable
	}
	return unexplained
}

// commit writes entries. A job is acknowledged only after its commit, so commit repeats a
// transaction until it succeeds, or ctx ends:
//
//   - While the database is unavailable, the same batch is written again.
//   - For any other reason a batch is bisected until the message at fault is alone.
//   - A message with an invalid value is rejected and recorded.
//   - A message that takes too much is left to commitPart.
//   - A message that fails for an unexplained reason is left to postpone.
func (l *lane) commit(ctx context.Context, entries []*entry) {
	p, backoff := l.pipeline, firstBackoff
	for attempt := 1; len(entries) > 0; attempt++ {
		err := p.write(ctx, entries)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			p.drop(entries)
			return
		}
		f, e := classify(err), entries[0]
		switch {
		case f != unavailable && len(entries) > 1:
			n := len(entries) / 2
			l.commit(ctx, entries[:n])
			l.commit(ctx, slices.DeleteFunc(entries[n:], l.setAside))
			return
		case f == invalid && !e.refusedByDatabase:
			p.log.ErrorContext(ctx, "message rejected by the database",
				"topic", e.message.Topic, "error", err)
			e.rejectForDatabase()
			continue
		}
		p.metrics.retries.Inc()
		switch {
		case (f == overload || f == late) && l.split(e):
			return
		case f == overload:
			if e.overloads++; e.overloads == maxOverloads {
				p.log.ErrorContext(ctx, "reading rejected, its alarms take too long",
					"topic", e.message.Topic, "error", err)
				e.rejectPending(overloadedSensor)
			}
			continue
		case f == unexplained || f == invalid: // invalid: not even its rejection can be recorded
			l.postpone(ctx, e, err)
			return
		}
		if attempt == 1 || backoff == maxBackoff {
			p.log.WarnContext(ctx, "readings wait for the database", "messages", len(entries),
				"attempt", attempt, "error", err)
		}
		select {
		case <-time.After(jittered(backoff)):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// postpone leaves a message that failed for an unexplained reason to commitPart, which writes it
// again after a backoff. Meanwhile its publisher waits and the others go on. After maxFailures the
// message is rejected and recorded, but only if readings of others were stored since its first
// failure: otherwise the fault may be the database's, and a message that is rejected for that would
// be acknowledged and lost. Without that evidence it stays unacknowledged.
func (l *lane) postpone(ctx context.Context, e *entry, err error) {
	p := l.pipeline
	if e.failures == 0 {
		e.storedBefore = p.stored.Load()
	}
	e.failures++
	switch backoff := min(firstBackoff<<min(e.failures-1, 10), p.maxBackoff); {
	case e.failures >= maxFailures && !e.refusedByDatabase && p.stored.Load() > e.storedBefore:
		p.log.ErrorContext(ctx, "message rejected, the database fails on it",
			"topic", e.message.Topic, "attempts", e.failures, "error", err)
		e.rejectForDatabase()
		l.park(e, 0)
	default:
		if e.failures == 1 || e.failures%maxFailures == 0 {
			p.log.WarnContext(ctx, "message postponed, the database fails on it",
				"topic", e.message.Topic, "attempts", e.failures, "error", err)
		}
		l.park(e, jittered(backoff))
	}
}

// write commits entries, or the next part of a message, in one transaction and reports the result
// to the publishers and to notify.
func (p *Pipeline) write(ctx context.Context, entries []*entry) error {
	attempt, cancel := context.WithTimeoutCause(ctx, attemptTimeout, errLate)
	defer cancel()
	begin := time.Now()
	b, err := p.assemble(attempt, entries)
	if err != nil {
		return orLate(attempt, err)
	}
	result, err := p.store.Write(attempt, b.readings, b.side)
	if err != nil {
		for _, e := range entries {
			e.tried = e.tried || !errors.Is(err, store.ErrInvalid) &&
				!errors.Is(err, store.ErrOverload)
		}
		return orLate(attempt, err)
	}
	p.metrics.committed(len(result.Outcomes), time.Since(begin))
	p.presence.update(b.presence)
	for i, o := range result.Outcomes {
		b.samples[i].settle(o)
	}
	c := Committed{
		Readings:      b.readings[:0],
		Presence:      result.Presence,
		AlarmsChanged: result.AlarmsChanged,
	}
	again := slices.ContainsFunc(entries, func(e *entry) bool { return e.tried })
	if again { // an attempt before may have changed it
		c.Presence = b.side.Presence
	}
	if e := entries[0]; e.isLast() {
		p.finish(entries)
	} else {
		e.advance(result.Evaluations)
	}
	for i, o := range result.Outcomes {
		// a duplicate of one's own: an earlier attempt has stored it
		if o == store.Stored || again && o == store.Duplicate {
			c.Readings = append(c.Readings, b.readings[i])
		}
	}
	p.stored.Add(int64(len(c.Readings)))
	p.notify(c)
	return nil
}

// orLate adds errLate to err when the attempt has taken all its time.
func orLate(attempt context.Context, err error) error {
	if errors.Is(context.Cause(attempt), errLate) {
		return fmt.Errorf("%w: %w", errLate, err)
	}
	return err
}

// finish gives the publishers of committed entries their receipts.
func (p *Pipeline) finish(entries []*entry) {
	p.metrics.count(entries)
	p.presence.countRejections(entries)
	for _, e := range entries {
		e.ended = true
		if e.message.Done != nil {
			e.message.Done(e.receipt())
		}
		p.window.release(e)
	}
}

// drop removes entries that are not committed. Their publishers get no receipt and send them again.
func (p *Pipeline) drop(entries []*entry) {
	for _, e := range entries {
		e.ended = true
		p.window.release(e)
	}
}

// transaction is what one transaction commits.
type transaction struct {
	readings []store.Reading
	samples  []*sample        // of the readings, in the same order
	presence []store.Presence // of every gateway that sent something
	status   map[int64]string // of the same gateways, by id
	side     store.SideWrites
}

// assemble looks up the sensors and checks every sample.
func (p *Pipeline) assemble(ctx context.Context, entries []*entry) (*transaction, error) {
	if err := p.catalog.resolve(ctx, entries); err != nil {
		return nil, err
	}
	n := 0
	for _, e := range entries {
		n += len(e.samples)
	}
	b := &transaction{
		readings: make([]store.Reading, 0, n),
		samples:  make([]*sample, 0, n),
		status:   map[int64]string{},
		side: store.SideWrites{
			MaxRejections: p.cfg.MaxRejections,
			Conflicts:     make([]store.ConflictRecord, 0, n),
		},
	}
	for _, e := range entries {
		if e.status != nil {
			e.checkStatus(p.cfg)
		}
		b.addSamples(e, p.cfg)
		if e.isLast() {
			b.side.Rejections = e.appendRejections(b.side.Rejections)
		}
		received, ok := e.presence()
		switch {
		case !ok:
		case received.Old:
			if p.presence.isUnknown(received.GatewayID) && b.status[received.GatewayID] == "" {
				b.side.Presence = append(b.side.Presence, received)
			}
		default:
			b.presence = append(b.presence, received)
			if p.presence.isNews(e, received, b.status) {
				b.side.Presence = append(b.side.Presence, received)
			}
			b.status[received.GatewayID] = received.Status
		}
	}
	return b, nil
}

// addSamples adds those readings of e that this transaction commits.
func (b *transaction) addSamples(e *entry, cfg Config) {
	var conflict *store.Rejection // shared by all samples of a gateway
	for s := range e.pending() {
		r, ok := e.reading(s, cfg)
		if !ok {
			continue
		}
		// the last part of a message records the conflicts of all its parts
		if e.isLast() && (conflict == nil || conflict.GatewayID != r.GatewayID) {
			conflict = e.conflictRejection(s)
		}
		b.readings, b.samples = append(b.readings, r), append(b.samples, s)
		b.side.Conflicts = append(b.side.Conflicts,
			store.ConflictRecord{Rejection: conflict, Payload: s.raw})
	}
}

// rejectForDatabase rejects what the database refuses after every check has passed.
func (e *entry) rejectForDatabase() {
	e.refusedByDatabase = true
	if e.parts != nil {
		e.rejectRest(byDatabase)
		return
	}
	e.rejectPending(byDatabase)
	if !e.byHTTP {
		e.reject(databaseRefused, "the database refuses it")
	}
}
