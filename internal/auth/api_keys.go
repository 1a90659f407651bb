package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

const apiKeyPrefix = "oei_"

// An API key is its prefix, 10 random characters after "oei_", and a secret of 130 random bits. The
// prefix names it in lists and logs and proves nothing.
var (
	apiKeyForm = regexp.MustCompile(`^(oei_[A-Z2-7]{10})_[A-Z2-7]{26}$`)
	apiKeyIn   = regexp.MustCompile(`(oei_[A-Z2-7]{10})_[A-Z2-7]{26}`)
)

// NewAPIKey makes a key and its prefix.
func NewAPIKey() (key, prefix string) {
	prefix = apiKeyPrefix + rand.Text()[:10]
	return prefix + "_" + rand.Text(), prefix
}

// IsAPIKey reports whether a credential is meant as an API key, not as an access token.
func IsAPIKey(credential string) bool { return strings.HasPrefix(credential, apiKeyPrefix) }

// HideAPIKeys returns text with the secret of each API key in it replaced, and whether it had one.
func HideAPIKeys(text string) (hidden string, found bool) {
	if !strings.Contains(text, apiKeyPrefix) {
		return text, false
	}
	hidden = apiKeyIn.ReplaceAllString(text, "${1}_…")
	return hidden, hidden != text
}

// authenticateKey returns the principal of an API key, ErrInvalidAPIKey, ErrExpiredAPIKey, a
// *TooManyAttemptsError after too many wrong ones, or a *TooManyRequestsError.
func (a *Auth) authenticateKey(ctx context.Context, addr, key string) (*Principal, error) {
	form := apiKeyForm.FindStringSubmatch(key)
	if form == nil {
		return nil, a.refuseKey(ctx, addr, key, "", ErrInvalidAPIKey)
	}
	prefix, sum := form[1], sha256.Sum256([]byte(key))
	isIts := func(k store.APIKey) bool { return subtle.ConstantTimeCompare(k.Hash, sum[:]) == 1 }
	stored, err := a.keys.get(ctx, prefix, isIts)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !isIts(stored):
		return nil, a.refuseKey(ctx, addr, key, prefix, ErrInvalidAPIKey)
	case err != nil:
		return nil, err
	case hasExpired(stored, time.Now()):
		return nil, a.refuseKey(ctx, addr, key, prefix, ErrExpiredAPIKey)
	}
	limit, wait, isNew := a.uses.count(stored, addr, a.cfg.APIKeyRequestsPerMinute, time.Now())
	if isNew {
		a.log.InfoContext(ctx, "api key used",
			"api_key_id", stored.ID, "prefix", prefix, "remote", addr)
	}
	if wait > 0 {
		return nil, &TooManyRequestsError{Wait: wait, Limit: limit}
	}
	p := principalOf(stored)
	p.Limit = &limit
	return p, nil
}

func principalOf(key store.APIKey) *Principal {
	p := &Principal{Key: &key, SessionID: key.Prefix}
	if key.ExpiresAt != nil {
		p.Expires = *key.ExpiresAt
	}
	return p
}

func hasExpired(key store.APIKey, now time.Time) bool {
	return key.ExpiresAt != nil && !now.Before(*key.ExpiresAt)
}

// refuseKey counts a failed use of key among the failed logins from addr and returns reason, or a
// *TooManyAttemptsError. The same key counts at most 10 times for the address, so that one program
// with a revoked key does not lock out others. Prefix is empty when the key has none.
func (a *Auth) refuseKey(ctx context.Context, addr, key, prefix string, reason error) error {
	sum := sha256.Sum256([]byte(key))
	attempt, err := a.limiter.begin(ctx, keysOf(addr, "api-key:"+hex.EncodeToString(sum[:])))
	if err != nil {
		return err
	}
	if attempt.wait > 0 {
		return &TooManyAttemptsError{Wait: attempt.wait, Limits: attempt.limits[:]}
	}
	a.log.InfoContext(ctx, "api key refused", "prefix", prefix, "remote", addr, "error", reason)
	return reason
}

// apiKeyOf returns the principal of the API key with prefix, which has proved itself before.
func (a *Auth) apiKeyOf(ctx context.Context, prefix string) (*Principal, error) {
	key, err := a.keys.get(ctx, prefix, func(store.APIKey) bool { return true })
	if errors.Is(err, store.ErrNotFound) || err == nil && hasExpired(key, time.Now()) {
		return nil, ErrSessionEnded
	}
	if err != nil {
		return nil, err
	}
	return principalOf(key), nil
}

// ForgetAPIKey makes this instance notice at once that an API key has changed.
func (a *Auth) ForgetAPIKey(prefix string) { a.keys.forget(prefix) }
