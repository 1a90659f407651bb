package push

import (
	"iter"
	"slices"
	"time"
)

// listener is a connection under one of its topics. Pace is the least time between two readings of
// one sensor; 0 asks for every reading.
type listener struct {
	c    *conn
	pace time.Duration
}

// index knows who listens to what.
type index map[Topic]list

// list is the listeners of a topic in parts, none empty, ascending by connection number. What a
// holder of one sees never changes, so it may be walked without the lock it was taken under; a
// change copies one part, however many listeners there are.
type list struct {
	parts [][]listener
	size  int
}

const fullPart = 128

func byNumber(l listener, number uint64) int {
	switch {
	case l.c.number < number:
		return -1
	case l.c.number > number:
		return 1
	}
	return 0
}

// find returns where the connection with this number is, or belongs: at i of part p.
func (l list) find(number uint64) (p, i int, found bool) {
	p, _ = slices.BinarySearchFunc(l.parts, number,
		func(part []listener, n uint64) int { return byNumber(part[len(part)-1], n) })
	if p == len(l.parts) && p > 0 {
		p--
	}
	if p < len(l.parts) {
		i, found = slices.BinarySearchFunc(l.parts[p], number, byNumber)
	}
	return p, i, found
}

// add has c listen to t at pace; one that does already changes its pace.
func (x index) add(t Topic, c *conn, pace time.Duration) {
	l := x[t]
	p, i, found := l.find(c.number)
	switch {
	case found && l.parts[p][i].pace == pace:
		return
	case found:
		l.parts = slices.Clone(l.parts)
		l.parts[p] = slices.Clone(l.parts[p])
		l.parts[p][i].pace = pace
	case len(l.parts) == 0 || i == fullPart: // behind a last part that is full
		l.parts = append(slices.Clip(l.parts), []listener{{c, pace}})
		l.size++
	default:
		part := slices.Insert(slices.Clip(l.parts[p]), i, listener{c, pace})
		l.parts = slices.Clone(l.parts)
		l.parts[p] = part
		if len(part) > fullPart {
			l.parts[p] = slices.Clip(part[:fullPart/2])
			l.parts = slices.Insert(l.parts, p+1, slices.Clone(part[fullPart/2:]))
		}
		l.size++
	}
	x[t] = l
}

func (x index) remove(t Topic, c *conn) {
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

// all goes through the listeners in l.
func (l list) all() iter.Seq[listener] {
	return func(yield func(listener) bool) {
		for _, part := range l.parts {
			for _, at := range part {
				if !yield(at) {
					return
				}
			}
		}
	}
}

// audience is who listens to a reading: to its sensor, its gateway, its type.
type audience [3]list

func (a audience) size() int { return a[0].size + a[1].size + a[2].size }

// each calls f once for every connection in a, with the shortest of its paces.
func (a audience) each(f func(c *conn, pace time.Duration)) {
	for _, l := range a {
		if l.size == a.size() { // there is no other
			for at := range l.all() {
				f(at.c, at.pace)
			}
			return
		}
	}
	var at [3]cursor
	for i, l := range a {
		at[i] = cursor{rest: l.parts}
		at[i].next()
	}
	for {
		var least *conn
		for _, c := range at {
			if len(c.part) > 0 && (least == nil || c.part[0].c.number < least.number) {
				least = c.part[0].c
			}
		}
		if least == nil {
			return
		}
		pace := time.Duration(1<<63 - 1)
		for i := range at {
			if c := &at[i]; len(c.part) > 0 && c.part[0].c == least {
				pace = min(pace, c.part[0].pace)
				c.next()
			}
		}
		f(least, pace)
	}
}

// cursor is a place in a list: the first of part, or when that is empty behind the end.
type cursor struct {
	part []listener
	rest [][]listener
}

func (c *cursor) next() {
	if len(c.part) > 0 {
		c.part = c.part[1:]
	}
	if len(c.part) == 0 && len(c.rest) > 0 {
		c.part, c.rest = c.rest[0], c.rest[1:]
	}
}
