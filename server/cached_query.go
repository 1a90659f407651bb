package server

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/oei-ms/oei-ms/internal/cache"
	"github.com/oei-ms/oei-ms/series"
)

// question is what an answer about readings of sensors, in order, in [start, end) depends on:
// besides these the bounds of its buckets, which know what the zone's clock does, whatever else the
// request asks for, as asked, and which program writes the answer.
func (s *Server) question(
	sensors []int64, start, end time.Time, bounds []time.Time, asked ...any,
) cache.Question {
	h := sha256.New()
	fmt.Fprintln(h, s.version, sensors, start.UTC(), end.UTC(), asked)
	b := make([]byte, 0, 8*len(bounds))
	for _, at := range bounds {
		b = binary.BigEndian.AppendUint64(b, uint64(at.UnixMicro()))
	}
	h.Write(b)
	q := cache.Question{Sensors: sensors, From: start.Add(-series.MaxCarryIn), To: end}
	h.Sum(q.Key[:0])
	return q
}

// answer returns what is kept for q, else what read makes of the readings when its turn has come,
// if it costs so much that it needs one.
func (s *Server) answer(
	ctx context.Context, q cache.Question, cost func(context.Context) (int64, error),
	read func(context.Context) ([]byte, error),
) ([]byte, error) {
	return s.cache.Answer(ctx, q, func(ctx context.Context) ([]byte, error) {
		if err := s.checkSensors(ctx, q.Sensors); err != nil {
			return nil, err
		}
		n, err := cost(ctx)
		if err != nil {
			return nil, err
		}
		leave, err := s.heavy.enter(ctx, n)
		if err != nil {
			return nil, err
		}
		defer leave()
		return read(ctx)
	})
}
