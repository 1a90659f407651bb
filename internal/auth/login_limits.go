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
	// begin counts an attempt, unless there were too many.
	begin(ctx context.Context, k limitKeys) (attempt, error)
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

// attempt is what loginLimiter says of an attempt.
type attempt struct {
	wait   time.Duration // 0: go on
	limits [2]Limit      // of the username and of the address
}

// newAttempt returns the attempt that follows these counts, and whether it is to be counted.
func newAttempt(address, user failureCount, now time.Time) (a attempt, isCounted bool) {
	switch {
	case address.n >= maxFailuresPerAddress:
		a.wait = address.end.Sub(now)
	case user.n >= maxFailuresPerUser:
		a.wait = user.end.Sub(now)
	default:
		address.n++
		user.n++
		isCounted = true
	}
	a.limits[0] = user.limit("username", maxFailuresPerUser, now)
	a.limits[1] = address.limit("address", maxFailuresPerAddress, now)
	return a, isCounted
}

// succeeded returns the limits after the attempt was taken back.
func (a attempt) succeeded() []Limit {
	a.limits[0].Remaining = a.limits[0].Quota
	a.limits[1].Remaining = min(a.limits[1].Remaining+1, a.limits[1].Quota)
	return a.limits[:]
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

func (c failureCount) limit(name string, quota int, now time.Time) Limit {
	return Limit{
		Name:      name,
		Quota:     quota,
		Remaining: max(0, quota-c.n),
		Window:    limitWindow,
		Reset:     max(0, c.end.Sub(now)),
	}
}

func newMemoryLimiter() *memoryLimiter {
	return &memoryLimiter{counts: make(map[string]failureCount)}
}

func (m *memoryLimiter) begin(_ context.Context, k limitKeys) (attempt, error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	address, user := m.count(k.address, now), m.count(k.user, now)
	a, isCounted := newAttempt(address, user, now)
	if isCounted {
		address.n++
		user.n++
		m.counts[k.address], m.counts[k.user] = address, user
		m.bound(now)
	}
	return a, nil
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
