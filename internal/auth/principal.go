package auth

import (
	"log/slog"
	"strings"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// APIKeyNamePrefix begins the name under which records show an API key. No username begins with it.
const APIKeyNamePrefix = "api-key:"

// Principal is the user or API key for whom a request speaks, until Expires.
type Principal struct {
	User      store.User    // zero for an API key
	Key       *store.APIKey // nil for a user
	SessionID string        // of a user: the login session; of an API key: its prefix
	Expires   time.Time     // zero: never
	Limit     *Limit        // of the requests of an API key; nil for a user
}

// Role returns the role of the user or API key.
func (p *Principal) Role() store.Role {
	if p.Key != nil {
		return p.Key.Role
	}
	return p.User.Role
}

// Name returns the name under which records show what p did.
func (p *Principal) Name() string {
	if p.Key != nil {
		return APIKeyNamePrefix + p.Key.Name
	}
	return p.User.Username
}

// Owner returns to whom idempotency keys of p belong.
func (p *Principal) Owner() store.Owner {
	if p.Key != nil {
		return store.APIKeyOwner(p.Key.ID)
	}
	return store.UserOwner(p.User.ID)
}

// LogAttr returns what names p in the log.
func (p *Principal) LogAttr() slog.Attr {
	if p.Key != nil {
		return slog.Int64("api_key_id", p.Key.ID)
	}
	return slog.Int64("user_id", p.User.ID)
}

// IsReservedUsername reports whether a user with this name could be taken for an API key.
func IsReservedUsername(name string) bool {
	return len(name) >= len(APIKeyNamePrefix) &&
		strings.EqualFold(name[:len(APIKeyNamePrefix)], APIKeyNamePrefix)
}
