package server

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/oei-ms/oei-ms/internal/cache"
	"github.com/oei-ms/oei-ms/series"
	"github.com/oei-ms/oei-ms/store"
)

// cachedQuery is a query for readings whose answer the cache may hold.
type cachedQuery interface {
	// cacheQuery says what the answer depends on.
	cacheQuery() cache.Query
	// cost is an upper bound for the number of rows to read.
	cost(context.Context, *store.Store) (int64, error)
	// read returns the answer as JSON.
	read(context.Context, *store.Store) ([]byte, error)
}

// answer returns the answer to q from the cache, or reads it once the query limiter permits.
func (s *Server) answer(ctx context.Context, q cachedQuery) (cache.Answer, error) {
	about := q.cacheQuery()
	// Programs of several versions may share Redis.
	about.Key = sha256.Sum256(fmt.Append(about.Key[:], s.version))
	return s.cache.Get(ctx, about, func(ctx context.Context) (cache.Answer, error) {
		if err := s.checkSensors(ctx, about.Sensors); err != nil {
			return cache.Answer{}, err
		}
		cost, err := q.cost(ctx, s.store)
		if err != nil {
			return cache.Answer{}, err
		}
		release, err := s.limiter.acquire(ctx, cost)
		if err != nil {
			return cache.Answer{}, err
		}
		defer release()
		body, err := q.read(ctx, s.store)
		if err != nil {
			return cache.Answer{}, tooMuchToRead(err)
		}
		sum := sha256.Sum256(body)
		return cache.Answer{ETag: `"` + hex.EncodeToString(sum[:12]) + `"`, Body: body}, nil
	})
}

// cacheQuery returns the cache.Query for readings of sensors, in order, in [start, end). Its key is
// a hash of what the answer depends on besides the readings: the bounds of its buckets, which
// follow the rules of the time zone, and other parameters.
func cacheQuery(
	sensors []int64, start, end time.Time, bounds []time.Time, parameters ...any,
) cache.Query {
	h := sha256.New()
	fmt.Fprintln(h, sensors, start.UTC(), end.UTC(), parameters)
	b := make([]byte, 0, 8*len(bounds))
	for _, at := range bounds {
		b = binary.BigEndian.AppendUint64(b, uint64(at.UnixMicro()))
	}
	h.Write(b)
	q := cache.Query{Sensors: sensors, From: start.Add(-series.MaxCarryIn), To: end}
	h.Sum(q.Key[:0])
	return q
}
