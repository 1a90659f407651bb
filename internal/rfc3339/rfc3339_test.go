package rfc3339_test

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/rfc3339"
)

// grammar is the ABNF of RFC 3339, section 5.6, without leap seconds and the days of a month.
var grammar = regexp.MustCompile(`^([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])` +
	`[Tt]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]+))?` +
	`(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))$`)

// expected computes from the text of the RFC what Parse returns, in microseconds since 1970,
// without package time. valid is false for text that the grammar, the calendar or the range of
// years excludes, and for leap seconds.
func expected(s string) (micros int64, valid bool) {
	m := grammar.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	field := func(i int) int64 {
		n, _ := strconv.ParseInt(m[i], 10, 64)
		return n
	}
	year, month, day := field(1), field(2), field(3)
	if day > monthLength(year, month) {
		return 0, false
	}
	seconds := daysSince1970(year, month, day)*86400 + field(4)*3600 + field(5)*60 + field(6)
	offset := field(9)*3600 + field(10)*60
	if m[8] == "-" {
		offset = -offset
	}
	seconds -= offset
	if seconds < daysSince1970(1, 1, 1)*86400 || seconds >= daysSince1970(10000, 1, 1)*86400 {
		return 0, false
	}
	micros, _ = strconv.ParseInt((m[7] + "000000")[:6], 10, 64)
	return seconds*1_000_000 + micros, true
}

func monthLength(year, month int64) int64 {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && year%100 != 0 || year%400 == 0 {
			return 29
		}
		return 28
	}
	return 31
}

// daysSince1970 counts in the Gregorian calendar, from March so that the leap day comes last.
func daysSince1970(year, month, day int64) int64 {
	if month <= 2 {
		year, month = year-1, month+12
	}
	return 365*year + floorDiv(year, 4) - floorDiv(year, 100) + floorDiv(year, 400) +
		(153*(month-3)+2)/5 + day - 1 - 719468
}

func floorDiv(a, b int64) int64 { return (a - ((a%b)+b)%b) / b }

// check compares Parse with the grammar.
func check(t *testing.T, s string) {
	t.Helper()
	want, valid := expected(s)
	got, err := rfc3339.Parse(s)
	if (err == nil) != valid {
		t.Fatalf("Parse(%q) = %v, %v; the grammar accepts it: %v", s, got, err, valid)
	}
	if err == nil &&
		(got.UnixMicro() != want || got.Nanosecond()%1000 != 0 || got.Location() != time.UTC) {
		t.Fatalf("Parse(%q) = %v, want %v", s, got, time.UnixMicro(want).UTC())
	}
}

func TestParse_Values(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"},
		{"2026-01-02t03:04:05z", "2026-01-02T03:04:05Z"},
		{"2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.1Z"},
		{"2026-01-02T03:04:05.123456789123Z", "2026-01-02T03:04:05.123456Z"},
		{"1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"},
		{"2026-01-02T03:04:05+23:59", "2026-01-01T03:05:05Z"},
		{"2026-01-02T03:04:05-23:59", "2026-01-03T03:03:05Z"},
		{"2026-01-02T03:04:05-00:00", "2026-01-02T03:04:05Z"},
		{"2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"},
		{"0000-12-31T23:00:00-01:00", "0001-01-01T00:00:00Z"},
		{"9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"},
	} {
		got, err := rfc3339.Parse(tt.text)
		if err != nil || got.Format(time.RFC3339Nano) != tt.want {
			t.Errorf("Parse(%q) = %v, %v; want %s", tt.text, got, err, tt.want)
		}
		check(t, tt.text)
	}
}

