package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

const (
	attemptsWindow    = 15 * time.Minute
	attemptsOfUser    = 10  // failures for a username from one address
	attemptsOfAddress = 100 // failures from one address
	mostCounted       = 50_000
)

// attempts counts tries to guess a password. A try is counted before it is made, so that many at
// once gain nothing, and taken back when it succeeds.
type attempts interface {
	// begin counts a try and returns 0, or how long to wait when there were too many.
	begin(ctx context.Context, k attemptKeys) (wait time.Duration, err error)
	// succeed takes the try back and forgets the failures of the username.
	succeed(ctx context.Context, k attemptKeys) error
	// undo takes the try back.
	undo(ctx context.Context, k attemptKeys) error
}

// attemptKeys are what a try is counted under.
type attemptKeys struct{ address, user string }

// keysOf counts IPv6 by the network of a customer, who has 2^64 addresses.
func keysOf(addr, username string) attemptKeys {
	if a, err := netip.ParseAddr(addr); err == nil && a.Is6() && !a.Is4In6() {
		addr = netip.PrefixFrom(a.WithZone(""), 64).Masked().String()
	}
	return attemptKeys{
		address: "oei:attempts:{" + addr + "}",
		user:    "oei:attempts:{" + addr + "}:" + username,
	}
}

// localAttempts counts in this process.
type localAttempts struct {
	mu     sync.Mutex
	counts map[string]attemptCount
}

type attemptCount struct {
	n   int
	end time.Time // of the window
}

func newLocalAttempts() *localAttempts {
	return &localAttempts{
		counts: make(map[string]attemptCount),
	}
}

func (l *localAttempts) begin(_ context.Context, k attemptKeys) (time.Duration, error) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	address, user := l.count(k.address, now), l.count(k.user, now)
	if address.n >= attemptsOfAddress {
		return address.end.Sub(now), nil
	}
	if user.n >= attemptsOfUser {
		return user.end.Sub(now), nil
	}
	address.n++
	user.n++
	l.counts[k.address], l.counts[k.user] = address, user
	l.bound(now)
	return 0, nil
}

func (l *localAttempts) succeed(_ context.Context, k attemptKeys) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.counts, k.user)
	if c := l.counts[k.address]; c.n > 0 {
		c.n--
		l.counts[k.address] = c
	}
	return nil
}

func (l *localAttempts) undo(_ context.Context, k attemptKeys) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range []string{k.address, k.user} {
		if c := l.counts[key]; c.n > 0 {
			c.n--
			l.counts[key] = c
		}
	}
	return nil
}

func (l *localAttempts) count(key string, now time.Time) attemptCount {
	if c, ok := l.counts[key]; ok && now.Before(c.end) {
		return c
	}
	return attemptCount{end: now.Add(attemptsWindow)}
}

// bound drops what has passed, then whatever comes first, so that counting cannot fill the memory.
func (l *localAttempts) bound(now time.Time) {
	if len(l.counts) <= mostCounted {
		return
	}
	for key, c := range l.counts {
		if !now.Before(c.end) {
			delete(l.counts, key)
		}
	}
	for key := range l.counts {
		if len(l.counts) <= mostCounted*9/10 {
			return
		}
		delete(l.counts, key)
	}
}

// redisAttempts counts for all instances in Redis, and for this one only while Redis is down.
type redisAttempts struct {
	option rueidis.ClientOption
	local  *localAttempts
	log    *slog.Logger

	mu       sync.Mutex
	client   rueidis.Client
	nextDial time.Time
}

const (
	redisWithin = 500 * time.Millisecond // a login does not wait longer for Redis
	redisPause  = 5 * time.Second        // from one attempt to connect to the next
)

func newRedisAttempts(url string, log *slog.Logger) (*redisAttempts, error) {
	option, err := rueidis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	option.Dialer.Timeout = redisWithin
	option.ConnWriteTimeout = 2 * time.Second
	option.DisableCache = true
	return &redisAttempts{option: option, local: newLocalAttempts(), log: log}, nil
}

var (
	beginScript = rueidis.NewLuaScript(`
		for i = 1, 2 do
			if tonumber(redis.call('GET', KEYS[i]) or '0') >= tonumber(ARGV[i]) then return redis.call('PTTL', KEYS[i]) end
		end
		for i = 1, 2 do
			if redis.call('INCR', KEYS[i]) == 1 then redis.call('PEXPIRE', KEYS[i], ARGV[3]) end
		end
		return 0`)
	succeedScript = rueidis.NewLuaScript(`
		redis.call('DEL', KEYS[2])
		if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('DECR', KEYS[1]) end
		return 0`)
	undoScript = rueidis.NewLuaScript(`
		for i = 1, 2 do
			if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('DECR', KEYS[i]) end
		end
		return 0`)
)

func (r *redisAttempts) begin(ctx context.Context, k attemptKeys) (time.Duration, error) {
	ms, err := r.run(ctx, beginScript, k, fmt.Sprint(attemptsOfAddress), fmt.Sprint(attemptsOfUser),
		fmt.Sprint(attemptsWindow.Milliseconds()))
	if err != nil {
		return r.local.begin(ctx, k)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

func (r *redisAttempts) succeed(ctx context.Context, k attemptKeys) error {
	_ = r.local.succeed(ctx, k)
	_, _ = r.run(ctx, succeedScript, k) // without Redis the local counts are the ones that matter
	return nil
}

func (r *redisAttempts) undo(ctx context.Context, k attemptKeys) error {
	_ = r.local.undo(ctx, k)
	_, _ = r.run(ctx, undoScript, k) // as above
	return nil
}

func (r *redisAttempts) run(
	ctx context.Context, script *rueidis.Lua, k attemptKeys, args ...string,
) (int64, error) {
	client, err := r.connect()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, redisWithin)
	defer cancel()
	n, err := script.Exec(ctx, client, []string{k.address, k.user}, args).AsInt64()
	if err != nil {
		r.log.LogAttrs(ctx, slog.LevelWarn, "failed logins are counted here only",
			slog.Any("error", err))
	}
	return n, err
}

// connect returns the client, which connects again by itself; the first time, Redis has to be
// there.
func (r *redisAttempts) connect() (rueidis.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		return r.client, nil
	}
	if time.Now().Before(r.nextDial) {
		return nil, errNoRedis
	}
	client, err := rueidis.NewClient(r.option)
	if err != nil {
		r.nextDial = time.Now().Add(redisPause)
		r.log.Warn("failed logins are counted here only", slog.Any("error", err))
		return nil, errNoRedis
	}
	r.client = client
	return client, nil
}

var errNoRedis = fmt.Errorf("redis does not answer")

// ping checks that Redis answers.
func (r *redisAttempts) ping(ctx context.Context) error {
	client, err := r.connect()
	if err != nil {
		return err
	}
	return client.Do(ctx, client.B().Ping().Build()).Error()
}

func (r *redisAttempts) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		r.client.Close()
	}
}
