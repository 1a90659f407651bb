package server

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/oei-ms/oei-ms/cache"
	"github.com/oei-ms/oei-ms/store"
)

// question is what an answer about readings of sensors, in order, in [start, end) depends on: besides these the bounds of its buckets,
// which know what the zone's clock does, whatever else the request asks for, as asked, and which program writes the answer.
func (s *Server) question(sensors []int64, start, end time.Time, bounds []time.Time, asked ...any) cache.Question {
	h := sha256.New()
	fmt.Fprintln(h, s.version, sensors, start.UTC(), end.UTC(), asked)
	b := make([]byte, 0, 8*len(bounds))
	for _, at := range bounds {
		b = binary.BigEndian.AppendUint64(b, uint64(at.UnixMicro()))
	}
	h.Write(b)
	q := cache.Question{Sensors: sensors, From: start.Add(-store.HoldBack), To: end}
	h.Sum(q.Key[:0])
	return q
}
