package oei

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
)

const renewPause = 5 * time.Second // after a renewal in time that failed

// session is a login by password. Tokens are timed by the local clock from when they came, so that
// a wrong clock does no harm.
type session struct {
	client             *Client
	username, password string

	mu        sync.Mutex
	access    string
	refresh   string
	renewAt   time.Time
	expiresAt time.Time
	running   *renewal
}

// renewal is a login or refresh that runs; all calls that need a token wait for the same.
type renewal struct {
	done  chan struct{}
	token string
	err   error
}

func (s *session) token(ctx context.Context, refused string) (string, error) {
	s.mu.Lock()
	now := time.Now()
	if s.access != "" && s.access != refused && now.Before(s.renewAt) {
		defer s.mu.Unlock()
		return s.access, nil
	}
	if s.access == refused {
		s.expiresAt = time.Time{} // it is of no use any more
	}
	if s.running == nil {
		s.running = &renewal{done: make(chan struct{})}
		go s.renew(s.running, s.refresh)
	}
	running := s.running
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return "", endOf(ctx)
	case <-running.done:
		return running.token, running.err
	}
}

// renew gets a token for all who wait. It lasts as long as the client, not as one of the calls.
func (s *session) renew(r *renewal, refresh string) {
	tokens, err := s.request(refresh)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil:
		lifetime := time.Duration(tokens.ExpiresIn) * time.Second
		s.access, s.refresh = tokens.AccessToken, tokens.RefreshToken
		s.renewAt, s.expiresAt = now.Add(lifetime*4/5), now.Add(lifetime)
		r.token = s.access
	case now.Before(s.expiresAt): // it was renewed before that was necessary
		s.renewAt = now.Add(renewPause)
		r.token = s.access
	default:
		r.err = err
	}
	s.running = nil
	close(r.done)
}

// request refreshes the session, or logs in when there is none or it has ended. A lost answer to a
// refresh is no loss: the server gives the same answer again for a while.
func (s *session) request(refresh string) (client.Tokens, error) {
	if refresh != "" {
		tokens, err := s.refreshed(refresh)
		var p *Problem
		if !errors.As(err, &p) || p.Status != 400 && p.Status != 401 {
			return tokens, err
		}
	}
	c := s.client
	req, err := client.NewLoginRequest(c.base, client.LoginRequest{
		Username: s.username,
		Password: s.password,
	})
	o := callOptions{operation: "login", public: true, repeat: true}
	return answer[client.Tokens](c.ctx, c, o, req, err)
}

func (s *session) refreshed(refresh string) (client.Tokens, error) {
	c := s.client
	req, err := client.NewRefreshSessionRequest(c.base,
		client.RefreshRequest{RefreshToken: refresh})
	o := callOptions{operation: "refreshSession", public: true, repeat: true}
	return answer[client.Tokens](c.ctx, c, o, req, err)
}

func (s *session) end(ctx context.Context) error {
	s.mu.Lock()
	access := s.access
	s.mu.Unlock()
	if access == "" {
		return nil
	}
	req, err := client.NewLogoutRequest(s.client.base)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+access)
	o := callOptions{operation: "logout", public: true}
	err = noAnswer(ctx, s.client, o, req, nil)
	if errors.Is(err, ErrNotAuthenticated) {
		return nil // it has ended
	}
	return err
}
