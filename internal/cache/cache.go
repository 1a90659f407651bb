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
	lookPause  = 400 * time.Millisecond // between looks at what has changed
	lookWithin = 900 * time.Millisecond // how old the last look may be: an answer is never older
	// changes in one look; more come from floods of late readings, and are not worth the memory
	mostFound = 10_000
	// hours of single sensors that are remembered to have changed
	mostKnown = 200_000
)

// Key stands for a question: answers under one key are the same when their readings are.
type Key [32]byte

// Question is what an answer depends on: besides Key, the readings of Sensors in [From, To), and
// whether the sensors are there.
type Question struct {
	Key      Key
	Sensors  []int64
	From, To time.Time
}

// Look returns at most limit changes by transaction since and those behind it, as
// store.Store.Changes does.
type Look func(ctx context.Context, since uint64, limit int) (store.Changes, error)

// Cache keeps answers about hours that are over, in memory and, if there is one, in Redis. It never
// gives one that was out of date when the last look at the database began, lookWithin ago at most;
// when it cannot look, it gives none. A nil *Cache keeps nothing.
type Cache struct {
	cfg     Config
	look    Look
	pause   time.Duration
	changes *changes
	memory  *memory
	redis   *redis // nil: none
	metrics *metrics
	log     *slog.Logger

	mu      sync.Mutex
	flights map[Key]*flight // answers that are being made
}

// flight is an answer that is being made, for whoever asks the same meanwhile.
type flight struct {
	done chan struct{} // closed when what follows is set
	kept kept
	err  error
	cut  bool // it came to nothing, since the one who asked has gone
}

// New fails when redisURL is wrong; empty, it is none. A Cache keeps nothing before Run is called.
func New(
	cfg Config, redisURL string, look Look, log *slog.Logger, reg prometheus.Registerer,
) (*Cache, error) {
	m := newMetrics(reg)
	c := &Cache{
		cfg:     cfg,
		look:    look,
		pause:   lookPause,
		changes: newChanges(mostKnown, lookWithin),
		memory:  newMemory(cfg.Bytes, m),
		metrics: m,
		log:     log,
		flights: map[Key]*flight{},
	}
	if redisURL != "" {
		var err error
		if c.redis, err = newRedis(redisURL, log); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Run looks at what changes until ctx ends.
func (c *Cache) Run(ctx context.Context) error {
	var redis sync.WaitGroup
	defer redis.Wait()
	if c.redis != nil {
		redis.Go(func() { c.redis.run(ctx) })
	}
	tick := time.NewTicker(c.pause)
	defer tick.Stop()
	failing := false
	for {
		err := c.lookOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failing {
			c.log.WarnContext(ctx,
				"what changes is not known: no answer is taken from the cache until it is", "error",
				err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// lookOnce looks, and when that shows that it has to begin anew does so.
func (c *Cache) lookOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	for again := true; again; {
		began := time.Now()
		found, err := c.look(ctx, c.changes.since(), mostFound)
		if err != nil {
			return err
		}
		again = c.changes.learn(began, &found)
	}
	return nil
}

// Answer returns what is kept for q, else what compute returns. Of those who ask the same at the
// same time one calls compute; an error is for all of them. The answer must not be written to.
func (c *Cache) Answer(
	ctx context.Context, q Question, compute func(context.Context) ([]byte, error),
) ([]byte, error) {
	if c == nil {
		return compute(ctx)
	}
	for {
		now, reason := c.changes.moment(&q)
		if reason != "" {
			c.metrics.bypassed.WithLabelValues(reason).Inc()
			return compute(ctx)
		}
		if k, ok := c.memory.get(q.Key); ok && c.changes.holds(k.moment, &q) {
			c.metrics.hits.WithLabelValues("memory").Inc()
			return k.body, nil
		}
		f, mine := c.join(q.Key)
		if mine {
			shared := c.fly(ctx, f, now, &q, compute)
			if f.err == nil && !shared && c.redis != nil {
				c.redis.put(ctx, q.Key, f.kept)
			}
			return f.kept.body, f.err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-f.done:
		}
		switch {
		case f.cut:
			continue
		case f.err != nil:
			return nil, f.err
		case c.changes.holds(f.kept.moment, &q):
			c.metrics.hits.WithLabelValues("flight").Inc()
			return f.kept.body, nil
		}
		c.metrics.misses.Inc()
		return compute(ctx) // it changes all the time: nobody is to wait for the next one
	}
}

// join returns the flight of key, and whether it is the caller's to make.
func (c *Cache) join(key Key) (f *flight, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[key]; f != nil {
		return f, false
	}
	f = &flight{done: make(chan struct{}), cut: true}
	c.flights[key] = f
	return f, true
}

// fly finds q's answer in Redis or computes it, keeps it in memory, and reports whether there is
// nothing to put into Redis.
func (c *Cache) fly(
	ctx context.Context, f *flight, now moment, q *Question,
	compute func(context.Context) ([]byte, error),
) (shared bool) {
	defer func() { // also when compute panics
		c.mu.Lock()
		delete(c.flights, q.Key)
		c.mu.Unlock()
		close(f.done)
	}()
	if c.redis != nil {
		if k, ok := c.redis.get(ctx, now.database, q.Key); ok && c.changes.holds(k.moment, q) {
			c.metrics.hits.WithLabelValues("redis").Inc()
			f.kept, f.cut = k, false
			c.keep(q.Key, k)
			return true
		}
	}
	c.metrics.misses.Inc()
	body, err := compute(ctx)
	f.kept, f.err, f.cut = kept{now, body}, err, err != nil && ctx.Err() != nil
	return err != nil || !c.keep(q.Key, f.kept)
}

// keep keeps an answer in memory unless it is too large.
func (c *Cache) keep(key Key, k kept) bool {
	if n := int64(len(k.body)); n > c.cfg.MaxAnswer || n+overhead > c.cfg.Bytes {
		return false
	}
	c.memory.put(key, k)
	return true
}
