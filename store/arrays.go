package store

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/oei-ms/oei-ms/series"
)

// PostgreSQL's binary form of a one-dimensional array: a parameter that the server takes as it is.
// The connection sends []byte as binary (see connector), so these stand for $n::int[] and the like.
// Format: array_recv in src/backend/utils/adt/arrayfuncs.c.

// Oids of the element types, from pg_type.
const (
	oidBool        = 16
	oidBytea       = 17
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidFloat8      = 701
	oidTimestamptz = 1184
	oidJSONB       = 3802
)

// column encodes what of returns for each of rows as an array, a parameter of unnest: each column
// of the rows is written once, together with its type.
func column[R, V any](rows []R, as element[V], of func(R) V) []byte {
	b := make([]byte, 0, 20+len(rows)*(4+as.size))
	if len(rows) == 0 {
		return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 0, 0, 0, 0, 0), as.oid)
	}
	b = append(b, 0, 0, 0, 1, 0, 0, 0, 1) // one dimension, may have NULLs
	b = binary.BigEndian.AppendUint32(b, as.oid)
	b = binary.BigEndian.AppendUint32(b, uint32(len(rows)))
	b = append(b, 0, 0, 0, 1) // lower bound
	for _, r := range rows {
		at := len(b)
		var ok bool
		if b, ok = as.put(append(b, 0, 0, 0, 0), of(r)); ok {
			binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
		} else {
			b = b[:at+4]
			binary.BigEndian.PutUint32(b[at:], math.MaxUint32)
		}
	}
	return b
}

// element is how values of a Go type are encoded as elements of a type of PostgreSQL. put appends a
// value of about size bytes, or returns false for NULL.
type element[V any] struct {
	oid  uint32
	size int
	put  func(b []byte, v V) ([]byte, bool)
}

// The elements that column encodes.
var (
	asBool = element[bool]{oidBool, 1, func(b []byte, v bool) ([]byte, bool) {
		if v {
			return append(b, 1), true
		}
		return append(b, 0), true
	}}
	asBytea = element[[]byte]{oidBytea, 128, func(b, v []byte) ([]byte, bool) {
		return append(b, v...), true
	}}
	asInt8 = element[int64]{oidInt8, 8, func(b []byte, v int64) ([]byte, bool) {
		return binary.BigEndian.AppendUint64(b, uint64(v)), true
	}}
	asInt2 = element[int16]{oidInt2, 2, func(b []byte, v int16) ([]byte, bool) {
		return binary.BigEndian.AppendUint16(b, uint16(v)), true
	}}
	// asInt4 encodes what is beyond an int4 as 0, which is not an id.
	asInt4 = element[int64]{oidInt4, 4, func(b []byte, v int64) ([]byte, bool) {
		if v != int64(int32(v)) {
			v = 0
		}
		return binary.BigEndian.AppendUint32(b, uint32(v)), true
	}}
	// asPositiveInt4 encodes what is not positive as NULL.
	asPositiveInt4 = element[int32]{oidInt4, 4, func(b []byte, v int32) ([]byte, bool) {
		return binary.BigEndian.AppendUint32(b, uint32(v)), v > 0
	}}
	// asStatusCode encodes 0, which means that none was given, as NULL.
	asStatusCode = element[uint32]{oidInt4, 4, func(b []byte, v uint32) ([]byte, bool) {
		return binary.BigEndian.AppendUint32(b, v), v != 0
	}}
	asText = element[string]{oidText, 32, func(b []byte, v string) ([]byte, bool) {
		return append(b, v...), true
	}}
	asJSONB = element[string]{oidJSONB, 128, func(b []byte, v string) ([]byte, bool) {
		return append(append(b, 1), v...), true // 1 is the version of the format
	}}
	// asFloat8 encodes NaN as NULL.
	asFloat8 = element[float64]{oidFloat8, 8, func(b []byte, v float64) ([]byte, bool) {
		return binary.BigEndian.AppendUint64(b, math.Float64bits(v)), !math.IsNaN(v)
	}}
	asTimestamptz = element[time.Time]{oidTimestamptz, 8, func(
		b []byte, v time.Time,
	) ([]byte, bool) {
		return binary.BigEndian.AppendUint64(b, uint64(series.InstantOf(v))), true
	}}
	// asInstant encodes Never as NULL.
	asInstant = element[series.Instant]{oidTimestamptz, 8, func(
		b []byte, v series.Instant,
	) ([]byte, bool) {
		return binary.BigEndian.AppendUint64(b, uint64(v)), v != series.Never
	}}
)

// orNull encodes nil as NULL.
func orNull[V any](as element[V]) element[*V] {
	return element[*V]{as.oid, as.size, func(b []byte, v *V) ([]byte, bool) {
		if v == nil {
			return b, false
		}
		return as.put(b, *v)
	}}
}

// int32s encodes ids as int[].
func int32s(ids []int64) []byte {
	return column(ids, asInt4, func(id int64) int64 { return id })
}

// words returns the number of elements of an array that array_send has encoded, whose elements have
// eight bytes and are never NULL.
func words(b []byte) int {
	if len(b) < 20 {
		return 0
	}
	return (len(b) - 20) / 12
}

// word returns element i of such an array.
func word(b []byte, i int) int64 { return int64(binary.BigEndian.Uint64(b[20+12*i+4:])) }
