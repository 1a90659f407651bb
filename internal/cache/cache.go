package cache

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/store"
)

const (
	pollInterval = 400 * time.Millisecond
	// maxPollAge bounds the age of the last poll, and with it that of every answer.
	maxPollAge = 900 * time.Millisecond
	// maxPolled bounds the changes of one poll. More come from floods of late readings, which are
	// not worth the memory.
	maxPolled = 10_000
	// maxChangedHours bounds the changed hours of single sensors in memory.
	maxChangedHours = 200_000
)

// Key identifies a query: answers with the same key are equal while their readings are.
type Key [32]byte

// Query says what an answer depends on besides Key: the readings of Sensors in [From, To), and
// whether the sensors exist.
type Query struct {
	Key      Key
	Sensors  []int64
	From, To time.Time
}

// Answer is what the cache holds. Its body must not be written to.
type Answer struct {
	ETag string
	Body []byte
}

// Poll returns at most limit changes by transactions from since on, as store.Store.Changes does.
type Poll func(ctx context.Context, since uint64, limit int) (store.Changes, error)

// Cache holds answers about closed hours, in memory and, if there is one, in Redis. No answer is
// older than the last poll of the database, which is maxPollAge old at most; while polls fail, the
// cache is bypassed. A nil *Cache holds nothing.
type Cache struct {
	cfg     Config
	poll    Poll
	every   time.Duration // between two polls
	changes *changes
	memory  *memory
	redis   *redis // nil: none
	metrics *metrics
	log     *slog.Logger

	mu      sync.Mutex
	flights map[Key]*flight // computations under way
}

// flight is a computation that all concurrent callers with the same key share.
type flight struct {
	done     chan struct{} // closed when the fields below are set
	entry    entry
	err      error
	canceled bool // by its caller; the next one has to compute
}

// New returns a cache that holds nothing before Run is called. An empty redisURL means that there
// is no Redis; a wrong one is an error.
func New(
	cfg Config, redisURL string, poll Poll, log *slog.Logger, reg prometheus.Registerer,
) (*Cache, error) {
	m := newMetrics(reg)
	c := &Cache{
		cfg:     cfg,
		poll:    poll,
		every:   pollInterval,
		changes: newChanges(maxChangedHours, maxPollAge),
		memory:  newMemory(cfg.Bytes, m),
		metrics: m,
		log:     log,
		flights: map[Key]*flight{},
	}
	if redisURL != "" {
		var err error
		if c.redis, err = newRedis(redisURL, redisPause, log); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Run polls the database for changes until ctx ends.
func (c *Cache) Run(ctx context.Context) error {
	if c.redis != nil {
		defer c.redis.client.Close()
	}
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	failing := false
	for {
		err := c.pollChanges(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failing {
			c.log.WarnContext(ctx, "polling changes failed, bypassing cache", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// pollChanges polls once, or twice when changes were missed.
func (c *Cache) pollChanges(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, maxPollAge)
	defer cancel()
	for again := true; again; {
		began := time.Now()
		found, err := c.poll(ctx, c.changes.since(), maxPolled)
		if err != nil {
			return err
		}
		again = c.changes.add(began, &found)
	}
	return nil
}

// Get returns the cached answer to q, or computes it. Of concurrent callers with the same key one
// computes for all, errors included.
func (c *Cache) Get(
	ctx context.Context, q Query, compute func(context.Context) (Answer, error),
) (Answer, error) {
	if c == nil {
		return compute(ctx)
	}
	for {
		now, reason := c.changes.snapshot(&q)
		if reason != "" {
			c.metrics.bypassed.WithLabelValues(reason).Inc()
			return compute(ctx)
		}
		if e, ok := c.memory.get(q.Key); ok && c.changes.isValid(e.snapshot, &q) {
			c.metrics.hits.WithLabelValues("memory").Inc()
			return e.Answer, nil
		}
		f, mine := c.join(q.Key)
		if mine {
			isNew := c.fly(ctx, f, now, &q, compute)
			if isNew && c.redis != nil {
				c.redis.put(ctx, q.Key, f.entry)
			}
			return f.entry.Answer, f.err
		}
		select {
		case <-ctx.Done():
			return Answer{}, ctx.Err()
		case <-f.done:
		}
		switch {
		case f.canceled:
			continue
		case f.err != nil:
			return Answer{}, f.err
		case c.changes.isValid(f.entry.snapshot, &q):
			c.metrics.hits.WithLabelValues("flight").Inc()
			return f.entry.Answer, nil
		}
		c.metrics.misses.Inc()
		return compute(ctx) // its readings change all the time: do not wait for another flight
	}
}

// join returns the flight of key, and whether it is the caller's to fly.
func (c *Cache) join(key Key) (f *flight, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[key]; f != nil {
		return f, false
	}
	f = &flight{done: make(chan struct{}), canceled: true}
	c.flights[key] = f
	return f, true
}

// fly takes the answer to q from Redis or computes it, keeps it in memory, and reports whether it
// is to be put into Redis.
func (c *Cache) fly(
	ctx context.Context, f *flight, now snapshot, q *Query,
	compute func(context.Context) (Answer, error),
) (isNew bool) {
	defer func() { // also when compute panics
		c.mu.Lock()
		delete(c.flights, q.Key)
		c.mu.Unlock()
		close(f.done)
	}()
	if c.redis != nil {
		if e, ok := c.redis.get(ctx, now.database, q.Key); ok && c.changes.isValid(e.snapshot, q) {
			c.metrics.hits.WithLabelValues("redis").Inc()
			f.entry, f.canceled = e, false
			c.keep(q.Key, e)
			return false
		}
	}
	c.metrics.misses.Inc()
	a, err := compute(ctx)
	f.entry, f.err, f.canceled = entry{now, a}, err, err != nil && ctx.Err() != nil
	return err == nil && c.keep(q.Key, f.entry)
}

// keep keeps an answer in memory and reports whether it is small enough.
func (c *Cache) keep(key Key, e entry) bool {
	if n := int64(len(e.Body)); n > c.cfg.MaxAnswer || n+entryOverhead > c.cfg.Bytes {
		return false
	}
	c.memory.put(key, e)
	return true
}
