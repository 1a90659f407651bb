package cache

import (
	"math"
	"sync"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// moment is when an answer was asked for, by the transactions that were over then: it tells of
// these, and maybe of later ones.
type moment struct {
	database string
	over     uint64 // every transaction before this one
}

// changes is what is known of changes in the database, up to the last look at it. An answer is
// right when nothing of what it is made of was changed by the transaction over of its moment or one
// behind that: whether it is depends on the answer and the changes only, wherever and by whom it
// was made.
type changes struct {
	most   int           // hours that are remembered
	within time.Duration // how old the last look may be

	mu       sync.RWMutex
	looked   time.Time // when the last look began; zero: what has changed since is not known
	database string
	through  time.Time // hours before it are over
	over     uint64    // of the last look; 0: the next one has to be from the beginning
	next     uint64
	complete uint64 // changes by this transaction and those behind it are all known
	sensors  map[int64]*sensorChanges
	hours    int // of all sensors
}

// sensorChanges are, by hour, the last transactions to change something.
type sensorChanges struct {
	last  uint64
	hours map[hour]uint64
}

// hour is when one begins, in seconds since 1970.
type hour int64

// allHours stands for every hour.
const allHours hour = math.MinInt64

func hourOf(c store.Change) hour {
	if c.Hour.IsZero() {
		return allHours
	}
	return hour(c.Hour.Unix())
}

// in reports whether the hour is partly in [from, to).
func (h hour) in(from, to time.Time) bool {
	begin := time.Unix(int64(h), 0)
	return h == allHours || begin.Before(to) && begin.Add(time.Hour).After(from)
}

func newChanges(most int, within time.Duration) *changes {
	return &changes{most: most, within: within, sensors: map[int64]*sensorChanges{}}
}

// since is from which transaction on the next look has to ask for changes.
func (c *changes) since() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.over
}

// learn takes in what a look has found that began at an instant, and reports whether it has to be
// repeated at once.
func (c *changes) learn(began time.Time, found *store.Changes) (again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !found.Marked || c.over > 0 && (found.Database != c.database || c.over <= found.DeletedThrough) {
		again = found.Marked
		c.forget(0, 0)
		return again
	}
	if c.over == 0 {
		c.database, c.complete = found.Database, found.DeletedThrough+1
	}
	for _, change := range found.List {
		c.add(change)
	}
	if c.hours > c.most { // what is Over may be forgotten by whoever knows that it is
		c.prune(found.Xmin)
	}
	if found.More || c.hours > c.most {
		c.forget(found.Xmin, found.Xmin)
		return false
	}
	c.looked, c.through, c.over, c.next = began, found.Through, found.Xmin, found.Xmax
	return false
}

// forget leaves nothing that could be told of an answer, until the next look. That asks for changes
// from over on, and answers from complete on can be right then.
func (c *changes) forget(over, complete uint64) {
	c.looked, c.over, c.complete = time.Time{}, over, complete
	c.sensors, c.hours = map[int64]*sensorChanges{}, 0
}

func (c *changes) add(change store.Change) {
	s := c.sensors[change.SensorID]
	if s == nil {
		s = &sensorChanges{hours: map[hour]uint64{}}
		c.sensors[change.SensorID] = s
	}
	h := hourOf(change)
	before, known := s.hours[h]
	if !known {
		c.hours++
	}
	s.hours[h] = max(before, change.Transaction)
	s.last = max(s.last, change.Transaction)
}

// prune forgets changes by transactions before one, and with them all answers from before it.
func (c *changes) prune(before uint64) {
	c.complete = max(c.complete, before)
	for id, s := range c.sensors {
		for h, by := range s.hours {
			if by < before {
				delete(s.hours, h)
				c.hours--
			}
		}
		if len(s.hours) == 0 {
			delete(c.sensors, id)
		}
	}
}

// Why an answer is neither looked up nor kept.
const (
	open   = "open"   // its range is not over
	behind = "behind" // what has changed within the last second is not known
)

// moment is now, for an answer to q that is going to be made; else why there is none.
func (c *changes) moment(q *Question) (m moment, reason string) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	switch {
	case !c.current():
		return m, behind
	case q.To.After(c.through):
		return m, open
	}
	return moment{c.database, c.over}, ""
}

// holds reports whether an answer to q of the moment m is what the readings give, or gave so
// shortly ago as is allowed.
func (c *changes) holds(m moment, q *Question) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.current() || m.database != c.database || m.over < c.complete || m.over > c.next ||
		q.To.After(c.through) {
		return false
	}
	if c.changed(0, m.over, q) {
		return false
	}
	for _, id := range q.Sensors {
		if c.changed(id, m.over, q) {
			return false
		}
	}
	return true
}

// changed reports whether something of q was changed for a sensor by the transaction since or one
// behind it.
func (c *changes) changed(sensor int64, since uint64, q *Question) bool {
	s := c.sensors[sensor]
	if s == nil || s.last < since {
		return false
	}
	for h, by := range s.hours {
		if by >= since && h.in(q.From, q.To) {
			return true
		}
	}
	return false
}

// current reports whether the last look is as young as it has to be, by both clocks: the one that
// never goes back stands still while a machine sleeps.
func (c *changes) current() bool {
	now := time.Now()
	wall := now.Round(0).Sub(c.looked.Round(0))
	return !c.looked.IsZero() && now.Sub(c.looked) < c.within && wall >= 0 && wall < c.within
}
