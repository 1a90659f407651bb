package broker

import (
	"net"
	"net/netip"
	"sync"
)

// mostSurplus is how many connections beyond those allowed are let in for a moment, to be told so.
const mostSurplus = 32

// crowd counts the connections of all listeners. It is safe for concurrent use.
type crowd struct {
	cfg     Config
	clients *sync.WaitGroup // the broker's
	pending pendingLogins

	mu      sync.Mutex
	in      int
	from    map[netip.Addr]int
	surplus int
}

// visit is one connection in the crowd.
type visit struct {
	addr    netip.Addr
	surplus bool
}

func newCrowd(cfg Config, clients *sync.WaitGroup) *crowd {
	return &crowd{cfg: cfg, clients: clients, from: map[netip.Addr]int{}}
}

// enter counts a connection from addr; nil when it must not come in.
func (c *crowd) enter(addr net.Addr) *visit {
	ap, _ := netip.ParseAddrPort(addr.String()) // the zero address for what has none
	v := &visit{addr: ap.Addr().Unmap()}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.in < c.cfg.MaxConnections && c.from[v.addr] < c.cfg.MaxConnectionsPerAddress:
		c.in++
		c.from[v.addr]++
	case c.surplus < mostSurplus:
		c.surplus++
		v.surplus = true
	default:
		return nil
	}
	return v
}

func (c *crowd) leave(v *visit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.surplus {
		c.surplus--
		return
	}
	c.in--
	if c.from[v.addr]--; c.from[v.addr] == 0 {
		delete(c.from, v.addr)
	}
}
