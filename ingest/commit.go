package ingest

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

const (
	attemptTimeout = 30 * time.Second // of one transaction
	firstBackoff   = 50 * time.Millisecond
	lastBackoff    = 5 * time.Second
)

// commitLane commits what comes through the i-th lane until the pipeline stops and the lane is empty, or ctx ends.
func (p *Pipeline) commitLane(ctx context.Context, i int) {
	lane := p.lanes[i]
	begin := func(j *job) {
		p.oldest[i].Store(j.message.Received.UnixNano()) // what is still in the lane came later
		p.begin(ctx, p.gather(lane, j))
		p.oldest[i].Store(0)
	}
	for {
		select {
		case j := <-lane:
			begin(j)
		case <-p.stopped:
			for {
				select {
				case j := <-lane:
					begin(j)
				default:
					return
				}
			}
		}
	}
}

// begin commits jobs whose turn has come. Those that have expired by now are not stored; those that expire while the database is
// tried again are, since an earlier attempt may have stored them.
func (p *Pipeline) begin(ctx context.Context, jobs []*job) {
	now := time.Now()
	for _, j := range jobs {
		j.expire(now)
	}
	p.commit(ctx, jobs)
}

// gather adds to first what comes within the linger time, up to a batch. Under load a batch is full before that.
func (p *Pipeline) gather(lane <-chan *job, first *job) []*job {
	jobs, rows := []*job{first}, len(first.samples)
	linger := time.NewTimer(p.cfg.Linger)
	defer linger.Stop()
	for rows < p.cfg.BatchRows && len(jobs) < p.cfg.BatchRows {
		select {
		case j := <-lane:
			jobs, rows = append(jobs, j), rows+len(j.samples)
			continue
		default:
		}
		select {
		case j := <-lane:
			jobs, rows = append(jobs, j), rows+len(j.samples)
		case <-linger.C:
			return jobs
		case <-p.stopped:
			return jobs
		}
	}
	return jobs
}

// commit writes jobs, again and again while the database cannot take them: nothing is acknowledged until it has. It gives up
// only when ctx ends.
func (p *Pipeline) commit(ctx context.Context, jobs []*job) {
	backoff := firstBackoff
	for attempt := 0; ; attempt++ {
		err := p.write(ctx, jobs, attempt > 0)
		switch {
		case err == nil:
			return
		case ctx.Err() != nil:
			p.drop(jobs)
			return
		case errors.Is(err, store.ErrInvalid) && len(jobs) > 1: // something in it is not to be stored: close in on it
			p.commit(ctx, jobs[:len(jobs)/2])
			p.commit(ctx, jobs[len(jobs)/2:])
			return
		case errors.Is(err, store.ErrInvalid) && !jobs[0].hopeless:
			p.log.ErrorContext(ctx, "the database refuses a message that passed every check", "topic", jobs[0].message.Topic, "error", err)
			jobs[0].refuseForDatabase()
			continue
		}
		p.metrics.retries.Inc()
		if attempt == 0 || backoff == lastBackoff {
			p.log.WarnContext(ctx, "readings wait for the database", "messages", len(jobs), "attempt", attempt+1, "error", err)
		}
		select {
		case <-time.After(backoff/2 + rand.N(backoff)):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

// write brings jobs to a commit and tells everybody. again says that an earlier attempt may have been committed.
func (p *Pipeline) write(ctx context.Context, jobs []*job, again bool) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	begin := time.Now()
	b, err := p.assemble(ctx, jobs)
	if err != nil {
		return err
	}
	outcomes, effects, err := p.store.Write(ctx, b.readings, b.also)
	if err != nil {
		return err
	}
	p.metrics.committed(len(outcomes), time.Since(begin))
	p.metrics.count(jobs)
	p.seen.learn(b.presence)
	p.seen.refuse(jobs)
	for _, j := range jobs {
		if j.message.Done != nil {
			j.message.Done(j.receipt())
		}
		p.room.Release(j.size)
	}
	c := Committed{Readings: b.readings[:0], Presence: effects.Presence, Events: effects.Events}
	if again { // the attempt before may have changed it
		c.Presence = b.changes
	}
	for i, o := range outcomes {
		if o == store.Stored || again && o == store.Duplicate { // then it is ours, from the attempt before
			c.Readings = append(c.Readings, b.readings[i])
		}
	}
	p.notify(c)
	return nil
}

// drop lets go of jobs that were not committed. Their publishers were told nothing and will send them again.
func (p *Pipeline) drop(jobs []*job) {
	for _, j := range jobs {
		p.room.Release(j.size)
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
		jobs: jobs, readings: make([]store.Reading, 0, n), samples: make([]*sample, 0, n), status: map[int64]string{},
		mostRejections: p.cfg.MaxRejections,
	}
	for _, j := range jobs {
		if j.status != nil {
			j.settleStatus()
		}
		for i := range j.samples {
			if r, ok := j.reading(&j.samples[i], p.cfg); ok {
				b.readings, b.samples = append(b.readings, r), append(b.samples, &j.samples[i])
			}
		}
		if heard, ok := j.heard(); ok {
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
		a.Rejections = j.rejections(a.Rejections)
	}
	return a
}

// refuseForDatabase is the last resort for what the database will not have.
func (j *job) refuseForDatabase() {
	j.hopeless = true
	for i := range j.samples {
		j.samples[i].fault = inDatabase
	}
	if !j.byHTTP {
		j.refuse(databaseRefused, "the database refuses it")
	}
}
