// Package readingjson holds what readings over MQTT and over HTTP have in common: which JSON
// numbers are whole, which of them are timestamps, and which names other systems give to the
// members of a reading. It is pure; ingest and server call it.
package readingjson

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrNotWhole reports a JSON number that is not a whole number of 64 bits.
var ErrNotWhole = errors.New("is not a whole number of 64 bits")

// Whole returns the value of a JSON number that is whole, in any notation: 15, 15.0, 1.5e1 and
// 150e-1 are all 15. It computes in decimal digits, so that nothing is rounded.
func Whole(number string) (int64, error) {
	digits, exponent := decimal(number)
	if digits == "" {
		return 0, nil
	}
	if exponent < 0 || len(digits)+exponent > len("9223372036854775807") {
		return 0, ErrNotWhole
	}
	if number[0] == '-' {
		digits = "-" + digits
	}
	n, err := strconv.ParseInt(digits+strings.Repeat("0", exponent), 10, 64)
	if err != nil {
		return 0, ErrNotWhole
	}
	return n, nil
}

// decimal returns the digits of a JSON number, without zeros at either end, and the power of ten
// that they are multiplied by; no digits for 0. It clamps powers to ±10000000.
func decimal(number string) (digits string, exponent int) {
	mantissa, power, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(number, "-")), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	const limit = 10_000_000 // more than the digits of a payload can compensate
	exponent, err := strconv.Atoi(cmp.Or(power, "0"))
	switch {
	case err != nil && strings.HasPrefix(power, "-"):
		exponent = -limit
	case err != nil:
		exponent = limit
	}
	exponent = min(max(exponent, -limit), limit) - len(fraction)
	digits = strings.TrimLeft(whole+fraction, "0")
	significant := strings.TrimRight(digits, "0")
	return significant, exponent + len(digits) - len(significant)
}

// maxMillisecond is the last millisecond of the year 9999, since 1970.
const maxMillisecond = 253402300799999

// Time returns the instant that is a JSON number of milliseconds since 1970. The error for another
// number says which unit it seems to have.
func Time(number string) (time.Time, error) {
	ms, err := Whole(number)
	if err == nil && ms >= 0 && ms <= maxMillisecond {
		return time.UnixMilli(ms).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%.40s is not whole milliseconds since 1970%s", number,
		unitHint(number))
}

// unitHint names the unit, other than milliseconds, in which number would be a time in the years
// 1973 to 2286.
func unitHint(number string) string {
	v, err := strconv.ParseFloat(number, 64)
	switch {
	case err != nil:
	case v >= 1e8 && v < 1e10:
		return "; it looks like seconds, multiply it by 1000"
	case v >= 1e14 && v < 1e16:
		return "; it looks like microseconds, divide it by 1000"
	case v >= 1e17 && v < 1e19:
		return "; it looks like nanoseconds, divide it by 1000000"
	case v >= 1e11 && v < 1e13:
		return "; round it, or send RFC 3339"
	}
	return ""
}

// SecondsHint returns a hint if t looks like seconds since 1970 that were read as milliseconds.
func SecondsHint(t time.Time) string {
	if ms := t.UnixMilli(); ms >= 1e8 && ms < 1e10 {
		return "; as a number it is milliseconds since 1970, and this looks like seconds: " +
			"multiply it by 1000"
	}
	return ""
}
