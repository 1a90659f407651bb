package push

import (
	"iter"
	"slices"
	"time"
)

// subscriber is a connection that is subscribed to a topic. At least interval passes between two
// readings of one sensor; 0 asks for every reading.
type subscriber struct {
	c        *conn
	interval time.Duration
}

// subscriptions has the subscribers of every topic.
type subscriptions map[Topic]subscribers

// subscribers is the list of a topic's subscribers, in order of their connection numbers. A list is
// immutable, so that it may be read without the lock under which it was taken. It is cut into
// parts, none of them empty, so that a change copies one part instead of the whole list.
type subscribers struct {
	parts [][]subscriber
	size  int
}

const maxPart = 128 // subscribers of one part

func compareNumber(s subscriber, number uint64) int {
	switch {
	case s.c.number < number:
		return -1
	case s.c.number > number:
		return 1
	}
	return 0
}

// find returns where the connection with this number is, or belongs: at index i of part p.
func (l subscribers) find(number uint64) (p, i int, found bool) {
	p, _ = slices.BinarySearchFunc(l.parts, number,
		func(part []subscriber, n uint64) int { return compareNumber(part[len(part)-1], n) })
	if p == len(l.parts) && p > 0 {
		p--
	}
	if p < len(l.parts) {
		i, found = slices.BinarySearchFunc(l.parts[p], number, compareNumber)
	}
	return p, i, found
}

// add subscribes c to t. If c is subscribed already, add changes its interval.
func (x subscriptions) add(t Topic, c *conn, interval time.Duration) {
	l := x[t]
	p, i, found := l.find(c.number)
	switch {
	case found && l.parts[p][i].interval == interval:
		return
	case found:
		l.parts = slices.Clone(l.parts)
		l.parts[p] = slices.Clone(l.parts[p])
		l.parts[p][i].interval = interval
	case len(l.parts) == 0 || i == maxPart: // after a last part that is full
		l.parts = append(slices.Clip(l.parts), []subscriber{{c, interval}})
		l.size++
	default:
		part := slices.Insert(slices.Clip(l.parts[p]), i, subscriber{c, interval})
		l.parts = slices.Clone(l.parts)
		l.parts[p] = part
		if len(part) > maxPart {
			l.parts[p] = slices.Clip(part[:maxPart/2])
			l.parts = slices.Insert(l.parts, p+1, slices.Clone(part[maxPart/2:]))
		}
		l.size++
	}
	x[t] = l
}

func (x subscriptions) remove(t Topic, c *conn) {
	l := x[t]
	p, i, found := l.find(c.number)
	switch {
	case !found:
		return
	case l.size == 1:
		delete(x, t)
		return
	case len(l.parts[p]) == 1:
		l.parts = slices.Concat(l.parts[:p], l.parts[p+1:])
	default:
		part := slices.Concat(l.parts[p][:i], l.parts[p][i+1:])
		l.parts = slices.Clone(l.parts)
		l.parts[p] = part
	}
	l.size--
	x[t] = l
}

// all iterates over the subscribers.
func (l subscribers) all() iter.Seq[subscriber] {
	return func(yield func(subscriber) bool) {
		for _, part := range l.parts {
			for _, s := range part {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// recipients are the subscribers of the topics of an update, such as a reading's sensor, gateway
// and type.
type recipients [3]subscribers

func (r recipients) size() int { return r[0].size + r[1].size + r[2].size }

// each calls f once for every connection, with the shortest of its intervals.
func (r recipients) each(f func(c *conn, interval time.Duration)) {
	for _, l := range r {
		if l.size == r.size() { // the other lists are empty
			for s := range l.all() {
				f(s.c, s.interval)
			}
			return
		}
	}
	var cursors [3]partCursor
	for i, l := range r {
		cursors[i] = partCursor{rest: l.parts}
		cursors[i].next()
	}
	for {
		var first *conn
		for _, c := range cursors {
			if len(c.part) > 0 && (first == nil || c.part[0].c.number < first.number) {
				first = c.part[0].c
			}
		}
		if first == nil {
			return
		}
		interval := time.Duration(1<<63 - 1)
		for i := range cursors {
			if c := &cursors[i]; len(c.part) > 0 && c.part[0].c == first {
				interval = min(interval, c.part[0].interval)
				c.next()
			}
		}
		f(first, interval)
	}
}

// partCursor is a position in a list of subscribers: the first of part. At the end part is empty.
type partCursor struct {
	part []subscriber
	rest [][]subscriber
}

func (c *partCursor) next() {
	if len(c.part) > 0 {
		c.part = c.part[1:]
	}
	if len(c.part) == 0 && len(c.rest) > 0 {
		c.part, c.rest = c.rest[0], c.rest[1:]
	}
}
