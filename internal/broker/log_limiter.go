package broker

import (
	"sync"
	"time"
)

const (
	// logInterval is how often one kind of event is logged.
	logInterval = time.Minute
	// maxLogLines is how many lines a limiter allows in logInterval, of all kinds together.
	maxLogLines = 100
	// maxLogKinds is how many kinds a limiter remembers.
	maxLogKinds = 10_000
)

// logLimiter allows one line of a kind in logInterval, and maxLogLines in all. It is safe for
// concurrent use.
type logLimiter struct {
	mu     sync.Mutex
	kinds  map[string]*logKind
	window time.Time // the start of the interval that lines are counted in
	lines  int
}

type logKind struct {
	loggedAt time.Time
	count    int // of events since then
}

// allow reports whether an event of this kind may be logged now, and how many events since the
// last line the new line stands for.
func (l *logLimiter) allow(kind string) (count int, ok bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.window) >= logInterval {
		l.window, l.lines = now, 0
	}
	k := l.kinds[kind]
	if k == nil {
		if l.kinds == nil || len(l.kinds) >= maxLogKinds {
			l.kinds = map[string]*logKind{}
		}
		k = &logKind{}
		l.kinds[kind] = k
	}
	k.count++
	if l.lines >= maxLogLines || now.Sub(k.loggedAt) < logInterval {
		return 0, false
	}
	count = k.count
	l.lines++
	k.loggedAt, k.count = now, 0
	return count, true
}

// minuteCounter counts events of the last full minute. It is safe for concurrent use.
type minuteCounter struct {
	mu            sync.Mutex
	minute        int64 // of Unix time
	current, last int
}

func (c *minuteCounter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance()
	c.current++
}

// count returns the events of the last full minute or of the current one, whichever are more.
func (c *minuteCounter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance()
	return max(c.current, c.last)
}

func (c *minuteCounter) advance() {
	minute := time.Now().Unix() / 60
	switch minute - c.minute {
	case 0:
	case 1:
		c.last, c.current = c.current, 0
	default:
		c.last, c.current = 0, 0
	}
	c.minute = minute
}
