package alarm

import (
	"math"
	"slices"
	"strconv"
	"testing"
	"time"
)

func TestFormatNumber(t *testing.T) {
	tenth, fifth, third := 0.1, 0.2, 1.0/3
	for want, v := range map[string]float64{
		"12345678.9": 12345678.9, "1000000": 1e6, "123456.7": 123456.7, "0.00001": 0.00001,
		"-0.00001": -0.00001, "0": math.Copysign(0, -1), "80": 80, "-273.15": -273.15,
		"999999.5": 999999.5, "123456789012": 123456789012, "123456792": 123456792,
		"262144.125": 262144.125, "0.000000001": 1e-9, "100000000000000": 1e14,
		"1e+15": 1e15, "2.5e-10": 2.5e-10, "1.5e+300": 1.5e300, "0.3": tenth + fifth,
		"0.333333333333333": third, "21.3": float64(float32(21.3)),
		"1234.567": float64(float32(1234.567)),
	} {
		if got := FormatNumber(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
	if got := FormatNumber(math.MaxFloat64); got != "1.7976931348623157e+308" {
		t.Errorf("the largest number: got %s", got)
	}
}

func FuzzFormatNumber(f *testing.F) {
	f.Add(12345678.9)
	f.Add(float64(float32(0.1)))
	f.Fuzz(func(t *testing.T, v float64) {
		if !finite(v) {
			t.Skip()
		}
		got, err := strconv.ParseFloat(FormatNumber(v), 64)
		if err != nil {
			t.Fatal(err)
		}
		tolerance := 1e-14
		if float64(float32(v)) == v {
			tolerance = 1e-7
		}
		if math.Abs(got-v) > math.Abs(v)*tolerance && math.Abs(v) > 1e-37 {
			t.Errorf("%v became %v", v, got)
		}
	})
}

func TestMessage_WritesNumbersAsPeopleDo(t *testing.T) {
	r := with(high(1e6), func(r *Rule) {
		r.Name, r.Unit, r.Message = "energy", "kWh", "{name}: {level} at {value} {unit}, limit "+
			"{limit}"
	})
	v := 12345678.9
	if got := r.Render(High, &v, epoch); got != "energy: high at 12345678.9 kWh, limit 1000000" {
		t.Errorf("got %q", got)
	}
	for want, d := range map[string]time.Duration{
		"10m": 10 * time.Minute, "1h30m": 90 * time.Minute, "24h": 24 * time.Hour,
		"1h0m5s": time.Hour + 5*time.Second, "1.5s": 1500 * time.Millisecond,
	} {
		silent := Rule{Kind: NoData, NoDataAfter: Duration(d), Message: "{limit}"}
		if got := silent.Render(Breach, nil, epoch); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

func TestExplain_NamesTheNewestValue(t *testing.T) {
	r := sound(t, high(1e6))
	s, _, err := Step(r, New(r, epoch), Sample{SensorID: 7, At: minute(1), Value: 12345678.9},
		minute(1))
	if err != nil {
		t.Fatal(err)
	}
	want := "The newest reading of sensor 7, of 2026-03-02T00:01:00Z, is 12345678.9."
	if got := Explain(r, s, minute(2)).Why; !slices.Contains(got, want) {
		t.Errorf("got %q, want %q among them", got, want)
	}
}
