package series

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// Readings and rollups leave the database as bytes, as PostgreSQL sends the values, one after the
// other: that costs both sides a fraction of what columns cost. Store composes the bytes; see
// packedReading and packedRollup there.

// minPackedRollup is the size of a packed rollup without what may follow it.
const minPackedRollup = 52

// goodQuality is how a packed reading says that it is of good quality.
const goodQuality = 0

// ErrPacked reports that packed data is damaged.
var ErrPacked = errors.New("packed data is damaged")

// Unpacker takes values from the front of bytes. When these end too early it returns zeros, and Err
// reports it.
type Unpacker struct {
	b       []byte
	damaged bool
}

// NewUnpacker returns an unpacker of b.
func NewUnpacker(b []byte) *Unpacker { return &Unpacker{b: b} }

// More reports whether bytes are left.
func (u *Unpacker) More() bool { return len(u.b) > 0 }

// Err returns ErrPacked if the bytes ended too early.
func (u *Unpacker) Err() error {
	if u.damaged {
		return ErrPacked
	}
	return nil
}

var noBytes [8]byte

// next takes n bytes. Without so many it returns zeros, at most 8.
func (u *Unpacker) next(n int) []byte {
	if n < 0 || n > len(u.b) {
		u.b, u.damaged = nil, true
		return noBytes[:min(max(n, 0), len(noBytes))]
	}
	b := u.b[:n]
	u.b = u.b[n:]
	return b
}

// Uint64 takes an xid8.
func (u *Unpacker) Uint64() uint64 { return binary.BigEndian.Uint64(u.next(8)) }

// Int32 takes an int4.
func (u *Unpacker) Int32() int64 { return int64(int32(binary.BigEndian.Uint32(u.next(4)))) }

// Instant takes a timestamptz.
func (u *Unpacker) Instant() Instant { return Instant(u.Uint64()) }

func (u *Unpacker) int16() int16 { return int16(binary.BigEndian.Uint16(u.next(2))) }

func (u *Unpacker) float64() float64 { return math.Float64frombits(u.Uint64()) }

// UnpackReadings appends the packed readings of b to readings.
func UnpackReadings(readings []Reading, b []byte) ([]Reading, error) {
	u := Unpacker{b: b}
	for u.More() {
		readings = append(readings,
			Reading{At: u.Instant(), Value: u.float64(), Good: u.int16() == goodQuality})
	}
	return readings, u.Err()
}

// unpackRollups appends the packed rollups of b to list. They have what q asks for; their sketches
// are slices of b.
func unpackRollups(list []Rollup, b []byte, q *HistoryQuery) ([]Rollup, error) {
	u := Unpacker{b: b}
	if len(q.Percentiles) == 0 {
		list = slices.Grow(list, len(b)/minPackedRollup)
	}
	for u.More() {
		r := Rollup{Bucket: u.Instant()}
		r.Count, r.Good, r.Usable = u.Int32(), u.Int32(), u.Int32()
		r.Sum, r.M2, r.Min, r.Max = u.float64(), u.float64(), u.float64(), u.float64()
		if q.Ends {
			r.First, r.FirstAt = u.float64(), u.Instant()
			r.Last, r.LastAt = u.float64(), u.Instant()
			r.Integral = u.float64()
		}
		if q.Gap > 0 {
			r.Begin, r.End = u.Instant(), u.Instant()
		}
		if len(q.Percentiles) > 0 {
			r.Sketch = u.next(int(u.Int32()))
		}
		list = append(list, r)
	}
	return list, u.Err()
}
