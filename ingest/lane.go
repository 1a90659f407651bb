package ingest

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// lane commits the messages of some publishers, those of each in order. A message that takes
// several transactions, or has to be tried again later, is queued; meanwhile the lane serves its
// other publishers.
type lane struct {
	pipeline *Pipeline
	jobs     chan *job
	queues   []*queue // in turn
	// receipt of the oldest message that it commits, in Unix ns; 0: it is idle
	oldest atomic.Int64
}

// queue holds the messages of a publisher; the first is committed by commitPart and the others wait
// for it.
type queue struct {
	publisher uint64
	jobs      []*job
	readyAt   time.Time // when the first may be written again
}

// run commits until the pipeline stops and no message waits, or ctx ends. Queued messages are
// dropped when the pipeline stops: their publishers send them again, and the parts that are stored
// are duplicates then.
func (l *lane) run(ctx context.Context) {
	for {
		j, ok := l.next()
		if !ok {
			break
		}
		if j != nil {
			l.observe(j)
			l.begin(ctx, l.gather(j))
		}
		if !l.pipeline.isStopped() {
			l.commitPart(ctx)
		}
		l.observe(nil)
	}
	for _, q := range l.queues {
		l.pipeline.drop(q.jobs)
	}
}

// next waits for a message, or until a queued one is ready, and then returns nil. ok is false when
// there is nothing left to do.
func (l *lane) next() (j *job, ok bool) {
	if wait, queued := l.untilReady(); wait > 0 || !queued {
		var ready <-chan time.Time
		if queued {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			ready = timer.C
		}
		select {
		case j = <-l.jobs:
			return j, true
		case <-ready:
		case <-l.pipeline.stopped:
		}
	}
	select {
	case j = <-l.jobs:
		return j, true
	default:
		return nil, !l.pipeline.isStopped()
	}
}

// untilReady returns how long it takes until the first queued message is ready; queued is false
// when there is none.
func (l *lane) untilReady() (wait time.Duration, queued bool) {
	for _, q := range l.queues {
		if d := time.Until(q.readyAt); !queued || d < wait {
			wait, queued = d, true
		}
	}
	return wait, queued
}

// observe notes the oldest message: j, what was received before it and is committed in parts, or
// none.
func (l *lane) observe(j *job) {
	var oldest int64
	if j != nil {
		oldest = j.message.Received.UnixNano()
	}
	for _, q := range l.queues {
		if at := q.jobs[0].message.Received.UnixNano(); oldest == 0 || at < oldest {
			oldest = at
		}
	}
	l.oldest.Store(oldest)
}

// gather adds to first what comes within the linger time, up to a batch. Under load a batch is full
// before that.
func (l *lane) gather(first *job) []*job {
	cfg := &l.pipeline.cfg
	jobs, rows := []*job{first}, len(first.samples)
	linger := time.NewTimer(cfg.Linger)
	defer linger.Stop()
	for rows < cfg.BatchRows && len(jobs) < cfg.BatchRows {
		select {
		case j := <-l.jobs:
			jobs, rows = append(jobs, j), rows+len(j.samples)
			continue
		default:
		}
		select {
		case j := <-l.jobs:
			jobs, rows = append(jobs, j), rows+len(j.samples)
		case <-linger.C:
			return jobs
		case <-l.pipeline.stopped:
			return jobs
		}
	}
	return jobs
}

// begin commits jobs whose turn has come, but for those that wait for an earlier message of their
// publisher. Those that have expired by now are not stored; those that expire while the database is
// tried again are, since an earlier attempt may have stored them.
func (l *lane) begin(ctx context.Context, jobs []*job) {
	for len(jobs) > 0 {
		n, rows := 0, 0
		for n < len(jobs) && (n == 0 || rows < l.pipeline.cfg.BatchRows) {
			rows += len(jobs[n].samples)
			n++
		}
		now := time.Now()
		batch := slices.DeleteFunc(jobs[:n:n], l.isQueued)
		for _, j := range batch {
			j.expire(now)
		}
		l.commit(ctx, batch)
		jobs = jobs[n:]
	}
}

// isQueued queues j when its publisher has a queue, and drops it when its caller has given up.
func (l *lane) isQueued(j *job) bool {
	if j.isAbandoned() {
		l.pipeline.drop([]*job{j})
		return true
	}
	q := l.queueOf(j)
	if q != nil {
		q.jobs = append(q.jobs, j)
	}
	return q != nil
}

func (l *lane) queueOf(j *job) *queue {
	for _, q := range l.queues {
		if q.publisher == j.sequence {
			return q
		}
	}
	return nil
}

// commitPart writes the queued message whose turn it is, or its next part, and after the last part
// the messages that waited for it.
func (l *lane) commitPart(ctx context.Context) {
	now := time.Now()
	i := slices.IndexFunc(l.queues, func(q *queue) bool { return !q.readyAt.After(now) })
	if i < 0 {
		return
	}
	q := l.queues[i]
	if j := q.jobs[0]; j.isAbandoned() {
		l.pipeline.drop(q.jobs[:1])
	} else {
		l.commit(ctx, q.jobs[:1])
	}
	l.queues = slices.Delete(l.queues, i, i+1)
	if q.jobs[0].ended {
		l.begin(ctx, q.jobs[1:])
		return
	}
	l.queues = append(l.queues, q)
}

// split queues j to be committed in smaller parts. It reports false when its next part is a single
// sample.
func (l *lane) split(j *job) bool {
	isWhole := j.parts == nil
	if !j.split() {
		return false
	}
	if isWhole {
		l.pipeline.metrics.split.Inc()
	}
	l.park(j, 0)
	return true
}

// park queues j, or leaves it at the head of its queue, to be written when delay has passed.
func (l *lane) park(j *job, delay time.Duration) {
	q := l.queueOf(j)
	if q == nil {
		q = &queue{publisher: j.sequence, jobs: []*job{j}}
		l.queues = append(l.queues, q)
	}
	q.readyAt = time.Now().Add(delay)
}
