package auth

import (
	"context"
	"sync"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

const (
	sessionMaxAge     = time.Second // after it, the end of a session at another instance is noticed
	maxCachedSessions = 10_000
)

// sessionCache reads each session from the database once a second at most.
type sessionCache struct {
	store *store.Store

	mu       sync.Mutex
	sessions map[string]cachedSession
	// forgotten counts calls of forget: a session that was being read then is not cached.
	forgotten uint64
}

type cachedSession struct {
	store.LoginSession
	until time.Time
}

func newSessionCache(st *store.Store) *sessionCache {
	return &sessionCache{store: st, sessions: make(map[string]cachedSession)}
}

// get returns the session id, or store.ErrNotFound when it has ended or its user is not active.
func (c *sessionCache) get(ctx context.Context, id string) (store.LoginSession, error) {
	now := time.Now()
	c.mu.Lock()
	cached, ok := c.sessions[id]
	before := c.forgotten
	c.mu.Unlock()
	if ok && now.Before(cached.until) {
		return cached.LoginSession, nil
	}
	session, err := c.store.LoginSession(ctx, id)
	if err != nil {
		return store.LoginSession{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forgotten == before {
		if len(c.sessions) >= maxCachedSessions {
			clear(c.sessions)
		}
		c.sessions[id] = cachedSession{session, now.Add(sessionMaxAge)}
	}
	return session, nil
}

// forget makes the next get of the session read it from the database.
func (c *sessionCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten++
	delete(c.sessions, id)
}

// forgetUser is forget for every session of a user.
func (c *sessionCache) forgetUser(user int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten++
	for id, s := range c.sessions {
		if s.User.ID == user {
			delete(c.sessions, id)
		}
	}
}
