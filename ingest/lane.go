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
	entries  chan *entry
	queues   []*queue // in turn
	pacing   pacing
	// receipt of the oldest message that it commits, in Unix ns; 0: it is idle
	oldest atomic.Int64
}

// queue holds the messages of a publisher; the first is committed by commitPart and the others wait
// for it.
type queue struct {
	publisher uint64
	entries   []*entry
	readyAt   time.Time // when the first may be written again
}

// run commits until the pipeline stops and no message waits, or ctx ends. Queued messages are
// dropped when the pipeline stops: their publishers send them again, and the parts that are stored
// are duplicates then.
func (l *lane) run(ctx context.Context) {
	for {
		e, ok := l.next()
		if !ok {
			break
		}
		if e != nil {
			l.observe(e)
			l.begin(ctx, l.gather(e))
		}
		if !l.pipeline.isStopped() {
			l.commitPart(ctx)
		}
		l.observe(nil)
	}
	for _, q := range l.queues {
		l.pipeline.drop(q.entries)
	}
}

// next waits for a message, or until a queued one is ready, and then returns nil. ok is false when
// there is nothing left to do.
func (l *lane) next() (e *entry, ok bool) {
	if wait, queued := l.untilReady(); wait > 0 || !queued {
		var ready <-chan time.Time
		if queued {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			ready = timer.C
		}
		select {
		case e = <-l.entries:
			return e, true
		case <-ready:
		case <-l.pipeline.stopped:
		}
	}
	select {
	case e = <-l.entries:
		return e, true
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

// observe notes the oldest message: e, what was received before it and is committed in parts, or
// none.
func (l *lane) observe(e *entry) {
	var oldest int64
	if e != nil {
		oldest = e.message.Received.UnixNano()
	}
	for _, q := range l.queues {
		if at := q.entries[0].message.Received.UnixNano(); oldest == 0 || at < oldest {
			oldest = at
		}
	}
	l.oldest.Store(oldest)
}

// gather adds to first the messages that have arrived, up to a batch, and those that arrive while
// pacing lets it wait.
func (l *lane) gather(first *entry) []*entry {
	entries, rows := []*entry{}, 0
	add := func(e *entry) {
		l.pacing.arrived(e.message.Received)
		entries, rows = append(entries, e), rows+len(e.samples)
	}
	add(first)
	limit := l.pipeline.cfg.BatchRows
	isFull := func() bool { return rows >= limit || len(entries) >= limit }
	for ready := true; ready && !isFull(); {
		select {
		case e := <-l.entries:
			add(e)
		default:
			ready = false
		}
	}
	room := l.pacing.room(first.message.Received, time.Now())
	if room == 0 || isFull() {
		return entries
	}
	n := len(entries)
	end := time.NewTimer(room)
	defer end.Stop()
	silence := time.NewTimer(l.pacing.silence())
	defer silence.Stop()
	for !isFull() {
		select {
		case e := <-l.entries:
			add(e)
			silence.Reset(l.pacing.silence())
			continue
		case <-silence.C:
		case <-end.C:
		case <-l.pipeline.stopped:
		}
		break
	}
	l.pacing.waited(len(entries) - n)
	return entries
}

// begin commits entries for the first time, except those that wait for an earlier message of their
// publisher. It rejects those that have expired. Entries that expire while a transaction is
// repeated are stored, because an earlier attempt may have stored them.
func (l *lane) begin(ctx context.Context, entries []*entry) {
	for len(entries) > 0 {
		n, rows := 0, 0
		for n < len(entries) && (n == 0 || rows < l.pipeline.cfg.BatchRows) {
			rows += len(entries[n].samples)
			n++
		}
		now := time.Now()
		batch := slices.DeleteFunc(entries[:n:n], l.setAside)
		for _, e := range batch {
			e.expire(now)
		}
		l.commit(ctx, batch)
		l.pacing.committed(time.Since(now))
		entries = entries[n:]
	}
}

// setAside queues e when its publisher has a queue, drops it when its caller has gone, and reports
// whether it did one of these.
func (l *lane) setAside(e *entry) bool {
	if e.isAbandoned() {
		l.pipeline.drop([]*entry{e})
		return true
	}
	q := l.queueOf(e)
	if q != nil {
		q.entries = append(q.entries, e)
	}
	return q != nil
}

func (l *lane) queueOf(e *entry) *queue {
	for _, q := range l.queues {
		if q.publisher == e.sequence {
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
	if e := q.entries[0]; e.isAbandoned() {
		l.pipeline.drop(q.entries[:1])
	} else {
		l.commit(ctx, q.entries[:1])
	}
	l.queues = slices.Delete(l.queues, i, i+1)
	if q.entries[0].ended {
		l.begin(ctx, q.entries[1:])
		return
	}
	l.queues = append(l.queues, q)
}

// split queues e to be committed in smaller parts. It reports false when its next part is a single
// sample.
func (l *lane) split(e *entry) bool {
	isWhole := e.parts == nil
	if !e.split() {
		return false
	}
	if isWhole {
		l.pipeline.metrics.split.Inc()
	}
	l.park(e, 0)
	return true
}

// park queues e, or leaves it at the head of its queue, to be written when delay has passed.
func (l *lane) park(e *entry, delay time.Duration) {
	q := l.queueOf(e)
	if q == nil {
		q = &queue{publisher: e.sequence, entries: []*entry{e}}
		l.queues = append(l.queues, q)
	}
	q.readyAt = time.Now().Add(delay)
}
