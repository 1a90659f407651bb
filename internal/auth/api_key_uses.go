package auth

import (
	"cmp"
	"context"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/oei-ms/oei-ms/store"
)

const (
	useInterval   = time.Minute // between records of the last use of a key
	useTimeout    = 2 * time.Second
	limitSpan     = time.Minute // of requests per minute
	maxKeyUses    = 20_000      // keys whose use is remembered
	maxKnownAddrs = 64          // of a key; the use from further ones is not logged
)

// apiKeyUses counts the requests of each API key at this instance and remembers its last use.
type apiKeyUses struct {
	mu   sync.Mutex
	keys map[int64]*apiKeyUse
}

type apiKeyUse struct {
	limiter *rate.Limiter // holds the requests of a minute
	last    store.APIKeyUse
	stored  bool // last is in the database
	known   map[string]bool
}

// count counts a request with key from addr. A wait above 0 means that the request is over the
// limit of key, or of perMinute if it has none. isNew says that this is its first use from addr.
func (u *apiKeyUses) count(
	key store.APIKey, addr string, perMinute int, now time.Time,
) (limit Limit, wait time.Duration, isNew bool) {
	quota := *cmp.Or(key.RequestsPerMinute, &perMinute)
	perSecond := rate.Limit(float64(quota) / limitSpan.Seconds())
	u.mu.Lock()
	defer u.mu.Unlock()
	use := u.keys[key.ID]
	if use == nil {
		u.bound(now)
		use = &apiKeyUse{limiter: rate.NewLimiter(perSecond, quota), known: map[string]bool{}}
		u.keys[key.ID] = use
	}
	if use.limiter.Burst() != quota {
		use.limiter = rate.NewLimiter(perSecond, quota)
	}
	if isNew = !use.known[addr] && len(use.known) < maxKnownAddrs; isNew {
		use.known[addr] = true
	}
	use.last, use.stored = store.APIKeyUse{ID: key.ID, At: now, Addr: addr}, false
	allowed := use.limiter.AllowN(now, 1)
	tokens := use.limiter.TokensAt(now)
	limit = Limit{
		Name:      "api-key",
		Quota:     quota,
		Remaining: max(0, int(tokens)),
		Window:    limitSpan,
		Reset:     seconds((float64(quota) - tokens) / float64(perSecond)),
	}
	if !allowed {
		wait = max(time.Millisecond, seconds((1-tokens)/float64(perSecond)))
	}
	return limit, wait, isNew
}

func seconds(s float64) time.Duration {
	return time.Duration(math.Ceil(s * float64(time.Second)))
}

// bound forgets keys that were not used for so long that all of their requests are left again.
func (u *apiKeyUses) bound(now time.Time) {
	if len(u.keys) < maxKeyUses {
		return
	}
	for id, use := range u.keys {
		if use.stored && now.Sub(use.last.At) > limitSpan {
			delete(u.keys, id)
		}
	}
}

// unstored returns the uses since the last call.
func (u *apiKeyUses) unstored() []store.APIKeyUse {
	u.mu.Lock()
	defer u.mu.Unlock()
	var uses []store.APIKeyUse
	for _, use := range u.keys {
		if !use.stored {
			uses = append(uses, use.last)
			use.stored = true
		}
	}
	return uses
}

// Run records once a minute, and when ctx ends, when and from where API keys were last used.
func (a *Auth) Run(ctx context.Context) error {
	tick := time.NewTicker(useInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.RecordAPIKeyUses(ctx)
		case <-ctx.Done():
			a.RecordAPIKeyUses(context.WithoutCancel(ctx))
			return nil
		}
	}
}

// RecordAPIKeyUses stores the last use of each API key that was used since the last call. Uses that
// cannot be stored are logged and lost: the next use of the key is stored.
func (a *Auth) RecordAPIKeyUses(ctx context.Context) {
	uses := a.uses.unstored()
	if len(uses) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, useTimeout)
	defer cancel()
	if err := a.store.AddAPIKeyUses(ctx, uses); err != nil {
		a.log.WarnContext(ctx, "recording api key uses failed", "keys", len(uses), "error", err)
	}
}
