package readingjson_test

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/readingjson"
)

// TestWhole_IsExact compares Whole with rational numbers, which are exact.
func TestWhole_IsExact(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	digits := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte("0000123456789"[r.IntN(13)])
		}
		return b.String()
	}
	for range 20000 {
		number := []string{"", "-"}[r.IntN(2)] + []string{"0", "1" + digits(r.IntN(20))}[r.IntN(2)]
		if r.IntN(2) == 0 {
			number += "." + digits(1+r.IntN(20))
		}
		if r.IntN(2) == 0 {
			number += []string{"e", "E"}[r.IntN(2)] + []string{"", "+", "-"}[r.IntN(3)] +
				fmt.Sprint(r.IntN(25))
		}
		value, ok := new(big.Rat).SetString(number)
		if !ok {
			t.Fatalf("%s is not a number", number)
		}
		whole := value.IsInt() && value.Num().IsInt64()
		got, err := readingjson.Whole(number)
		if whole != (err == nil) || whole && got != value.Num().Int64() {
			t.Fatalf("seed %d: %s: got %d, %v, want %v", seed, number, got, err, value)
		}
	}
	for _, number := range []string{
		"1e-1", "9223372036854775808", "1e19", "1e99999999999999999999", "1e-99999999999999999999",
	} {
		if got, err := readingjson.Whole(number); err == nil {
			t.Errorf("%s: got %d, want an error", number, got)
		}
	}
}

func TestTime(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 33, 10, 123e6, time.UTC)
	for number, want := range map[string]string{
		"1796041990123":        "",
		"1.796041990123e12":    "",
		"1796041990123.000":    "",
		"17960419901230e-1":    "",
		"0.1796041990123E+13":  "",
		"1796041990":           "1970",
		"1796041990.123":       "; it looks like seconds, multiply it by 1000",
		"1796041990123456":     "; it looks like microseconds, divide it by 1000",
		"1.796041990123456e15": "; it looks like microseconds, divide it by 1000",
		"1796041990123456789":  "; it looks like nanoseconds, divide it by 1000000",
		"1796041990123.4":      "; round it, or send RFC 3339",
		"-1":                   "",
	} {
		got, err := readingjson.Time(number)
		switch {
		case want == "1970":
			if hint := readingjson.SecondsHint(got); err != nil ||
				!strings.Contains(hint, "looks like seconds") {
				t.Errorf("%s: got %v, %v, hint %q", number, got, err, hint)
			}
		case number == "-1" || want != "":
			if err == nil || err.Error() != number+" is not whole milliseconds since 1970"+want {
				t.Errorf("%s: got %v, %v, want %q", number, got, err, want)
			}
		case err != nil || !got.Equal(now) || readingjson.SecondsHint(got) != "":
			t.Errorf("%s: got %v, %v, want %v", number, got, err, now)
		}
	}
}

func TestMemberFor(t *testing.T) {
	for want, names := range map[string]string{
		"timestamp": `
			ts TS t T time Time TIME datetime dateTime Date-Time Timestamp TIMESTAMP time_stamp
			timeStamp @timestamp _time ts_ms timestamp_ms timestampMs epoch epoch_ms unixTime
			SourceTimestamp source_timestamp measured_at eventTime utc clock`,
		"quality": `
			q Q Quality QUALITY qual quality_code qualityCode opcQuality status Status valid
			isValid is_good`,
		"status_code": "statusCode StatusCode STATUS_CODE status-code sc opc_status",
		"value":       "v V val Val Value VALUE values reading measurement double_value pv",
		"": `
			unit seq name type uptime battery rssi timezone raw min max meta firmware temperature
			sensor state error mode lat lon interval period received_at age_seconds response_time
			x voltage qos`,
	} {
		for name := range strings.FieldsSeq(names) {
			if got := readingjson.MemberFor(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
	}
}
