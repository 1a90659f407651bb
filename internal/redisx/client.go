// Package redisx gives packages a Redis client that connects late and gives up early: Redis may
// start after the program or stop while it runs, and no request waits for it for long. It holds no
// keys and no commands; those are the callers' (auth, cache and push/relay).
package redisx

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// netTimeout bounds connecting, and the writing of commands.
const netTimeout = 2 * time.Second

// ErrUnavailable means that Redis was not asked, because it did not answer a moment ago.
var ErrUnavailable = errors.New("redis does not answer")

// ParseURL returns the options of a client for the Redis at url, without client-side caching.
func ParseURL(url string) (rueidis.ClientOption, error) {
	option, err := rueidis.ParseURL(url)
	if err != nil {
		return option, fmt.Errorf("REDIS_URL: %w", err)
	}
	option.Dialer.Timeout = netTimeout
	option.ConnWriteTimeout = netTimeout
	option.DisableCache = true
	return option, nil
}

// Client connects when it is used first, and again by itself. Safe for concurrent use.
type Client struct {
	option         rueidis.ClientOption
	timeout, pause time.Duration

	mu      sync.Mutex
	client  rueidis.Client // nil until Redis has answered for the first time
	dialing *dial          // nil while no attempt to connect is under way
	resume  time.Time      // until then Redis is not asked
	closed  bool
	dials   sync.WaitGroup
}

// dial is an attempt to connect; done is closed when err is set.
type dial struct {
	done chan struct{}
	err  error
}

// New returns a client for the Redis at url. Each call of Do lasts timeout at most; after one that
// failed, Redis is not asked for the time of pause. New does not connect. Close the client.
func New(url string, timeout, pause time.Duration) (*Client, error) {
	option, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	return &Client{option: option, timeout: timeout, pause: pause}, nil
}

// Do calls f with a connected client. Its error is that of f or of connecting, or ErrUnavailable.
func (c *Client) Do(ctx context.Context, f func(context.Context, rueidis.Client) error) error {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	client, err := c.connect(limited)
	if err == nil {
		err = f(limited, client)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrUnavailable) {
		c.mu.Lock()
		c.resume = time.Now().Add(c.pause)
		c.mu.Unlock()
	}
	return err
}

// Ping checks that Redis answers.
func (c *Client) Ping(ctx context.Context) error {
	return c.Do(ctx, func(ctx context.Context, client rueidis.Client) error {
		return client.Do(ctx, client.B().Ping().Build()).Error()
	})
}

// connect returns the client, once an attempt to connect has succeeded.
func (c *Client) connect(ctx context.Context) (rueidis.Client, error) {
	c.mu.Lock()
	if c.closed || time.Now().Before(c.resume) {
		c.mu.Unlock()
		return nil, ErrUnavailable
	}
	if c.client != nil {
		defer c.mu.Unlock()
		return c.client, nil
	}
	d := c.dialing
	if d == nil {
		d = &dial{done: make(chan struct{})}
		c.dialing = d
		c.dials.Go(func() { c.dial(d) })
	}
	c.mu.Unlock()
	select {
	case <-d.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to redis: %w", ctx.Err())
	}
	if d.err != nil {
		return nil, fmt.Errorf("connect to redis: %w", d.err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.client, nil
}

func (c *Client) dial(d *dial) {
	client, err := rueidis.NewClient(c.option)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.client, c.resume = client, time.Time{}
	}
	c.dialing, d.err = nil, err
	close(d.done)
}

// Close ends the connection, and waits for an attempt to connect that is under way.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.dials.Wait()
	if c.client != nil {
		c.client.Close()
	}
}
