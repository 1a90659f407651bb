package ingest

import (
	"cmp"
	"iter"
	"slices"

	"github.com/oei-ms/oei-ms/store"
)

const (
	// maxEvaluations bounds how many alarm evaluations a message takes in all, as
	// store.MaxEvaluations counts them.
	maxEvaluations = 40 * store.MaxEvaluations
	// maxOverloads is how often a single sample may take too long before it is rejected.
	maxOverloads = 3
)

// parts splits a message whose alarms take too much for one transaction. Its samples are committed
// in order of time, so that alarms see them as in one transaction. The message is acknowledged
// after the last part.
type parts struct {
	order       []int // indexes of the samples, by timestamp
	done        int   // samples that are committed
	size        int   // of the next part
	evaluations int   // so far
}

func newParts(samples []sample) *parts {
	p := &parts{order: make([]int, len(samples)), size: len(samples)}
	for i := range p.order {
		p.order[i] = i
	}
	slices.SortStableFunc(p.order, func(a, b int) int {
		return samples[a].timestamp.Compare(samples[b].timestamp)
	})
	return p
}

// next returns the indexes of the samples of the next part.
func (p *parts) next() []int { return p.order[p.done:min(p.done+p.size, len(p.order))] }

// isLast reports whether the next part is the last.
func (p *parts) isLast() bool { return p.done+p.size >= len(p.order) }

// pending yields the samples of the next transaction: all, unless the message is committed in
// parts.
func (e *entry) pending() iter.Seq[*sample] {
	return func(yield func(*sample) bool) {
		if e.parts == nil {
			for i := range e.samples {
				if !yield(&e.samples[i]) {
					return
				}
			}
			return
		}
		for _, i := range e.parts.next() {
			if !yield(&e.samples[i]) {
				return
			}
		}
	}
}

// isLast reports whether the next transaction completes the message.
func (e *entry) isLast() bool { return e.parts == nil || e.parts.isLast() }

// split halves the next transaction. It returns false when that has only one sample.
func (e *entry) split() bool {
	if e.parts == nil {
		e.parts = newParts(e.samples)
	}
	n := len(e.parts.next())
	e.parts.size = max(n/2, 1)
	return n > 1
}

// advance notes that the next part is committed, and rejects the rest of a message that has used
// all its evaluations.
func (e *entry) advance(evaluations int) {
	p := e.parts
	p.done += len(p.next())
	p.evaluations += evaluations
	e.overloads, e.failures = 0, 0
	if p.evaluations > maxEvaluations {
		e.rejectRest(overloadedMessage)
	}
}

// rejectRest rejects the samples that are not committed, in one last part.
func (e *entry) rejectRest(why *rejection) {
	e.parts.size = len(e.parts.order) - e.parts.done
	e.rejectPending(why)
}

// rejectPending rejects the samples of the next transaction.
func (e *entry) rejectPending(why *rejection) {
	for s := range e.pending() {
		s.invalid = cmp.Or(s.invalid, why)
	}
}
