package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// ticketTTL is how long a ticket waits for its WebSocket.
const ticketTTL = 30 * time.Second

// Principal is who makes a request, until Expires.
type Principal struct {
	User      store.User
	SessionID string
	Expires   time.Time
}

// Auth knows who may come in. Safe for concurrent use.
type Auth struct {
	cfg       Config
	store     *store.Store
	log       *slog.Logger
	tokens    *tokens
	passwords *passwords
	attempts  attempts
	gateways  gatewayLogins
	sessions  *sessions
	ended     func(sessionID string) // told when a session ends here
}

// NewAuth returns an Auth that works on st; Close it.
func NewAuth(cfg Config, st *store.Store, log *slog.Logger) (*Auth, error) {
	tokens, err := newTokens(cfg.SecretKey, cfg.AccessTTL)
	if err != nil {
		return nil, err
	}
	a := &Auth{
		cfg:       cfg,
		store:     st,
		log:       log,
		tokens:    tokens,
		passwords: newPasswords(),
		attempts:  newLocalAttempts(),
		sessions:  newSessions(st), ended: func(string) {},
	}
	if cfg.RedisURL != "" {
		if a.attempts, err = newRedisAttempts(cfg.RedisURL, log); err != nil {
			return nil, err
		}
	}
	a.gateways.attempts = a.attempts
	return a, nil
}

// Close ends the connection to Redis, if there is one.
func (a *Auth) Close() {
	if r, ok := a.attempts.(*redisAttempts); ok {
		r.close()
	}
}

// CheckRedis is the health check of REDIS_URL: what is lost while it is down.
func (a *Auth) CheckRedis(ctx context.Context) (detail string, err error) {
	if r, ok := a.attempts.(*redisAttempts); ok {
		return "counts failed logins for all instances", r.ping(ctx)
	}
	return "not used", nil
}

// FirstAdmin creates an admin when there is no user at all, with the configured password or one it
// makes. password is not empty when it was made here: show it once, it is kept nowhere.
func (a *Auth) FirstAdmin(ctx context.Context) (created bool, password string, err error) {
	if has, err := a.store.HasUsers(ctx); err != nil || has {
		if a.cfg.AdminPassword != "" && err == nil {
			a.log.InfoContext(ctx,
				"ADMIN_PASSWORD is not used: there are users already, and `oei-ms user passwd` sets the password of one")
		}
		return false, "", err
	}
	chosen := a.cfg.AdminPassword
	if chosen == "" {
		password = NewPassword()
		chosen = password
	}
	hash, err := HashPassword(chosen)
	if err != nil {
		return false, "", fmt.Errorf("first admin: %w", err)
	}
	name := a.cfg.AdminUsername
	created, err = a.store.CreateFirstUser(ctx, store.User{
		Username:     name,
		Email:        name + "@localhost",
		PasswordHash: hash,
		Role:         store.Admin,
		IsActive:     true,
	})
	if err != nil || !created {
		return false, "", err
	}
	return true, password, nil
}

// pair is what a login or refresh gives.
type pair struct{ access, refresh string }

// login begins a session. Whatever is wrong with username and password, the answer and the work are
// the same.
func (a *Auth) login(ctx context.Context, addr, username, password string) (pair, error) {
	user, err := a.store.UserByName(ctx, username)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return pair{}, err
	}
	if err := a.prove(ctx, addr, username, user, password); err != nil {
		return pair{}, err
	}
	refresh := secret(refreshPrefix)
	session, err := a.store.CreateLoginSession(ctx, user.ID, refresh, a.cfg.RefreshTTL)
	if err != nil {
		return pair{}, err
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "user logged in", slog.Int64("user_id", user.ID),
		slog.String("session_id", session), slog.String("remote", addr))
	access, err := a.tokens.issue(user.ID, session)
	return pair{access, refresh}, err
}

// prove checks that password is user's, who may be nobody, counting failures of username from addr.
func (a *Auth) prove(
	ctx context.Context, addr, username string, user store.User, password string,
) error {
	keys := keysOf(addr, username)
	wait, err := a.attempts.begin(ctx, keys)
	if err != nil {
		return err
	}
	if wait > 0 {
		return tooMany(wait)
	}
	ok, old, err := a.passwords.check(ctx, user.PasswordHash, password)
	if err != nil {
		return fmt.Errorf("check password of user %d: %w", user.ID, err)
	}
	if !ok || !user.IsActive {
		a.log.LogAttrs(ctx, slog.LevelInfo, "login refused", slog.Int64("user_id", user.ID),
			slog.String("remote", addr))
		return unauthorized("Username or password is wrong.", false)
	}
	if old {
		if err := a.rehash(ctx, user, password); err != nil {
			return err
		}
	}
	return a.attempts.succeed(ctx, keys)
}

