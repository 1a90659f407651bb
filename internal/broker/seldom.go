package broker

import (
	"sync"
	"time"
)

// seldom keeps what goes wrong for many at once, as when the database is away, to a line a minute
// in the log. It is safe for concurrent use.
type seldom struct {
	mu     sync.Mutex
	said   time.Time
	others int // that said nothing since
}

const seldomInterval = time.Minute

// due reports whether it is time to say it, and how often it was passed over since the last time.
func (s *seldom) due() (others int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.said.IsZero() && time.Since(s.said) < seldomInterval {
		s.others++
		return 0, false
	}
	others = s.others
	s.said, s.others = time.Now(), 0
	return others, true
}
