package store

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// Readings and rollups leave the database as bytes, which costs both sides a fraction of what
// columns do.
const (
	// packedReading has NaN for a value that is not usable.
	packedReading = `timestamptz_send(timestamp) || float8send(CASE WHEN ` + usable +
		` THEN value ELSE 'NaN' END) || int2send(quality)`
	// packedRollup is followed by packedEnds, packedSpan, and the length of the sketch and it, as
	// far as they are asked for.
	packedRollup = `timestamptz_send(bucket) || int4send(count) || int4send(good) || int4send(usable) || float8send(coalesce(sum, 0))
				|| float8send(coalesce(m2, 0)) || float8send(coalesce(min, 0)) || float8send(coalesce(max, 0))`
	packedEnds = `float8send(coalesce(first, 0)) || timestamptz_send(coalesce(first_at, bucket)) || float8send(coalesce(last, 0))
				|| timestamptz_send(coalesce(last_at, bucket)) || float8send(coalesce(integral, 0))`
	packedSpan = `timestamptz_send(coalesce(begin_at, first_at)) || timestamptz_send(coalesce(end_at, last_at))`
)

// leastPacked is how many bytes a packedRollup has.
const leastPacked = 52

var errPacked = errors.New("packed data is damaged")

// unpacker takes numbers from the front of bytes. When these end too early it is damaged, and gives
// zeros.
type unpacker struct {
	b       []byte
	damaged bool
}

var noBytes [8]byte

func (u *unpacker) next(n int) []byte {
	if n < 0 || n > len(u.b) {
		u.b, u.damaged = nil, true
		return noBytes[:min(max(n, 0), len(noBytes))]
	}
	b := u.b[:n]
	u.b = u.b[n:]
	return b
}

func (u *unpacker) int() int64       { return int64(int32(binary.BigEndian.Uint32(u.next(4)))) }
func (u *unpacker) instant() instant { return instant(binary.BigEndian.Uint64(u.next(8))) }
func (u *unpacker) float() float64 {
	return math.Float64frombits(
		binary.BigEndian.Uint64(u.next(8)),
	)
}

// unpackReadings appends the readings of b.
func unpackReadings(points []point, b []byte) ([]point, error) {
	u := unpacker{b: b}
	for len(u.b) > 0 {
		points = append(points,
			point{
				at:    u.instant(),
				value: u.float(),
				good:  binary.BigEndian.Uint16(u.next(2)) == uint16(Good),
			})
	}
	if u.damaged {
		return nil, errPacked
	}
	return points, nil
}

// inOrder puts points in order of time, if they are not.
func inOrder(points []point) {
	earlier := func(a, b point) int { return int(min(max(a.at-b.at, -1), 1)) }
	if !slices.IsSortedFunc(points, earlier) {
		slices.SortFunc(points, earlier)
	}
}

// unpackRollups appends the rollups of b, with what q asks for in hours or in minutes; their
// sketches are parts of b.
func unpackRollups(list []rollup, b []byte, q *HistoryQuery) ([]rollup, error) {
	u := unpacker{b: b}
	if len(q.Percentiles) == 0 {
		list = slices.Grow(list, len(b)/leastPacked)
	}
	for len(u.b) > 0 {
		r := rollup{bucket: u.instant()}
		r.count, r.good, r.usable = u.int(), u.int(), u.int()
		r.sum, r.m2, r.min, r.max = u.float(), u.float(), u.float(), u.float()
		if q.Ends {
			r.first, r.firstAt, r.last, r.lastAt, r.integral = u.float(), u.instant(), u.float(), u.instant(), u.float()
		}
		if q.Gap > 0 {
			r.begin, r.end = u.instant(), u.instant()
		}
		if len(q.Percentiles) > 0 {
			r.sketch = u.next(int(u.int()))
		}
		list = append(list, r)
	}
	if u.damaged {
		return nil, errPacked
	}
	return list, nil
}
