package ingest

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// lane commits the messages of some publishers, those of each in order. A message that takes
// several transactions is committed in parts; between two of them the lane serves its other
// publishers.
type lane struct {
	pipeline *Pipeline
	jobs     chan *job
	queues   []*queue // of publishers with a message in parts, in turn
	// receipt of the oldest message that it commits, in Unix ns; 0: it is idle
	oldest atomic.Int64
}

// queue holds the messages of a publisher; the first is committed in parts and the others wait for
// it.
type queue struct {
	publisher uint64
	jobs      []*job
}

// run commits until the pipeline stops and no message waits, or ctx ends. A message in parts ends
// with the pipeline: its publisher sends it again, and what is stored of it is a duplicate then.
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

// next waits for a message. It is nil when none waits and there is a part to commit, and ok is
// false when there is nothing left to do.
func (l *lane) next() (j *job, ok bool) {
	if len(l.queues) == 0 {
		select {
		case j = <-l.jobs:
			return j, true
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

// isQueued queues j when its publisher has a message in parts, and drops it when its caller has
// gone.
func (l *lane) isQueued(j *job) bool {
	if j.isAbandoned() {
		l.pipeline.drop([]*job{j})
		return true
	}
	for _, q := range l.queues {
		if q.publisher == j.sequence {
			q.jobs = append(q.jobs, j)
			return true
		}
	}
	return false
}

// commitPart commits a part of the message whose turn it is, and after the last what waited for it.
func (l *lane) commitPart(ctx context.Context) {
	if len(l.queues) == 0 {
		return
	}
	q := l.queues[0]
	if j := q.jobs[0]; j.isAbandoned() {
		l.pipeline.drop(q.jobs[:1])
	} else {
		l.commit(ctx, q.jobs[:1])
	}
	l.queues = l.queues[1:]
	if q.jobs[0].ended {
		l.begin(ctx, q.jobs[1:])
		return
	}
	l.queues = append(l.queues, q)
}

// park makes j a message that is committed in parts.
func (l *lane) park(j *job) {
	if len(l.queues) > 0 && l.queues[0].jobs[0] == j {
		return // it is already
	}
	l.queues = append(l.queues, &queue{publisher: j.sequence, jobs: []*job{j}})
	l.pipeline.metrics.split.Inc()
}