func TestParse_Faults(t *testing.T) {
	for text, want := range map[string]error{
		"":                                 rfc3339.ErrSyntax,
		"2026-01-02":                       rfc3339.ErrSyntax,
		"2026-01-02T03:04:05":              rfc3339.ErrSyntax,
		"2026-01-02 03:04:05Z":             rfc3339.ErrSyntax,
		"2026-01-02T03:04:05+24:00":        rfc3339.ErrSyntax,
		"2026-01-02T03:04:05+23:60":        rfc3339.ErrSyntax,
		"2026-01-02T03:04:05+0100":         rfc3339.ErrSyntax,
		"2026-01-02T03:04:05+01":           rfc3339.ErrSyntax,
		"2026-01-02T03:04:05−01:00":        rfc3339.ErrSyntax, // U+2212
		"2026-01-02T03:04:05,5Z":           rfc3339.ErrSyntax,
		"2026-01-02T03:04:05.Z":            rfc3339.ErrSyntax,
		"2026-01-02T3:04:05Z":              rfc3339.ErrSyntax,
		"2026-01-02T24:00:00Z":             rfc3339.ErrSyntax,
		"2026-01-02T03:60:00Z":             rfc3339.ErrSyntax,
		"2026-01-02T03:04:60Z":             rfc3339.ErrSyntax, // no leap second is possible here
		"2026-01-02T03:04:61Z":             rfc3339.ErrSyntax,
		"2025-02-29T00:00:00Z":             rfc3339.ErrSyntax,
		"2026-00-01T00:00:00Z":             rfc3339.ErrSyntax,
		"2026-01-00T00:00:00Z":             rfc3339.ErrSyntax,
		"2026-04-31T00:00:00Z":             rfc3339.ErrSyntax,
		" 2026-01-02T03:04:05Z":            rfc3339.ErrSyntax,
		"2026-01-02T03:04:05Z ":            rfc3339.ErrSyntax,
		"2026-01-02T03:04:05ZZ":            rfc3339.ErrSyntax,
		"+2026-01-02T03:04:05Z":            rfc3339.ErrSyntax,
		"12026-01-02T03:04:05Z":            rfc3339.ErrSyntax,
		"２０２６-01-02T03:04:05Z":             rfc3339.ErrSyntax,
		"0000-12-31T23:59:59Z":             rfc3339.ErrYear,
		"0001-01-01T00:00:00+00:01":        rfc3339.ErrYear,
		"9999-12-31T23:59:59.9999-00:01":   rfc3339.ErrYear,
		"9999-12-31T23:59:60Z":             rfc3339.ErrLeapSecond,
		"2016-12-31T23:59:60Z":             rfc3339.ErrLeapSecond,
		"1990-12-31T15:59:60.5-08:00":      rfc3339.ErrLeapSecond,
		"2017-01-01T05:29:60+05:30":        rfc3339.ErrLeapSecond,
		"2026-01-02T03:04:05.5+01:00[CET]": rfc3339.ErrSyntax,
	} {
		if got, err := rfc3339.Parse(text); !errors.Is(err, want) {
			t.Errorf("Parse(%q) = %v, %v; want error %v", text, got, err, want)
		}
		check(t, text)
	}
}

// TestParse_Mutations compares Parse with the grammar on timestamps with few mistakes.
func TestParse_Mutations(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	bases := []string{
		"2026-01-02T03:04:05Z", "2024-02-29t23:59:59.999999999+23:59", "2016-12-31T23:59:60.25Z",
		"0001-01-01T00:00:00-23:59", "9999-12-31T23:59:59+00:01", "2017-01-01T05:29:60+05:30",
	}
	const characters = "0123456789:.,-+TtZz 6"
	for range 20_000 {
		b := []byte(bases[r.IntN(len(bases))])
		for range r.IntN(4) {
			i := r.IntN(len(b))
			c := characters[r.IntN(len(characters))]
			switch r.IntN(6) {
			case 0:
				b = append(b[:i], b[i+1:]...)
			case 1:
				b = append(b[:i], append([]byte{c}, b[i:]...)...)
			default:
				b[i] = c
			}
		}
		check(t, string(b))
	}
}

func TestParse_AllocatesNothing(t *testing.T) {
	text := []byte("2026-01-02T03:04:05.123456Z")
	if n := testing.AllocsPerRun(100, func() { _, _ = rfc3339.Parse(string(text)) }); n > 0 {
		t.Errorf("allocations: got %v, want 0", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("2026-01-02T03:04:05.678Z")
	f.Add("2016-12-31T23:59:60+00:00")
	f.Add("2026-01-02t03:04:05-23:59")
	f.Add("2026-01-02T03:04:05+24:00")
	f.Fuzz(func(t *testing.T, s string) {
		check(t, s)
		check(t, strings.ToUpper(s))
	})
}
