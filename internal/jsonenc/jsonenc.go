// Package jsonenc appends values of the contract to JSON that is written by hand, because an answer
// or a frame may hold very many of them. It writes what internal/timejson and encoding/json would.
package jsonenc

import (
	"math"
	"strconv"
	"time"
)

// AppendNumber appends v as JSON: null when it is not finite.
func AppendNumber(b []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(b, "null"...)
	}
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(b, v, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, v, 'f', -1, 64)
}

// AppendTime appends t in UTC with microseconds, without quotation marks, for years 0 to 9999.
func AppendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = appendDigits(b, year, 4)
	b = appendDigits(append(b, '-'), int(month), 2)
	b = appendDigits(append(b, '-'), day, 2)
	b = appendDigits(append(b, 'T'), hour, 2)
	b = appendDigits(append(b, ':'), minute, 2)
	b = appendDigits(append(b, ':'), second, 2)
	b = appendDigits(append(b, '.'), t.Nanosecond()/1000, 6)
	return append(b, 'Z')
}

// appendDigits appends n, which is not negative, with the given number of digits, 6 at most.
func appendDigits(b []byte, n, digits int) []byte {
	start := len(b)
	b = append(b, "000000"[:digits]...)
	for i := start + digits - 1; i >= start; i-- {
		b[i] += byte(n % 10)
		n /= 10
	}
	return b
}
