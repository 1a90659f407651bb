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
	result, err := p.store.Write(attempt, b.readings, b.side)
	if err != nil {
		for _, j := range jobs {
			j.tried = j.tried || !errors.Is(err, store.ErrInvalid) &&
				!errors.Is(err, store.ErrOverload)
		}
		return late(attempt, err)
	}
	p.metrics.committed(len(result.Outcomes), time.Since(begin))
	p.seen.learn(b.presence)
	for i, o := range result.Outcomes {
		b.samples[i].settle(o)
	}
	c := Committed{
		Readings:      b.readings[:0],
		Presence:      result.Presence,
		AlarmsChanged: result.AlarmsChanged,
	}
	again := slices.ContainsFunc(jobs, func(j *job) bool { return j.tried })
	if again { // an attempt before may have changed it
		c.Presence = b.side.Presence
	}
	if j := jobs[0]; j.isLast() {
		p.finish(jobs)
	} else {
		j.advance(result.Evaluations)
	}
	for i, o := range result.Outcomes {
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

// transaction is what is to be committed of jobs.
type transaction struct {
	readings []store.Reading
	samples  []*sample        // those that the readings are of
	presence []store.Presence // of every gateway that was heard of
	status   map[int64]string // of every gateway that was heard of
	side     store.SideWrites
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
		readings: make([]store.Reading, 0, n),
		samples:  make([]*sample, 0, n),
		status:   map[int64]string{},
		side: store.SideWrites{
			MaxRejections: p.cfg.MaxRejections,
			Conflicts:     make([]store.ConflictRecord, 0, n),
		},
	}
	for _, j := range jobs {
		if j.status != nil {
			j.settleStatus(p.cfg)
		}
		b.addSamples(j, p.cfg)
		if j.isLast() {
			b.side.Rejections = j.rejections(b.side.Rejections)
		}
		heard, ok := j.heard()
		switch {
		case !ok:
		case heard.Old:
			if p.seen.isUnheard(heard.GatewayID) && b.status[heard.GatewayID] == "" {
				b.side.Presence = append(b.side.Presence, heard)
			}
		default:
			b.presence = append(b.presence, heard)
			if p.seen.implies(j, heard, b.status) {
				b.side.Presence = append(b.side.Presence, heard)
			}
			b.status[heard.GatewayID] = heard.Status
		}
	}
	return b, nil
}

// addSamples adds the readings of j that the transaction holds.
func (b *transaction) addSamples(j *job, cfg Config) {
	var conflict *store.Rejection // of all samples of a gateway
	for s := range j.pending() {
		r, ok := j.reading(s, cfg)
		if !ok {
			continue
		}
		// the last part of a message records the conflicts of all its parts
		if j.isLast() && (conflict == nil || conflict.GatewayID != r.GatewayID) {
			conflict = j.conflictOf(s)
		}
		b.readings, b.samples = append(b.readings, r), append(b.samples, s)
		b.side.Conflicts = append(b.side.Conflicts,
			store.ConflictRecord{Rejection: conflict, Payload: s.raw})
	}
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
