package cache

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"time"

	"github.com/redis/rueidis"

	"github.com/oei-ms/oei-ms/internal/redisx"
)

const (
	redisTimeout = 50 * time.Millisecond // a request does not wait longer for Redis
	redisPause   = 5 * time.Second       // after Redis did not answer
	redisTTL     = 10 * time.Minute      // of an answer
)

// redis holds answers for all instances.
type redis struct {
	client *redisx.Client
	log    *slog.Logger
}

func newRedis(url string, pause time.Duration, log *slog.Logger) (*redis, error) {
	client, err := redisx.New(url, redisTimeout, pause)
	return &redis{client: client, log: log}, err
}

// redisKey names an answer in Redis. The number changes with the encoding of entries.
func redisKey(database string, key Key) string {
	return "oei:answers:2:" + database + ":" + hex.EncodeToString(key[:])
}

func (r *redis) get(ctx context.Context, database string, key Key) (entry, bool) {
	var b []byte
	r.do(ctx, func(ctx context.Context, c rueidis.Client) (err error) {
		b, err = c.Do(ctx, c.B().Get().Key(redisKey(database, key)).Build()).AsBytes()
		if rueidis.IsRedisNil(err) {
			return nil
		}
		return err
	})
	return decodeEntry(database, b)
}

func (r *redis) put(ctx context.Context, key Key, e entry) {
	value := rueidis.BinaryString(encodeEntry(e))
	r.do(ctx, func(ctx context.Context, c rueidis.Client) error {
		set := c.B().Set().Key(redisKey(e.snapshot.database, key)).Value(value).Px(redisTTL)
		return c.Do(ctx, set.Build()).Error()
	})
}

// do calls f unless Redis does not answer. A failure is not worth more than a line for debugging.
func (r *redis) do(ctx context.Context, f func(context.Context, rueidis.Client) error) {
	err := r.client.Do(ctx, f)
	if err != nil && ctx.Err() == nil && !errors.Is(err, redisx.ErrUnavailable) {
		r.log.DebugContext(ctx, "redis failed, caching locally", "error", err)
	}
}

// encodeEntry returns xmin, the length of the ETag in one byte, the ETag, and the body.
func encodeEntry(e entry) []byte {
	b := make([]byte, 0, 9+len(e.ETag)+len(e.Body))
	b = binary.BigEndian.AppendUint64(b, e.snapshot.xmin)
	b = append(b, byte(len(e.ETag)))
	b = append(b, e.ETag...)
	return append(b, e.Body...)
}

// decodeEntry is the reverse of encodeEntry; ok is false for anything else.
func decodeEntry(database string, b []byte) (e entry, ok bool) {
	if len(b) < 9 || len(b) < 9+int(b[8]) {
		return entry{}, false
	}
	tag, body := b[9:9+int(b[8])], b[9+int(b[8]):]
	return entry{
		snapshot: snapshot{database, binary.BigEndian.Uint64(b)},
		Answer:   Answer{ETag: string(tag), Body: body},
	}, true
}
