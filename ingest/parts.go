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
	// maxOverloads is how often a single sample may take too long before it is refused.
	maxOverloads = 3
)

var (
	overloaded = refuse(alarmOverload,
		"the alarms of its sensor cannot be evaluated in time: delete some of them")
	overMessage = refuse(alarmOverload,
		"a message may take %d alarm evaluations: send fewer readings in one, or delete alarms",
		maxEvaluations)
)

// parts are the transactions that commit a message whose alarms take too much for one: its samples
// in order of time, so that alarms see them as in one transaction. The message is acknowledged
// after the last.
type parts struct {
	order       []int // of the samples
	done        int   // how many of them are committed
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

// next are the samples of the next part.
func (p *parts) next() []int { return p.order[p.done:min(p.done+p.size, len(p.order))] }

// isLast reports whether the next part is the last.
func (p *parts) isLast() bool { return p.done+p.size >= len(p.order) }

// pending are the samples that the next transaction holds: all, unless the message is committed in
// parts.
func (j *job) pending() iter.Seq[*sample] {
	return func(yield func(*sample) bool) {
		if j.parts == nil {
			for i := range j.samples {
				if !yield(&j.samples[i]) {
					return
				}
			}
			return
		}
		for _, i := range j.parts.next() {
			if !yield(&j.samples[i]) {
				return
			}
		}
	}
}

// isLast reports whether the next transaction completes the message.
func (j *job) isLast() bool { return j.parts == nil || j.parts.isLast() }

// split halves what the next transaction holds. It reports false when that is no more than one
// sample.
func (j *job) split() bool {
	if j.parts == nil {
		j.parts = newParts(j.samples)
	}
	n := len(j.parts.next())
	j.parts.size = max(n/2, 1)
	return n > 1
}

// advance notes that the next part is committed, and refuses the rest of a message that has taken
// all its evaluations.
func (j *job) advance(evaluations int) {
	p := j.parts
	p.done += len(p.next())
	p.evaluations += evaluations
	j.overloads, j.failures = 0, 0
	if p.evaluations > maxEvaluations {
		j.refuseRest(overMessage)
	}
}

// refuseRest refuses the samples that are not committed, in one last part.
func (j *job) refuseRest(why *refusal) {
	j.parts.size = len(j.parts.order) - j.parts.done
	j.refusePending(why)
}

// refusePending refuses the samples that the next transaction holds.
func (j *job) refusePending(why *refusal) {
	for s := range j.pending() {
		s.fault = cmp.Or(s.fault, why)
	}
}
