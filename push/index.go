package push

import (
	"slices"
	"time"
)

// listener is a connection under one of its topics. Pace is the least time between two readings of one sensor; 0 asks for every
// reading.
type listener struct {
	c    *conn
	pace time.Duration
}

// index knows who listens to what. Its lists ascend by connection number and what a reader of one sees never changes,
// so they may be walked without the lock they were taken under.
type index map[Topic][]listener

func byNumber(l listener, number uint64) int {
	switch {
	case l.c.number < number:
		return -1
	case l.c.number > number:
		return 1
	}
	return 0
}

// add has c listen to t at pace; one that does already changes its pace.
func (x index) add(t Topic, c *conn, pace time.Duration) {
	list := x[t]
	i, found := slices.BinarySearchFunc(list, c.number, byNumber)
	switch {
	case found && list[i].pace == pace:
	case found:
		list = slices.Clone(list)
		list[i].pace = pace
		x[t] = list
	case i == len(list):
		x[t] = append(list, listener{c, pace}) // beyond what anybody who holds the shorter list can see
	default:
		x[t] = slices.Insert(slices.Clone(list), i, listener{c, pace})
	}
}

func (x index) remove(t Topic, c *conn) {
	list := x[t]
	i, found := slices.BinarySearchFunc(list, c.number, byNumber)
	switch {
	case !found:
	case len(list) == 1:
		delete(x, t)
	default:
		x[t] = slices.Concat(list[:i], list[i+1:])
	}
}

// audience is who listens to a reading: to its sensor, its gateway, its type.
type audience [3][]listener

func (a audience) size() int { return len(a[0]) + len(a[1]) + len(a[2]) }

// each calls f once for every connection in a, with the shortest of its paces.
func (a audience) each(f func(c *conn, pace time.Duration)) {
	for {
		var next *conn
		lists := 0
		for _, list := range a {
			if len(list) > 0 {
				lists++
				if next == nil || list[0].c.number < next.number {
					next = list[0].c
				}
			}
		}
		if lists <= 1 {
			break
		}
		pace := time.Duration(1<<63 - 1)
		for i, list := range a {
			if len(list) > 0 && list[0].c == next {
				pace = min(pace, list[0].pace)
				a[i] = list[1:]
			}
		}
		f(next, pace)
	}
	for _, list := range a {
		for _, l := range list {
			f(l.c, l.pace)
		}
	}
}
