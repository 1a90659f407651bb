package server

import (
	"context"
	"sync"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

const (
	sessionFresh = time.Second // what other instances do to a session is seen here after this
	mostSessions = 10_000      // remembered
)

// sessions asks the database who a session belongs to, once a second for each.
type sessions struct {
	store *store.Store

	mu     sync.Mutex
	known  map[string]knownSession
	forgot uint64 // counts what was forgotten: an answer that was under way then is not kept
}

type knownSession struct {
	store.LoginSession
	until time.Time
}

func newSessions(st *store.Store) *sessions {
	return &sessions{store: st, known: make(map[string]knownSession)}
}

// alive returns the session id, or store.ErrNotFound when it has ended or its user is not active.
func (s *sessions) alive(ctx context.Context, id string) (store.LoginSession, error) {
	now := time.Now()
	s.mu.Lock()
	k, ok := s.known[id]
	before := s.forgot
	s.mu.Unlock()
	if ok && now.Before(k.until) {
		return k.LoginSession, nil
	}
	session, err := s.store.LoginSession(ctx, id)
	if err != nil {
		return store.LoginSession{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forgot == before {
		if len(s.known) >= mostSessions {
			clear(s.known)
		}
		s.known[id] = knownSession{session, now.Add(sessionFresh)}
	}
	return session, nil
}

// forget has the next request of the session ask the database.
func (s *sessions) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgot++
	delete(s.known, id)
}

// forgetUser is forget for every session of a user.
func (s *sessions) forgetUser(user int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgot++
	for id, k := range s.known {
		if k.User.ID == user {
			delete(s.known, id)
		}
	}
}
