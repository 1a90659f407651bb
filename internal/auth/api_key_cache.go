package auth

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/oei-ms/oei-ms/store"
)

const (
	maxCachedKeys = 20_000
	checkTimeout  = 5 * time.Second
)

// apiKeyCache keeps API keys as long as none has changed at any instance, which it checks once in
// sessionMaxAge at most, however many keys are in use.
type apiKeyCache struct {
	store  *store.Store
	checks singleflight.Group

	mu      sync.Mutex
	keys    map[string]store.APIKey // by prefix
	changes int64                   // store.APIKeyChanges to which keys belongs
	checked time.Time               // when changes was current
	// forgotten counts calls of forget: a key that was being read then is not kept.
	forgotten uint64
}

func newAPIKeyCache(st *store.Store) *apiKeyCache {
	return &apiKeyCache{store: st, keys: make(map[string]store.APIKey), changes: -1}
}

// get returns the API key with prefix, also an expired one, or store.ErrNotFound. A key in memory
// that is not as wanted is read from the database all the same, so that the time that a wrong
// secret takes does not tell which prefixes exist.
func (c *apiKeyCache) get(
	ctx context.Context, prefix string, isWanted func(store.APIKey) bool,
) (store.APIKey, error) {
	if err := c.check(ctx); err != nil {
		return store.APIKey{}, err
	}
	c.mu.Lock()
	key, ok := c.keys[prefix]
	changes, forgotten := c.changes, c.forgotten
	c.mu.Unlock()
	if ok && isWanted(key) {
		return key, nil
	}
	key, err := c.store.APIKeyByPrefix(ctx, prefix)
	if err != nil {
		return store.APIKey{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == changes && c.forgotten == forgotten {
		if len(c.keys) >= maxCachedKeys {
			clear(c.keys)
		}
		c.keys[prefix] = key
	}
	return key, nil
}

// check drops all keys if one has changed since they were read. Callers at the same time share one
// query.
func (c *apiKeyCache) check(ctx context.Context) error {
	c.mu.Lock()
	fresh := time.Since(c.checked) < sessionMaxAge
	c.mu.Unlock()
	if fresh {
		return nil
	}
	done := c.checks.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
		defer cancel()
		started := time.Now()
		changes, err := c.store.APIKeyChanges(ctx)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if changes != c.changes {
			clear(c.keys)
		}
		c.changes, c.checked = changes, started
		return nil, nil
	})
	select {
	case res := <-done:
		return res.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forget makes the next get of the key read it from the database.
func (c *apiKeyCache) forget(prefix string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten++
	delete(c.keys, prefix)
}
