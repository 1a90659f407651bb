package cache

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	redisWithin = 50 * time.Millisecond // an answer does not wait longer for Redis
	redisPause  = 5 * time.Second       // after it did not answer in that time
	redisKeeps  = 10 * time.Minute      // an answer
	redisHead   = 8                     // bytes before the body: moment.over
)

// redis holds answers for all instances. While it is away, it has none.
type redis struct {
	option rueidis.ClientOption
	pause  time.Duration
	log    *slog.Logger
	client atomic.Pointer[rueidis.Client] // nil: it was never there
	resume atomic.Int64                   // in nanoseconds since 1970, when it may be asked again
}

func newRedis(url string, log *slog.Logger) (*redis, error) {
	option, err := rueidis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	option.Dialer.Timeout = 2 * time.Second
	option.ConnWriteTimeout = 2 * time.Second
	option.DisableCache = true
	return &redis{option: option, pause: redisPause, log: log}, nil
}

// run connects, and once connected sees to it that the connection ends with ctx.
func (r *redis) run(ctx context.Context) {
	for ctx.Err() == nil {
		client, err := rueidis.NewClient(r.option)
		if err == nil {
			defer client.Close()
			defer r.client.Store(nil)
			r.client.Store(&client)
			<-ctx.Done()
			return
		}
		r.log.DebugContext(ctx, "answers are kept in this process only", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(r.pause):
		}
	}
}

// name is what an answer is called in Redis. A program that cannot read what another has written
// changes the number.
func name(database string, key Key) string {
	return "oei:answers:1:" + database + ":" + hex.EncodeToString(key[:])
}

func (r *redis) get(ctx context.Context, database string, key Key) (kept, bool) {
	var b []byte
	r.do(ctx, func(ctx context.Context, c rueidis.Client) (err error) {
		if b, err = c.Do(ctx, c.B().Get().Key(name(database, key)).Build()).AsBytes(); rueidis.IsRedisNil(err) {
			return nil
		}
		return err
	})
	if len(b) < redisHead {
		return kept{}, false
	}
	return kept{moment{database, binary.BigEndian.Uint64(b)}, b[redisHead:]}, true
}

func (r *redis) put(ctx context.Context, key Key, k kept) {
	b := append(binary.BigEndian.AppendUint64(make([]byte, 0, redisHead+len(k.body)), k.moment.over), k.body...)
	r.do(ctx, func(ctx context.Context, c rueidis.Client) error {
		return c.Do(ctx,
			c.B().Set().Key(name(k.moment.database, key)).Value(rueidis.BinaryString(b)).Px(
				redisKeeps,
			).Build()).Error()
	})
}

// do calls f unless Redis is away or was just now. What f misses is not worth an error.
func (r *redis) do(ctx context.Context, f func(context.Context, rueidis.Client) error) {
	client := r.client.Load()
	if client == nil || time.Now().UnixNano() < r.resume.Load() {
		return
	}
	short, cancel := context.WithTimeout(ctx, redisWithin)
	defer cancel()
	if err := f(short, *client); err != nil && ctx.Err() == nil {
		r.resume.Store(time.Now().Add(r.pause).UnixNano())
		r.log.DebugContext(ctx, "answers are kept in this process only", "error", err)
	}
}
