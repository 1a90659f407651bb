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
	// unavailable: the database is away or needs its operator, whatever it is asked to store
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

// commit writes jobs. A job is acknowledged only after its commit, so commit repeats a transaction
// until it succeeds, or ctx ends:
//
//   - While the database is unavailable, the same batch is written again.
//   - For any other reason a batch is bisected until the message at fault is alone.
//   - A message with an invalid value is rejected and recorded.
//   - A message that takes too much is left to commitPart.
//   - A message that fails for an unexplained reason is left to postpone.
func (l *lane) commit(ctx context.Context, jobs []*job) {
	p, backoff := l.pipeline, firstBackoff
	for attempt := 1; len(jobs) > 0; attempt++ {
		err := p.write(ctx, jobs)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			p.drop(jobs)
			return
		}
		f, j := classify(err), jobs[0]
		switch {
		case f != unavailable && len(jobs) > 1:
			n := len(jobs) / 2
			l.commit(ctx, jobs[:n])
			l.commit(ctx, slices.DeleteFunc(jobs[n:], l.isQueued))
			return
		case f == invalid && !j.hopeless:
			p.log.ErrorContext(ctx, "message rejected by the database",
				"topic", j.message.Topic, "error", err)
			j.refuseForDatabase()
			continue
		}
		p.metrics.retries.Inc()
		switch {
		case (f == overload || f == late) && l.split(j):
			return
		case f == overload:
			if j.overloads++; j.overloads == maxOverloads {
				p.log.ErrorContext(ctx, "reading rejected, its alarms take too long",
					"topic", j.message.Topic, "error", err)
				j.refusePending(overloaded)
			}
			continue
		case f == unexplained || f == invalid: // invalid: not even its rejection can be recorded
			l.postpone(ctx, j, err)
			return
		}
		if attempt == 1 || backoff == maxBackoff {
			p.log.WarnContext(ctx, "readings wait for the database", "messages", len(jobs),
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
func (l *lane) postpone(ctx context.Context, j *job, err error) {
	p := l.pipeline
	if j.failures == 0 {
		j.storedBefore = p.stored.Load()
	}
	j.failures++
	switch backoff := min(firstBackoff<<min(j.failures-1, 10), p.maxBackoff); {
	case j.failures >= maxFailures && !j.hopeless && p.stored.Load() > j.storedBefore:
		p.log.ErrorContext(ctx, "message rejected, the database fails on it",
			"topic", j.message.Topic, "attempts", j.failures, "error", err)
		j.refuseForDatabase()
		l.park(j, 0)
	default:
		if j.failures == 1 || j.failures%maxFailures == 0 {
			p.log.WarnContext(ctx, "message postponed, the database fails on it",
				"topic", j.message.Topic, "attempts", j.failures, "error", err)
		}
		l.park(j, jittered(backoff))
	}
}

// write commits jobs, or the next part of a message, in one transaction and reports the result to
// the publishers and to notify.
func (p *Pipeline) write(ctx context.Context, jobs []*job) error {
	attempt, cancel := context.WithTimeoutCause(ctx, attemptTimeout, errLate)
	defer cancel()
	begin := time.Now()
	b, err := p.assemble(attempt, jobs)
	if err != nil {
		return orLate(attempt, err)
	}
	result, err := p.store.Write(attempt, b.readings, b.side)
	if err != nil {
		for _, j := range jobs {
			j.tried = j.tried || !errors.Is(err, store.ErrInvalid) &&
				!errors.Is(err, store.ErrOverload)
		}
		return orLate(attempt, err)
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
