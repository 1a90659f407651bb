package alarm

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// The tests write a series as text: minute:value in order, where a value is a number, with ? of
// uncertain quality, bad, tick (no reading; the clock only), or a command: ack, reset,
// shelve:MINUTES, oneshot, unshelve, out, in. What follows an arrow is what happened at that step,
// as event@minute.

var epoch = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC) // a Monday

func minute(m float64) time.Time { return epoch.Add(time.Duration(m * float64(time.Minute))) }

const mins = Duration(time.Minute)

func ptr[T any](v T) *T { return &v }

func high(v float64) Rule {
	return Rule{Kind: Threshold, Limits: &Limits{High: &Limit{Value: v}}}
}

func with(r Rule, change func(*Rule)) Rule {
	change(&r)
	return r
}

func sound(t testing.TB, r Rule) *Rule {
	t.Helper()
	r.ID, r.Version = 1, 1
	if r.SensorID == 0 {
		r.SensorID = 7
	}
	if r.Name == "" {
		r.Name = "boiler"
	}
	if r.Severity == "" {
		r.Severity = Major
	}
	if err := r.Compile(); err != nil {
		t.Fatal(err)
	}
	return &r
}

// walk steps a rule through a series and returns it with what happened.
func walk(t *testing.T, r *Rule, s *State, series string) string {
	t.Helper()
	var out []string
	for _, f := range strings.Fields(series) {
		if f == "->" || strings.Contains(f, "@") {
			continue
		}
		m, what, _ := strings.Cut(f, ":")
		at64, err := strconv.ParseFloat(m, 64)
		if err != nil {
			t.Fatal(err)
		}
		at := minute(at64)
		var events []Event
		before := *s
		switch what, arg, _ := strings.Cut(what, ":"); what {
		case "tick":
			*s, events, err = Tick(r, *s, at)
		case "ack":
			*s, events, err = Apply(r, *s,
				Command{
					Kind:         Acknowledge,
					Occurrence:   s.Occurrence,
					StateVersion: s.Version,
					User:         "ann",
				}, at)
		case "reset":
			*s, events, err = Apply(r, *s, Command{Kind: ResetLatch}, at)
		case "shelve":
			n, _ := strconv.Atoi(arg)
			*s, events, err = Apply(r, *s,
				Command{
					Kind:    Shelve,
					Until:   at.Add(time.Duration(n) * time.Minute),
					Comment: "work",
				}, at)
		case "oneshot":
			*s, events, err = Apply(r, *s, Command{Kind: Shelve, OneShot: true, Comment: "work"},
				at)
		case "unshelve":
			*s, events, err = Apply(r, *s, Command{Kind: Unshelve}, at)
		case "out":
			*s, events, err = Apply(r, *s, Command{Kind: TakeOut, Comment: "work"}, at)
		case "in":
			*s, events, err = Apply(r, *s, Command{Kind: ReturnToService}, at)
		default:
			x := Sample{SensorID: r.SensorID, At: at}
			if name, v, ok := strings.Cut(what, "="); ok {
				id, _ := strconv.ParseInt(name, 10, 64)
				x.SensorID, what = id, v
			}
			if what == "bad" {
				x.Quality = Bad
			} else {
				v, uncertain := strings.CutSuffix(what, "?")
				if x.Value, err = strconv.ParseFloat(v, 64); err != nil {
					t.Fatal(err)
				}
				if uncertain {
					x.Quality = Uncertain
				}
			}
			*s, events, err = Step(r, *s, x, at)
		}
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if len(events) > 0 && !Changed(&before, s) {
			t.Errorf("%s: events without a change", f)
		}
		out = append(out, f)
		if len(events) > 0 {
			out = append(out, "->")
		}
		for _, e := range events {
			name := string(e.Kind)
			if e.Kind == Raised && e.Level != Breach || e.Kind == Escalated ||
				e.Kind == Deescalated {
				name += "/" + string(e.Level)
			}
			out = append(out,
				name+"@"+strconv.FormatFloat(e.At.Sub(epoch).Minutes(), 'g', -1, 64)+":"+string(
					e.After,
				))
		}
	}
	return strings.Join(out, " ")
}

