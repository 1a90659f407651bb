// Package auth decides for whom a request speaks: it issues and verifies tokens, checks passwords,
// limits failed logins and the requests of API keys, and remembers login sessions for a moment. It
// knows nothing of HTTP: server turns its errors into answers, and the MQTT broker in the process
// asks it whether a gateway may try to log in.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/store"
)

// TicketTTL is how long a WebSocket ticket can be used.
const TicketTTL = 30 * time.Second

// Tokens are the answer to a login or a refresh.
type Tokens struct {
	Access, Refresh string
	ExpiresIn       time.Duration // of Access
}

// Auth checks who may use the system. Safe for concurrent use.
type Auth struct {
	cfg       Config
	store     *store.Store
	log       *slog.Logger
	tokens    *tokens
	passwords *passwords
	limiter   loginLimiter
	gateways  gatewayLogins
	sessions  *sessionCache
	keys      *apiKeyCache
	uses      apiKeyUses
}

// New returns an Auth that works on st. Close it.
func New(
	cfg Config, st *store.Store, log *slog.Logger, reg prometheus.Registerer,
) (*Auth, error) {
	tokens, err := newTokens(cfg.SecretKey, cfg.AccessTTL)
	if err != nil {
		return nil, err
	}
	limiter, err := newLoginLimiter(cfg.RedisURL, log)
	if err != nil {
		return nil, err
	}
	return &Auth{
		cfg:       cfg,
		store:     st,
		log:       log,
		tokens:    tokens,
		passwords: newPasswords(reg),
		limiter:   limiter,
		gateways:  gatewayLogins{limiter: limiter, known: map[limitKeys]bool{}},
		sessions:  newSessionCache(st),
		keys:      newAPIKeyCache(st),
		uses:      apiKeyUses{keys: make(map[int64]*apiKeyUse)},
	}, nil
}

// Close ends the connection to Redis, if there is one.
func (a *Auth) Close() {
	if r, ok := a.limiter.(*redisLimiter); ok {
		r.redis.Close()
	}
}

// CheckRedis is the health check of Redis. detail says what Redis is used for.
func (a *Auth) CheckRedis(ctx context.Context) (detail string, err error) {
	if r, ok := a.limiter.(*redisLimiter); ok {
		return "counts failed logins for all instances", r.redis.Ping(ctx)
	}
	return "not used", nil
}

// Login starts a session for the user with this name and password, who asks from addr. The error
// (ErrWrongCredentials) and the work are the same for an unknown, a disabled and another user. The
// limits are those of failed logins.
func (a *Auth) Login(
	ctx context.Context, addr, username, password string,
) (t Tokens, limits []Limit, err error) {
	user, err := a.store.UserByName(ctx, username)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Tokens{}, nil, err
	}
	limits, err = a.verifyPassword(ctx, addr, username, user, password)
	if err != nil {
		return Tokens{}, limits, err
	}
	session, t, err := a.startSession(ctx, user.ID)
	if err != nil {
		return Tokens{}, limits, err
	}
	a.log.InfoContext(ctx, "user logged in",
		"user_id", user.ID, "session_id", session, "remote", addr)
	return t, limits, nil
}

// StartSession starts a session for a user without asking for a password.
func (a *Auth) StartSession(ctx context.Context, userID int64) (Tokens, error) {
	_, t, err := a.startSession(ctx, userID)
	return t, err
}

func (a *Auth) startSession(ctx context.Context, userID int64) (id string, t Tokens, err error) {
	refresh := NewSecret(refreshPrefix)
	if id, err = a.store.CreateLoginSession(ctx, userID, refresh, a.cfg.RefreshTTL); err != nil {
		return "", Tokens{}, err
	}
	t, err = a.issue(userID, id, refresh)
	return id, t, err
}

// issue makes an access token to go with refresh.
func (a *Auth) issue(userID int64, session, refresh string) (Tokens, error) {
	access, err := a.tokens.issue(userID, session)
	return Tokens{Access: access, Refresh: refresh, ExpiresIn: a.cfg.AccessTTL}, err
}

// verifyPassword checks the password of user, which is the zero User when there is none with this
// name. It counts failures by username and addr, and returns what is left of these limits.
func (a *Auth) verifyPassword(
	ctx context.Context, addr, username string, user store.User, password string,
) ([]Limit, error) {
	keys := keysOf(addr, username)
	attempt, err := a.limiter.begin(ctx, keys)
	if err != nil {
		return nil, err
	}
	limits := attempt.limits[:]
	if attempt.wait > 0 {
		return limits, &TooManyAttemptsError{Wait: attempt.wait, Limits: limits}
	}
	ok, outdated, err := a.passwords.check(ctx, user.PasswordHash, password)
	if err != nil {
		return limits, fmt.Errorf("check password of user %d: %w", user.ID, err)
	}
	if !ok || !user.IsActive {
		a.log.InfoContext(ctx, "login refused", "user_id", user.ID, "remote", addr)
		return limits, ErrWrongCredentials
	}
	if outdated {
		if err := a.rehash(ctx, user, password); err != nil {
			return limits, err
		}
	}
	return attempt.succeeded(), a.limiter.succeed(ctx, keys)
}

