package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// redisLimiter counts the attempts at all instances in Redis, and those at this one while Redis
// does not answer.
type redisLimiter struct {
	option rueidis.ClientOption
	local  *memoryLimiter
	log    *slog.Logger

	mu       sync.Mutex
	client   rueidis.Client
	nextDial time.Time
}

const (
	redisWithin = 500 * time.Millisecond // a login does not wait longer for Redis
	redisPause  = 5 * time.Second        // from one attempt to connect to the next
)

func newRedisLimiter(url string, log *slog.Logger) (*redisLimiter, error) {
	option, err := rueidis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	option.Dialer.Timeout = redisWithin
	option.ConnWriteTimeout = 2 * time.Second
	option.DisableCache = true
	return &redisLimiter{option: option, local: newMemoryLimiter(), log: log}, nil
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

func (r *redisLimiter) begin(ctx context.Context, k limitKeys) (time.Duration, error) {
	ms, err := r.run(ctx, beginScript, k, fmt.Sprint(maxFailuresPerAddress), fmt.Sprint(maxFailuresPerUser),
		fmt.Sprint(limitWindow.Milliseconds()))
	if err != nil {
		return r.local.begin(ctx, k)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

func (r *redisLimiter) succeed(ctx context.Context, k limitKeys) error {
	_ = r.local.succeed(ctx, k)
	_, _ = r.run(ctx, succeedScript, k) // without Redis the local counts are the ones that matter
	return nil
}

func (r *redisLimiter) undo(ctx context.Context, k limitKeys) error {
	_ = r.local.undo(ctx, k)
	_, _ = r.run(ctx, undoScript, k) // as above
	return nil
}

func (r *redisLimiter) run(
	ctx context.Context, script *rueidis.Lua, k limitKeys, args ...string,
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
func (r *redisLimiter) connect() (rueidis.Client, error) {
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

var errNoRedis = errors.New("redis does not answer")

// ping checks that Redis answers.
func (r *redisLimiter) ping(ctx context.Context) error {
	client, err := r.connect()
	if err != nil {
		return err
	}
	return client.Do(ctx, client.B().Ping().Build()).Error()
}

func (r *redisLimiter) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		r.client.Close()
	}
}
