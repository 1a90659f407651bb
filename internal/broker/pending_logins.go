package broker

import "sync"

// pendingLogins counts the connections that have not logged in, and the bytes they have sent. It
// is safe for concurrent use.
type pendingLogins struct {
	mu     sync.Mutex
	conns  int
	bytes  int64
	shared int64 // bytes beyond freeBeforeLogin of each
}

func (p *pendingLogins) add() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns++
}

// count adds bytes, of which shared are beyond freeBeforeLogin, and reports whether the limit of
// all clients allows them.
func (p *pendingLogins) count(bytes, shared int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += bytes
	p.shared += shared
	return shared == 0 || p.shared <= maxSharedBeforeLogin
}

// remove removes a connection that has sent so many bytes.
func (p *pendingLogins) remove(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns--
	p.bytes -= int64(bytes)
	p.shared -= int64(max(bytes, freeBeforeLogin) - freeBeforeLogin)
}

func (p *pendingLogins) load() (conns int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns, p.bytes
}