func (a *Auth) rehash(ctx context.Context, user store.User, password string) error {
	hash, err := a.passwords.hash(ctx, password)
	if err != nil {
		return err
	}
	return a.store.ReplacePasswordHash(ctx, user.ID, user.PasswordHash, hash)
}

// Refresh exchanges a refresh token. A token that was used a moment ago is exchanged for the same
// successor again; one that was used earlier ends its session with a *ReusedTokenError.
func (a *Auth) Refresh(ctx context.Context, addr, used string) (Tokens, error) {
	next := a.tokens.successor(used)
	session, err := a.store.RotateRefreshToken(ctx, used, next, a.cfg.RefreshTTL)
	switch {
	case errors.Is(err, store.ErrTokenReused):
		a.log.WarnContext(ctx, "refresh token was used twice",
			"user_id", session.User.ID, "session_id", session.ID, "remote", addr,
			"hint", "its session has been ended; if the user did not do this, change the password")
		a.sessions.forget(session.ID)
		return Tokens{}, &ReusedTokenError{SessionID: session.ID}
	case errors.Is(err, store.ErrNotFound):
		return Tokens{}, ErrInvalidRefreshToken
	case err != nil:
		return Tokens{}, err
	}
	return a.issue(session.User.ID, session.ID, next)
}

// Logout ends the session of p.
func (a *Auth) Logout(ctx context.Context, p *Principal) error {
	err := a.store.EndLoginSession(ctx, p.SessionID, "logout")
	a.sessions.forget(p.SessionID)
	return err
}

// ChangePassword sets the password of p, who has to know the current one, and ends all other
// sessions of the user. A wrong current password is ErrWrongCredentials. The limits are those of
// failed logins.
func (a *Auth) ChangePassword(
	ctx context.Context, addr string, p *Principal, current, next string,
) (limits []Limit, err error) {
	// The user of p may be a second old.
	user, err := a.store.UserByName(ctx, p.User.Username)
	if err != nil {
		return nil, err
	}
	limits, err = a.verifyPassword(ctx, addr, user.Username, user, current)
	if err != nil {
		return limits, err
	}
	hash, err := a.passwords.hash(ctx, next)
	if err != nil {
		return limits, err
	}
	if err := a.store.SetPassword(ctx, user.ID, hash, p.SessionID); err != nil {
		return limits, err
	}
	a.ForgetUser(user.ID)
	return limits, nil
}

// HashPassword hashes a new password, as soon as a processor is free.
func (a *Auth) HashPassword(ctx context.Context, password string) (string, error) {
	return a.passwords.hash(ctx, password)
}

// Authenticate returns the principal of a credential that addr sent. An access token can be
// ErrInvalidToken or ErrSessionEnded; for an API key, whose use it counts, see authenticateKey.
func (a *Auth) Authenticate(ctx context.Context, addr, credential string) (*Principal, error) {
	if IsAPIKey(credential) {
		return a.authenticateKey(ctx, addr, credential)
	}
	c, err := a.tokens.verify(credential)
	if err != nil {
		return nil, err
	}
	session, err := a.session(ctx, c.Session)
	if err != nil {
		return nil, err
	}
	if session.User.ID != c.UserID {
		return nil, ErrSessionEnded
	}
	return &Principal{User: session.User, SessionID: session.ID, Expires: c.Expires}, nil
}

// CheckSession returns ErrSessionEnded when the session of a principal has ended or its user is not
// active, or when the API key was revoked or has expired.
func (a *Auth) CheckSession(ctx context.Context, id string) (err error) {
	if IsAPIKey(id) {
		_, err = a.apiKeyOf(ctx, id)
	} else {
		_, err = a.session(ctx, id)
	}
	return err
}

func (a *Auth) session(ctx context.Context, id string) (store.LoginSession, error) {
	session, err := a.sessions.get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		err = ErrSessionEnded
	}
	return session, err
}

// NewTicket makes a ticket with which p can open one WebSocket.
func (a *Auth) NewTicket(ctx context.Context, p *Principal) (string, error) {
	ticket := NewSecret(ticketPrefix)
	if p.Key != nil {
		return ticket, a.store.CreateAPIKeyTicket(ctx, p.Key.ID, ticket, TicketTTL)
	}
	return ticket, a.store.CreateTicket(ctx, p.SessionID, ticket, TicketTTL)
}

// UseTicket uses up a ticket and returns the principal who made it, or ErrInvalidTicket.
func (a *Auth) UseTicket(ctx context.Context, ticket string) (*Principal, error) {
	session, prefix, err := a.store.UseTicket(ctx, ticket)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrInvalidTicket
	}
	if err != nil {
		return nil, err
	}
	if prefix != "" {
		return a.apiKeyOf(ctx, prefix)
	}
	return &Principal{
		User:      session.User,
		SessionID: session.ID,
		Expires:   time.Now().Add(a.cfg.AccessTTL),
	}, nil
}

// ForgetUser makes this instance notice at once that a user, or a session of the user, has changed.
func (a *Auth) ForgetUser(id int64) { a.sessions.forgetUser(id) }