func TestStep(t *testing.T) {
	four := Rule{
		Kind: Threshold,
		Limits: &Limits{
			HighHigh: &Limit{90, Critical},
			High:     &Limit{80, Major},
			Low:      &Limit{20, Minor},
			LowLow:   &Limit{10, Critical},
		},
	}
	tests := map[string]struct {
		rule   Rule
		series string
	}{
		"a value equal to the limit is no breach": {
			high(80), "0:80 1:80.1 -> raised/high@1:B 2:80 -> cleared@2:D",
		},
		"a dip restarts the on-delay": {
			with(high(80), func(r *Rule) { r.OnDelay = 2 * mins }),
			"0:81 1:79 2:81 3:81 4:81 -> raised/high@4:B",
		},
		"the on-delay ends with no reading, and at its own time": {
			with(high(80), func(r *Rule) { r.OnDelay = 2 * mins }),
			"0:81 1:tick 9:tick -> raised/high@2:B 10:79 -> cleared@10:D",
		},
		"a reading that comes after the on-delay ends it first": {
			with(high(80), func(r *Rule) { r.OnDelay = 2 * mins }),
			"0:81 9:79 -> raised/high@2:B cleared@9:D",
		},
		"a normal reading at the instant when the on-delay is over raises nothing": {
			with(high(10), func(r *Rule) { r.OnDelay = 2 * mins }), "0:20 1:20 2:5 9:tick",
		},
		"a reading beyond the limit at that instant raises": {
			with(high(10), func(r *Rule) { r.OnDelay = 2 * mins }),
			"0:20 1:20 2:20 -> raised/high@2:B 3:5 -> cleared@3:D",
		},
		"a bad reading at that instant leaves it to the on-delay": {
			with(high(10), func(r *Rule) { r.OnDelay = 2 * mins }), "0:20 2:bad -> raised/high@2:B",
		},
		"a reading beyond the limit at the instant when the off-delay is over clears nothing": {
			with(high(10), func(r *Rule) { r.OffDelay = 2 * mins }),
			"0:20 -> raised/high@0:B 1:5 2:5 3:20 9:tick 10:5 12:5 -> cleared@12:D",
		},
		"the off-delay needs the trouble to stay away": {
			with(high(80), func(r *Rule) { r.OffDelay = 2 * mins }),
			"0:81 -> raised/high@0:B 1:79 2:81 3:79 4:79 5:79 -> cleared@5:D",
		},
		"a bad reading restarts the off-delay": {
			with(high(80), func(r *Rule) { r.OffDelay = 2 * mins }),
			"0:81 -> raised/high@0:B 1:79 2:bad 9:tick 10:79 12:tick -> cleared@12:D",
		},
		"silence never clears": {high(80), "0:81 -> raised/high@0:B 900:tick 901:bad"},
		"min samples are readings in a row": {
			with(high(80), func(r *Rule) { r.MinSamples = 3 }),
			"0:81 1:81 2:79 3:81 4:81 9:tick 10:81 -> raised/high@10:B",
		},
		"a deadband holds the alarm": {
			with(high(80), func(r *Rule) { r.Deadband = &Deadband{Value: 2} }),
			"0:81 -> raised/high@0:B 1:78.1 2:80 3:78 -> cleared@3:D 4:80 5:81 -> raised/high@5:B",
		},
		"a deadband in percent is of the sensor's span": {
			with(high(80), func(r *Rule) { r.Span = 200; r.Deadband = &Deadband{1, "percent"} }),
			"0:81 -> raised/high@0:B 1:78.1 3:78 -> cleared@3:D",
		},
		"several limits are one alarm that escalates": {
			four,
			"0:81 -> raised/high@0:B 1:ack -> acknowledged@1:C 2:91 -> escalated/high_high@2:B " +
				"3:ack -> acknowledged@3:C 4:85 -> deescalated/high@4:C 5:50 -> cleared@5:A",
		},
		"straight beyond both limits is one raise": {
			four, "0:95 -> raised/high_high@0:B 1:50 -> cleared@1:D",
		},
		"from high to low is another occurrence": {
			four, "0:81 -> raised/high@0:B 1:5 -> cleared@1:D raised/low_low@1:B",
		},
		"each limit has its own on-delay": {
			with(four, func(r *Rule) { r.OnDelay = 3 * mins }),
			"0:81 2:95 4:95 -> raised/high@3:B 5:95 -> escalated/high_high@5:B",
		},
		"each limit has its own off-delay": {
			with(four, func(r *Rule) { r.OffDelay = 3 * mins }),
			"0:95 -> raised/high_high@0:B 1:85 2:50 9:tick -> deescalated/high@4:B cleared@5:D",
		},
		"a new breach before the acknowledgement is a new occurrence": {
			high(80),
			"0:81 -> raised/high@0:B 1:79 -> cleared@1:D 2:81 -> raised/high@2:B 3:ack -> " +
				"acknowledged@3:C 4:79 -> cleared@4:A",
		},
		"latched stays until it is reset": {
			with(high(80), func(r *Rule) { r.Latching = true }),
			"0:81 -> raised/high@0:B 1:79 -> latched@1:E 2:ack -> acknowledged@2:F 3:79 3:reset " +
				"-> reset@3:A",
		},
		"a reset does not acknowledge": {
			with(high(80), func(r *Rule) { r.Latching = true }),
			"0:81 -> raised/high@0:B 1:79 -> latched@1:E 2:reset -> reset@2:D 3:ack -> " +
				"acknowledged@3:A",
		},
		"what is acknowledged comes back when it lasts": {
			with(high(80), func(r *Rule) { r.RealarmAfter = 10 * mins }),
			"0:81 -> raised/high@0:B 1:ack -> acknowledged@1:C 12:81 -> reraised@11:B",
		},
		"late and doubled readings change nothing": {
			high(80), "5:81 -> raised/high@5:B 5:79 4:79 6:79 -> cleared@6:D",
		},
		"uncertain is compared": {
			high(80), "0:81? -> raised/high@0:B 1:79? -> cleared@1:D",
		},
		"uncertain is not compared when the rule says so": {
			with(high(80), func(r *Rule) { r.IgnoreUncertain = true }),
			"0:81? 1:81 -> raised/high@1:B 2:79?",
		},
		"outside of a range": {
			Rule{Kind: OutsideRange, Range: &Range{10, 20}},
			"0:10 1:20 2:21 -> raised@2:B 3:15 -> cleared@3:D 4:9 -> raised@4:B",
		},
		"inside of a range": {
			Rule{Kind: InsideRange, Range: &Range{10, 20}},
			"0:9 1:10 -> raised@1:B 2:21 -> cleared@2:D",
		},
		"a rate needs a full window, and none across a gap": {
			Rule{Kind: RateOfChange, Rate: &Rate{Limit: 5, Per: "minute", Window: 2 * mins}},
			"0:0 1:9 2:11 -> raised@2:B 3:12 -> cleared@3:D 30:99 31:99 32:99 33:80 -> raised@33:B",
		},
		"a rate may count in one direction": {
			Rule{
				Kind: RateOfChange,
				Rate: &Rate{Limit: 300, Per: "hour", Window: mins, Direction: Down},
			},
			"0:0 1:9 2:20 3:14 -> raised@3:B",
		},
		"a deviation from a setpoint": {
			Rule{Kind: Deviates, Deviation: &Deviation{Setpoint: ptr(50.0), Limit: 5}},
			"0:55 1:44 -> raised@1:B 2:46 -> cleared@2:D",
		},
		"a deviation from another sensor": {
			Rule{Kind: Deviates, Deviation: &Deviation{SensorID: 8, Limit: 5}},
			"0:55 1:8=49 -> raised@1:B 2:8=51 -> cleared@2:D 3:57 -> raised@3:B 4:8=bad 5:10",
		},
		"a deviation from what is too old": {
			Rule{Kind: Deviates, Deviation: &Deviation{SensorID: 8, Limit: 5, MaxAge: mins}},
			"0:8=49 5:80 6:8=70 -> raised@6:B",
		},
		"no data": {
			Rule{Kind: NoData, NoDataAfter: 5 * mins},
			"4:tick 5:tick -> raised@5:B 6:1 -> cleared@6:D 10:2 12:tick 15:tick -> raised@15:B " +
				"16:bad -> cleared@16:D",
		},
		"bad quality": {
			Rule{Kind: BadQuality, OnDelay: mins},
			"0:bad 1:tick -> raised@1:B 2:1? 3:1 -> cleared@3:D 4:bad 4.5:1 9:tick",
		},
		"an expression over several sensors": {
			Rule{
				Kind: Expressed,
				Expression: &Expression{
					Text:   "a - b > 10 and not (b < 0)",
					Inputs: map[string]int64{"a": 7, "b": 8},
				},
			},
			"0:50 1:8=45 2:60 -> raised@2:B 3:8=bad 4:1 5:8=20 -> cleared@5:D",
		},
		"shelved is evaluated in silence, and ends": {
			high(80),
			"0:shelve:10 -> shelved@0:G 1:81 -> raised/high@1:G 2:79 -> cleared@2:G 3:81 -> " +
				"raised/high@3:G 11:tick -> unshelved@10:B",
		},
		"one-shot ends when the alarm clears": {
			high(80),
			"0:81 -> raised/high@0:B 1:oneshot -> shelved@1:G 5:79 -> cleared@5:G unshelved@5:D",
		},
		"one-shot ends after eight hours": {
			high(80),
			"0:81 -> raised/high@0:B 1:oneshot -> shelved@1:G 999:tick -> unshelved@481:B",
		},
		"out of service hides shelved": {
			high(80),
			"0:shelve:10 -> shelved@0:G 1:out -> out_of_service@1:I 20:81 -> unshelved@10:I " +
				"raised/high@20:I 21:in -> returned_to_service@21:B",
		},
		"a schedule suppresses outside of it": {
			with(high(80),
				func(r *Rule) { r.Schedule = &Schedule{Zone: "UTC", From: "01:00", To: "02:00"} }),
			"10:81 -> raised/high@10:H 61:tick -> unsuppressed@60:B 130:tick -> suppressed@120:H",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := sound(t, test.rule)
			s := New(r, epoch)
			if got := walk(t, r, &s, test.series); got != strings.Join(strings.Fields(test.series),
				" ") {
				t.Errorf("got\n%s\nwant\n%s", got, test.series)
			}
		})
	}
}
