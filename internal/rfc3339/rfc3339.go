// Package rfc3339 parses the timestamps that clients send in bodies, queries, cursors and MQTT
// payloads. [time.Parse] is no substitute: it accepts offsets of a day, a comma before the fraction
// and an hour of one digit, and it rejects lower-case letters.
package rfc3339

import (
	"errors"
	"time"
)

var (
	// ErrSyntax reports text that is not a date-time of RFC 3339.
	ErrSyntax = errors.New("is not an RFC 3339 timestamp such as 2026-01-02T03:04:05Z " +
		"or 2026-01-02T04:04:05+01:00")
	// ErrYear reports an instant that cannot be written with a year of four digits in UTC.
	ErrYear = errors.New("is not in the years 1 to 9999")
	// ErrLeapSecond reports a leap second. A reading that was stored with the second before or
	// after it could conflict with a reading of that second.
	ErrLeapSecond = errors.New(
		"is a leap second, which cannot be stored; send the second before or after it")
)

// Parse parses a date-time as defined in RFC 3339, section 5.6, and returns it in UTC, truncated
// to microseconds, the resolution of the database. It does not keep s.
//
// The letters T and Z may be lower case, and offsets run from -23:59 to +23:59. A leap second,
// 23:59:60 UTC on the last day of a month, is ErrLeapSecond.
func Parse(s string) (time.Time, error) {
	const seconds = "2006-01-02T15:04:05"
	if len(s) <= len(seconds) || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' ||
		s[13] != ':' || s[16] != ':' {
		return time.Time{}, ErrSyntax
	}
	year, okYear := number(s[:4], 9999)
	month, okMonth := number(s[5:7], 12)
	day, okDay := number(s[8:10], 31)
	hour, okHour := number(s[11:13], 23)
	minute, okMinute := number(s[14:16], 59)
	second, okSecond := number(s[17:19], 60)
	micros, rest, okFraction := fraction(s[19:])
	offset, okOffset := offset(rest)
	if !okYear || !okMonth || !okDay || !okHour || !okMinute || !okSecond || !okFraction ||
		!okOffset {
		return time.Time{}, ErrSyntax
	}
	midnight := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if midnight.Month() != time.Month(month) || midnight.Day() != day { // also month 0 and day 0
		return time.Time{}, ErrSyntax
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, micros*1000, time.UTC)
	t = t.Add(-offset)
	if second == 60 {
		if t.Day() != 1 || t.Hour() != 0 || t.Minute() != 0 {
			return time.Time{}, ErrSyntax
		}
		return time.Time{}, ErrLeapSecond
	}
	if t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, ErrYear
	}
	return t, nil
}

// number parses decimal digits of a value up to limit.
func number(digits string, limit int) (n int, ok bool) {
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, false
		}
		n = 10*n + int(digits[i]-'0')
	}
	return n, n <= limit
}

// fraction parses the optional fraction of a second and returns what follows it.
func fraction(s string) (micros int, rest string, ok bool) {
	if s[0] != '.' {
		return 0, s, true
	}
	end := 1
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	for i := range 6 {
		micros *= 10
		if i+1 < end {
			micros += int(s[i+1] - '0')
		}
	}
	return micros, s[end:], end > 1
}

// offset parses Z, or an offset such as +01:00.
func offset(s string) (time.Duration, bool) {
	if s == "Z" || s == "z" {
		return 0, true
	}
	if len(s) != len("+01:00") || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, false
	}
	hours, okHours := number(s[1:3], 23)
	minutes, okMinutes := number(s[4:6], 59)
	d := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if s[0] == '-' {
		d = -d
	}
	return d, okHours && okMinutes
}

// Layout is the layout of every time that is written: in UTC with microseconds.
const Layout = "2006-01-02T15:04:05.000000Z07:00"

// Format formats t in UTC with [Layout].
func Format(t time.Time) string { return t.UTC().Format(Layout) }
