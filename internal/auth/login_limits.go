package auth

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

const (
	limitWindow           = 15 * time.Minute
	maxFailuresPerUser    = 10  // for a username from one address
	maxFailuresPerAddress = 100 // from one address
	maxCounted            = 50_000
)

// loginLimiter limits how often a password can be guessed. An attempt is counted before the
// password is checked, so that attempts in parallel gain nothing, and taken back when it succeeds.
type loginLimiter interface {
	// begin counts an attempt and returns 0, or how long to wait after too many.
	begin(ctx context.Context, k limitKeys) (wait time.Duration, err error)
	// succeed takes the attempt back and forgets the failures of the username.
	succeed(ctx context.Context, k limitKeys) error
	// undo takes the attempt back.
	undo(ctx context.Context, k limitKeys) error
}

// newLoginLimiter counts in Redis, or in this process when redisURL is empty.
func newLoginLimiter(redisURL string, log *slog.Logger) (loginLimiter, error) {
	if redisURL == "" {
		return newMemoryLimiter(), nil
	}
	return newRedisLimiter(redisURL, redisPause, log)
}

// limitKeys are the two keys under which an attempt is counted.
type limitKeys struct{ address, user string }

// keysOf returns the keys of an attempt. Addresses of IPv6 share the key of their /64 network, all
// of which one customer has.
func keysOf(addr, username string) limitKeys {
	if a, err := netip.ParseAddr(addr); err == nil && a.Is6() && !a.Is4In6() {
		addr = netip.PrefixFrom(a.WithZone(""), 64).Masked().String()
	}
	return limitKeys{
		address: "oei:attempts:{" + addr + "}",
		user:    "oei:attempts:{" + addr + "}:" + username,
	}
}

// memoryLimiter counts the attempts at this process.
type memoryLimiter struct {
	mu     sync.Mutex
	counts map[string]failureCount
}

type failureCount struct {
	n   int
	end time.Time // of the window
}

func newMemoryLimiter() *memoryLimiter {
	return &memoryLimiter{counts: make(map[string]failureCount)}
}

func (m *memoryLimiter) begin(_ context.Context, k limitKeys) (time.Duration, error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	address, user := m.count(k.address, now), m.count(k.user, now)
	if address.n >= maxFailuresPerAddress {
		return address.end.Sub(now), nil
	}
	if user.n >= maxFailuresPerUser {
		return user.end.Sub(now), nil
	}
	address.n++
	user.n++
	m.counts[k.address], m.counts[k.user] = address, user
	m.bound(now)
	return 0, nil
}

func (m *memoryLimiter) succeed(_ context.Context, k limitKeys) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.counts, k.user)
	if c := m.counts[k.address]; c.n > 0 {
		c.n--
		m.counts[k.address] = c
	}
	return nil
}

func (m *memoryLimiter) undo(_ context.Context, k limitKeys) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range []string{k.address, k.user} {
		if c := m.counts[key]; c.n > 0 {
			c.n--
			m.counts[key] = c
		}
	}
	return nil
}

func (m *memoryLimiter) count(key string, now time.Time) failureCount {
	if c, ok := m.counts[key]; ok && now.Before(c.end) {
		return c
	}
	return failureCount{end: now.Add(limitWindow)}
}

// bound drops expired counts, then any others, so that the counts cannot fill the memory.
func (m *memoryLimiter) bound(now time.Time) {
	if len(m.counts) <= maxCounted {
		return
	}
	for key, c := range m.counts {
		if !now.Before(c.end) {
			delete(m.counts, key)
		}
	}
	for key := range m.counts {
		if len(m.counts) <= maxCounted*9/10 {
			return
		}
		delete(m.counts, key)
	}
}
