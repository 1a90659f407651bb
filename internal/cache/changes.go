package cache

import (
	"math"
	"sync"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// snapshot says which transactions an answer has seen: all before xmin, and maybe later ones.
type snapshot struct {
	database string
	xmin     uint64
}

// changes holds the changes in the database that the polls have found. An answer is valid while its
// readings were changed by no transaction from the xmin of its snapshot on. That depends on the
// answer and the changes only, not on which instance computed it and when.
type changes struct {
	maxHours int
	maxAge   time.Duration // of the last poll

	mu       sync.RWMutex
	polledAt time.Time // when the last poll began; zero: later changes are unknown
	database string
	closed   time.Time // hours before it are closed
	xmin     uint64    // of the last poll; 0: the next poll has to start over
	xmax     uint64    // of the last poll
	horizon  uint64    // the changes by transactions from this one on are all known
	sensors  map[int64]*sensorChanges
	hours    int // of all sensors
}

// sensorChanges holds the last transaction that changed something, for each hour and of all hours.
type sensorChanges struct {
	last  uint64
	hours map[hour]uint64
}

// hour is the start of an hour, in seconds since 1970.
type hour int64

// allHours stands for every hour.
const allHours hour = math.MinInt64

func hourOf(c store.Change) hour {
	if c.Hour.IsZero() {
		return allHours
	}
	return hour(c.Hour.Unix())
}

// overlaps reports whether the hour overlaps [from, to).
func (h hour) overlaps(from, to time.Time) bool {
	start := time.Unix(int64(h), 0)
	return h == allHours || start.Before(to) && start.Add(time.Hour).After(from)
}

func newChanges(maxHours int, maxAge time.Duration) *changes {
	return &changes{maxHours: maxHours, maxAge: maxAge, sensors: map[int64]*sensorChanges{}}
}

// since returns the transaction from which on the next poll has to ask for changes.
func (c *changes) since() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.xmin
}

// add adds what a poll has found that began at an instant. It reports whether changes were missed,
// so that the poll has to be repeated from the start.
func (c *changes) add(began time.Time, found *store.Changes) (again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !found.Marked || c.xmin > 0 &&
		(found.Database != c.database || c.xmin <= found.DeletedThrough) {
		again = found.Marked
		c.reset(0, 0)
		return again
	}
	if c.xmin == 0 {
		c.database, c.horizon = found.Database, found.DeletedThrough+1
	}
	for _, change := range found.List {
		c.addOne(change)
	}
	if c.hours > c.maxHours {
		c.prune(found.Xmin)
	}
	if found.More || c.hours > c.maxHours {
		c.reset(found.Xmin, found.Xmin)
		return false
	}
	c.polledAt, c.closed, c.xmin, c.xmax = began, found.Through, found.Xmin, found.Xmax
	return false
}

// reset forgets all changes, so that no answer is valid until the next poll. That poll asks for
// changes from xmin on; answers from horizon on can be valid then.
func (c *changes) reset(xmin, horizon uint64) {
	c.polledAt, c.xmin, c.horizon = time.Time{}, xmin, horizon
	c.sensors, c.hours = map[int64]*sensorChanges{}, 0
}

func (c *changes) addOne(change store.Change) {
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

// prune forgets the changes by transactions before horizon. Answers from before it are no longer
// valid.
func (c *changes) prune(horizon uint64) {
	c.horizon = max(c.horizon, horizon)
	for id, s := range c.sensors {
		for h, transaction := range s.hours {
			if transaction < horizon {
				delete(s.hours, h)
				c.hours--
			}
		}
		if len(s.hours) == 0 {
			delete(c.sensors, id)
		}
	}
}

// Reasons to bypass the cache.
const (
	reasonOpen   = "open"   // the range of the query is not closed
	reasonBehind = "behind" // changes of the last second are unknown
)

// snapshot returns the snapshot of an answer to q that is computed from now on, or the reason to
// bypass the cache.
func (c *changes) snapshot(q *Query) (s snapshot, reason string) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	switch {
	case !c.isCurrent():
		return s, reasonBehind
	case q.To.After(c.closed):
		return s, reasonOpen
	}
	return snapshot{c.database, c.xmin}, ""
}

// isValid reports whether an answer to q with this snapshot is equal to one that was computed at
// the last poll or later.
func (c *changes) isValid(s snapshot, q *Query) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.isCurrent() || s.database != c.database || s.xmin < c.horizon || s.xmin > c.xmax ||
		q.To.After(c.closed) {
		return false
	}
	const everySensor = 0
	if c.hasChanged(everySensor, s.xmin, q) {
		return false
	}
	for _, id := range q.Sensors {
		if c.hasChanged(id, s.xmin, q) {
			return false
		}
	}
	return true
}

// hasChanged reports whether a transaction from xmin on has changed a sensor in the range of q.
func (c *changes) hasChanged(sensor int64, xmin uint64, q *Query) bool {
	s := c.sensors[sensor]
	if s == nil || s.last < xmin {
		return false
	}
	for h, transaction := range s.hours {
		if transaction >= xmin && h.overlaps(q.From, q.To) {
			return true
		}
	}
	return false
}

// isCurrent reports whether the last poll is young enough by both clocks: the monotonic clock may
// stand still while the machine sleeps, and the wall clock may be set.
func (c *changes) isCurrent() bool {
	now := time.Now()
	wall := now.Round(0).Sub(c.polledAt.Round(0))
	return !c.polledAt.IsZero() && now.Sub(c.polledAt) < c.maxAge && wall >= 0 && wall < c.maxAge
}
