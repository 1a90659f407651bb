package auth

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/oei-ms/oei-ms/internal/redisx"
)

const (
	redisTimeout = 500 * time.Millisecond // a login does not wait longer for Redis
	redisPause   = 5 * time.Second        // after Redis did not answer
)

// redisLimiter counts the attempts at all instances in Redis, and those at this one while Redis
// does not answer.
type redisLimiter struct {
	redis *redisx.Client
	local *memoryLimiter
	log   *slog.Logger
}

func newRedisLimiter(url string, pause time.Duration, log *slog.Logger) (*redisLimiter, error) {
	client, err := redisx.New(url, redisTimeout, pause)
	if err != nil {
		return nil, err
	}
	return &redisLimiter{redis: client, local: newMemoryLimiter(), log: log}, nil
}

// The keys of each script are those of limitKeys: address, then user.
var (
	//
	// beginScript returns count and milliseconds to live of both, from before the attempt.
	beginScript = rueidis.NewLuaScript(`
		local res = {}
		local over = false
		for i = 1, 2 do
			local count = tonumber(redis.call('GET', KEYS[i]) or '0')
			res[#res + 1] = count
			res[#res + 1] = redis.call('PTTL', KEYS[i])
			over = over or count >= tonumber(ARGV[i])
		end
		for i = 1, 2 do
			if not over and redis.call('INCR', KEYS[i]) == 1 then
				redis.call('PEXPIRE', KEYS[i], ARGV[3])
			end
		end
		return res`)
	succeedScript = rueidis.NewLuaScript(`
		redis.call('DEL', KEYS[2])
		if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('DECR', KEYS[1]) end
		return {}`)
	undoScript = rueidis.NewLuaScript(`
		for i = 1, 2 do
			if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('DECR', KEYS[i]) end
		end
		return {}`)
)

func (r *redisLimiter) begin(ctx context.Context, k limitKeys) (attempt, error) {
	ns, err := r.run(ctx, beginScript, k, strconv.Itoa(maxFailuresPerAddress),
		strconv.Itoa(maxFailuresPerUser), strconv.FormatInt(limitWindow.Milliseconds(), 10))
	if err != nil || len(ns) != 4 {
		return r.local.begin(ctx, k)
	}
	now := time.Now()
	counted := func(n, ms int64) failureCount {
		if ms <= 0 { // there is no count yet
			ms = limitWindow.Milliseconds()
		}
		return failureCount{n: int(n), end: now.Add(time.Duration(ms) * time.Millisecond)}
	}
	a, _ := newAttempt(counted(ns[0], ns[1]), counted(ns[2], ns[3]), now)
	return a, nil
}

func (r *redisLimiter) succeed(ctx context.Context, k limitKeys) error {
	_ = r.local.succeed(ctx, k)
	_, _ = r.run(ctx, succeedScript, k) // while Redis does not answer, the local counts hold
	return nil
}

func (r *redisLimiter) undo(ctx context.Context, k limitKeys) error {
	_ = r.local.undo(ctx, k)
	_, _ = r.run(ctx, undoScript, k) // as in succeed
	return nil
}

func (r *redisLimiter) run(
	ctx context.Context, script *rueidis.Lua, k limitKeys, args ...string,
) (ns []int64, err error) {
	err = r.redis.Do(ctx, func(ctx context.Context, client rueidis.Client) (err error) {
		ns, err = script.Exec(ctx, client, []string{k.address, k.user}, args).AsIntSlice()
		return err
	})
	if err != nil && !errors.Is(err, redisx.ErrUnavailable) {
		r.log.WarnContext(ctx, "redis failed, counting failed logins locally", "error", err)
	}
	return ns, err
}
