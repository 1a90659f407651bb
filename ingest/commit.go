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
	lastBackoff    = 5 * time.Second
)

// errLate means that an attempt has taken all its time.
var errLate = errors.New("the transaction took too long")

// commit writes jobs, again and again while the database cannot take them: nothing is acknowledged
// until it has. It gives up only when ctx ends. A batch that is refused, or takes too much, is
// split; a message that takes too much is left to commitPart.
func (l *lane) commit(ctx context.Context, jobs []*job) {
	p, backoff := l.pipeline, firstBackoff
	for attempt := 1; len(jobs) > 0; attempt++ {
		err := p.write(ctx, jobs)
		invalid, overload := errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrOverload)
		switch {
		case err == nil:
			return
		case ctx.Err() != nil:
			p.drop(jobs)
			return
		case (invalid || overload || errors.Is(err, errLate)) && len(jobs) > 1:
			n := len(jobs) / 2
			l.commit(ctx, jobs[:n])
			l.commit(ctx, slices.DeleteFunc(jobs[n:], l.isQueued))
			return
		case invalid && !jobs[0].hopeless:
			p.log.ErrorContext(ctx, "the database refuses a message that passed every check",
				"topic", jobs[0].message.Topic, "error", err)
			jobs[0].refuseForDatabase()
			continue
		}
		p.metrics.retries.Inc()
		switch {
		case (overload || errors.Is(err, errLate)) && jobs[0].split():
			l.park(jobs[0])
			return
		case overload:
			if jobs[0].overloads++; jobs[0].overloads == maxOverloads {
				p.log.ErrorContext(ctx, "reading refused, its alarms take too long", "topic",
					jobs[0].message.Topic, "error", err)
				jobs[0].refusePending(overloaded)
			}
			continue
		}
		if attempt == 1 || backoff == lastBackoff {
			p.log.WarnContext(ctx, "readings wait for the database", "messages", len(jobs),
				"attempt", attempt, "error", err)
		}
		select {
		case <-time.After(backoff/2 + rand.N(backoff)):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

// write brings jobs, or the next part of a message, to a commit and tells everybody.
func (p *Pipeline) write(ctx context.Context, jobs []*job) error {
	attempt, cancel := context.WithTimeoutCause(ctx, attemptTimeout, errLate)
	defer cancel()
	begin := time.Now()
	b, err := p.assemble(attempt, jobs)
	if err != nil {
		return late(attempt, err)
	}
	outcomes, effects, err := p.store.Write(attempt, b.readings, b.also)
	if err != nil {
		for _, j := range jobs {
			j.tried = j.tried || !errors.Is(err, store.ErrInvalid) &&
				!errors.Is(err, store.ErrOverload)
		}
		return late(attempt, err)
	}
	p.metrics.committed(len(outcomes), time.Since(begin))
	p.seen.learn(b.presence)
	c := Committed{Readings: b.readings[:0], Presence: effects.Presence, Events: effects.Events}
	again := slices.ContainsFunc(jobs, func(j *job) bool { return j.tried })
	if again { // an attempt before may have changed it
		c.Presence = b.changes
	}
	if j := jobs[0]; j.isLast() {
		p.finish(jobs)
	} else {
		j.advance(effects.Evaluations)
	}
	for i, o := range outcomes {
		// then it is ours, from an attempt before
		if o == store.Stored || again && o == store.Duplicate {
			c.Readings = append(c.Readings, b.readings[i])
		}
	}
	p.notify(c)
	return nil
}

// late says of an error that it is the end of the attempt's time.
func late(attempt context.Context, err error) error {
	if errors.Is(context.Cause(attempt), errLate) {
		return fmt.Errorf("%w: %w", errLate, err)
	}
	return err
}

// finish tells the publishers of jobs that are committed.
func (p *Pipeline) finish(jobs []*job) {
	p.metrics.count(jobs)
	p.seen.refuse(jobs)
	for _, j := range jobs {
		j.ended = true
		if j.message.Done != nil {
			j.message.Done(j.receipt())
		}
		p.room.release(j)
	}
}

// drop lets go of jobs that were not committed. Their publishers were told nothing and will send
// them again.
func (p *Pipeline) drop(jobs []*job) {
	for _, j := range jobs {
		j.ended = true
		p.room.release(j)
	}
}

// transaction is what jobs come to.
type transaction struct {
	jobs     []*job
	readings []store.Reading
	samples  []*sample        // those that the readings are of
	presence []store.Presence // of every gateway that was heard of
	changes  []store.Presence // those that say something new
	status   map[int64]string // of every gateway that was heard of

	mostRejections int // of one gateway that are kept
}

// assemble looks up the sensors and decides on every sample.
func (p *Pipeline) assemble(ctx context.Context, jobs []*job) (*transaction, error) {
	if err := p.catalog.resolve(ctx, jobs); err != nil {
		return nil, err
	}
	n := 0
	for _, j := range jobs {
		n += len(j.samples)
	}
	b := &transaction{
		jobs:           jobs,
		readings:       make([]store.Reading, 0, n),
		samples:        make([]*sample, 0, n),
		status:         map[int64]string{},
		mostRejections: p.cfg.MaxRejections,
	}
	for _, j := range jobs {
		if j.status != nil {
			j.settleStatus(p.cfg)
		}
		for s := range j.pending() {
			if r, ok := j.reading(s, p.cfg); ok {
				b.readings, b.samples = append(b.readings, r), append(b.samples, s)
			}
		}
		heard, ok := j.heard()
		switch {
		case !ok:
		case heard.Old:
			if p.seen.isUnheard(heard.GatewayID) && b.status[heard.GatewayID] == "" {
				b.changes = append(b.changes, heard)
			}
		default:
			b.presence = append(b.presence, heard)
			if p.seen.implies(j, heard, b.status) {
				b.changes = append(b.changes, heard)
			}
			b.status[heard.GatewayID] = heard.Status
		}
	}
	return b, nil
}

// also takes the outcomes and returns what the transaction writes besides the readings.
func (b *transaction) also(outcomes []store.Outcome) store.Also {
	for i, o := range outcomes {
		b.samples[i].settle(o)
	}
	a := store.Also{Presence: b.changes, MostRejections: b.mostRejections}
	for _, j := range b.jobs {
		if j.isLast() {
			a.Rejections = j.rejections(a.Rejections)
		}
	}
	return a
}

// refuseForDatabase is the last resort for what the database will not have.
func (j *job) refuseForDatabase() {
	j.hopeless = true
	if j.parts != nil {
		j.refuseRest(inDatabase)
		return
	}
	j.refusePending(inDatabase)
	if !j.byHTTP {
		j.refuse(databaseRefused, "the database refuses it")
	}
}