func (a *Auth) rehash(ctx context.Context, user store.User, password string) error {
	hash, err := a.passwords.hash(ctx, password)
	if err != nil {
		return err
	}
	return a.store.ReplacePasswordHash(ctx, user.ID, user.PasswordHash, hash)
}

// refresh exchanges a refresh token. One that was used a moment ago is answered with the same
// successor, one that was used earlier ends its session.
func (a *Auth) refresh(ctx context.Context, used string) (pair, error) {
	next := a.tokens.successor(used)
	session, err := a.store.RotateRefreshToken(ctx, used, next, a.cfg.RefreshTTL)
	switch {
	case errors.Is(err, store.ErrTokenReused):
		a.log.LogAttrs(ctx, slog.LevelWarn,
			"refresh token was used twice; its session has been ended",
			slog.Int64("user_id", session.User.ID), slog.String("session_id", session.ID),
			slog.String("remote", callOf(ctx).addr))
		a.forget(session.ID)
		return pair{}, err
	case errors.Is(err, store.ErrNotFound):
		return pair{}, unauthorized("The refresh token is not valid.", false)
	case err != nil:
		return pair{}, err
	}
	access, err := a.tokens.issue(session.User.ID, session.ID)
	return pair{access, next}, err
}

// logout ends the session of p.
func (a *Auth) logout(ctx context.Context, p *Principal) error {
	err := a.store.EndLoginSession(ctx, p.SessionID, "logout")
	a.forget(p.SessionID)
	return err
}

// changePassword asks for the current password and ends every other session of the user.
func (a *Auth) changePassword(
	ctx context.Context, addr string, p *Principal, current, next string,
) error {
	user, err := a.store.UserByName(ctx, p.User.Username) // the cached one may be a second old
	if err != nil {
		return err
	}
	if err := a.prove(ctx, addr, user.Username, user, current); err != nil {
		if wrong, ok := errors.AsType[*problem](err); ok && wrong.status == 401 {
			return invalid("current_password", "is wrong")
		}
		return err
	}
	hash, err := a.passwords.hash(ctx, next)
	if err != nil {
		return err
	}
	if err := a.store.SetPassword(ctx, user.ID, hash, p.SessionID); err != nil {
		return err
	}
	a.sessions.forgetUser(user.ID)
	return nil
}

// Authenticate returns who has token: a *problem, 401, when it is not valid or its session has
// ended.
func (a *Auth) Authenticate(ctx context.Context, token string) (*Principal, error) {
	c, err := a.tokens.verify(token)
	if err != nil {
		return nil, unauthorized("The access token is not valid.", true)
	}
	session, err := a.sessions.alive(ctx, c.Session)
	if errors.Is(err, store.ErrNotFound) || err == nil && session.User.ID != c.UserID {
		return nil, unauthorized("The session has ended.", true)
	}
	if err != nil {
		return nil, err
	}
	return &Principal{User: session.User, SessionID: session.ID, Expires: c.Expires}, nil
}

// ticket makes a ticket for one WebSocket of p.
func (a *Auth) ticket(ctx context.Context, p *Principal) (string, error) {
	ticket := secret("wt_")
	return ticket, a.store.CreateTicket(ctx, p.SessionID, ticket, ticketTTL)
}

// useTicket returns who made ticket.
func (a *Auth) useTicket(ctx context.Context, ticket string) (*Principal, error) {
	session, err := a.store.UseTicket(ctx, ticket)
	if errors.Is(err, store.ErrNotFound) {
		return nil, unauthorized("The ticket is not valid, or was used.", true)
	}
	if err != nil {
		return nil, err
	}
	return &Principal{
		User:      session.User,
		SessionID: session.ID,
		Expires:   time.Now().Add(a.cfg.AccessTTL),
	}, nil
}

// forget makes the end of a session known here at once.
func (a *Auth) forget(session string) {
	a.sessions.forget(session)
	a.ended(session)
}
