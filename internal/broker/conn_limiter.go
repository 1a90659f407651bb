package broker

import (
	"net"
	"net/netip"
	"sync"
)

// maxOverLimit is how many connections over the limits are open at a time, only to be refused
// with a reason.
const maxOverLimit = 32

// connLimiter bounds the connections of all listeners, in all and per address. It is safe for
// concurrent use.
type connLimiter struct {
	cfg     Config
	clients *sync.WaitGroup // mochi's, which its Close waits for
	pending pendingLogins

	mu        sync.Mutex
	open      int
	byAddress map[netip.Addr]int
	overLimit int
}

// slot is the place of one connection.
type slot struct {
	addr      netip.Addr
	overLimit bool // only to be refused with a reason
}

func newConnLimiter(cfg Config, clients *sync.WaitGroup) *connLimiter {
	return &connLimiter{cfg: cfg, clients: clients, byAddress: map[netip.Addr]int{}}
}

// acquire returns a slot for a connection from addr, or nil when it must be closed at once.
func (l *connLimiter) acquire(addr net.Addr) *slot {
	ap, _ := netip.ParseAddrPort(addr.String()) // the zero address for a network without ports
	s := &slot{addr: ap.Addr().Unmap()}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.open < l.cfg.MaxConnections && l.byAddress[s.addr] < l.cfg.MaxConnectionsPerAddress:
		l.open++
		l.byAddress[s.addr]++
	case l.overLimit < maxOverLimit:
		l.overLimit++
		s.overLimit = true
	default:
		return nil
	}
	return s
}

func (l *connLimiter) release(s *slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.overLimit {
		l.overLimit--
		return
	}
	l.open--
	if l.byAddress[s.addr]--; l.byAddress[s.addr] == 0 {
		delete(l.byAddress, s.addr)
	}
}
