package alarm

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestValidate_NamesTheField(t *testing.T) {
	expressed := func(text string) func(*Rule) {
		return func(r *Rule) {
			r.Kind, r.Limits = Expressed, nil
			r.Expression = &Expression{Text: text, Inputs: map[string]int64{"a": 7}}
		}
	}
	tests := map[string]struct {
		change func(*Rule)
		want   string // field: part of the reason
	}{
		"nothing": {func(*Rule) {}, ""},
		"no name": {func(r *Rule) { r.Name = " " }, "name: empty"},
		"an odd severity": {
			func(r *Rule) { r.Severity = "bad" }, "severity: critical",
		},
		"no kind": {func(r *Rule) { r.Kind = "x" }, "kind: threshold"},
		"a part of another kind": {
			func(r *Rule) { r.Range = &Range{1, 2} }, "range: belong",
		},
		"no part": {func(r *Rule) { r.Limits = nil }, "limits: required"},
		"no limit": {
			func(r *Rule) { r.Limits = &Limits{} }, "limits: at least one",
		},
		"low above high": {
			func(r *Rule) { r.Limits.Low = &Limit{Value: 90} },
			"limits.high.value: above limits.low",
		},
		"high above high-high": {
			func(r *Rule) { r.Limits.HighHigh = &Limit{Value: 80} },
			"limits.high_high.value: above limits.high",
		},
		"a limit that is no number": {
			func(r *Rule) { r.Limits.High.Value = math.NaN() }, "limits.high.value: number",
		},
		"a deadband wider than the band": {
			func(r *Rule) { r.Limits.Low = &Limit{Value: 70}; r.Deadband = &Deadband{Value: 10} },
			"deadband.value: smaller",
		},
		"a percentage of nothing": {
			func(r *Rule) { r.Deadband = &Deadband{5, "percent"} }, "deadband.unit: min_value",
		},
		"a range upside down": {
			func(r *Rule) { r.Kind, r.Limits, r.Range = OutsideRange, nil, &Range{5, 4} },
			"range.low: below",
		},
		"a rate of an odd unit": {
			func(r *Rule) {
				r.Kind, r.Limits, r.Rate = RateOfChange, nil, &Rate{
					1, "day", mins, Either,
				}
			},
			"rate.per: minute",
		},
		"a deviation from nothing": {
			func(r *Rule) { r.Kind, r.Limits, r.Deviation = Deviates, nil, &Deviation{Limit: 1} },
			"deviation: either",
		},
		"a deviation from itself": {
			func(r *Rule) {
				r.Kind, r.Limits, r.Deviation = Deviates, nil, &Deviation{
					Limit:    1,
					SensorID: 7,
				}
			},
			"deviation.sensor_id: another",
		},
		"no data with an on-delay": {
			func(r *Rule) { r.Kind, r.Limits, r.NoDataAfter, r.OnDelay = NoData, nil, mins, mins },
			"on_delay_ms: absent",
		},
		"a negative delay": {func(r *Rule) { r.OffDelay = -1 }, "off_delay_ms: 0 to"},
		"an odd zone": {
			func(r *Rule) { r.Schedule = &Schedule{Zone: "Mars", From: "00:00", To: "01:00"} },
			"schedule.zone: time zone",
		},
		"an odd day": {func(r *Rule) {
			r.Schedule = &Schedule{
				Zone: "UTC",
				Days: []string{"Monday"},
				From: "00:00",
				To:   "01:00",
			}
		}, "schedule.days[0]: mon"},
		"an odd time of day": {
			func(r *Rule) { r.Schedule = &Schedule{Zone: "UTC", From: "6", To: "24:00"} },
			"schedule.from: time of day",
		},
		"suppressed by itself": {
			func(r *Rule) { r.SuppressedBy = []int64{1} }, "suppressed_by[0]: itself",
		},
		"an odd label": {
			func(r *Rule) { r.Labels = map[string]string{"a b": ""} }, "labels: letters",
		},
		"an unknown placeholder": {
			func(r *Rule) { r.Message = "{value} {secret}" }, "message: {secret",
		},
		"an open placeholder": {
			func(r *Rule) { r.Message = "{value" }, "message: {value",
		},
		"an address of a script": {
			func(r *Rule) { r.DocumentationURL = "javascript:alert(1)" }, "documentation_url: http",
		},
		"an incomplete expression":       {expressed("a >"), "expression.text: unexpected"},
		"an expression of a number":      {expressed("a + 1"), "expression.text: bool"},
		"an expression of unknown names": {expressed("a > b"), "expression.text: inputs"},
		"an expression that loops": {
			expressed("all(1..1000000, {# > a})"), "expression.text: not allowed",
		},
		"an expression that makes lists": {
			expressed("a in [1, 2]"), "expression.text: not allowed",
		},
		"an expression that asks time": {
			expressed("a > 1 and now() != now()"), "expression.text: not allowed",
		},
		"an expression that makes text": {
			expressed(`"a" == "b" or a > 1`), "expression.text: made of",
		},
		"an expression of members":    {expressed("a.b > 1"), "expression.text: made of"},
		"an expression that calls":    {expressed("a(1)"), "expression.text: made of"},
		"an expression that sees all": {expressed("$env == a"), "expression.text: inputs"},
		"an expression with a variable": {
			expressed("let x = a; x > 1"), "expression.text: made of",
		},
		"an expression that costs much": {
			expressed("a > 0" + strings.Repeat("+1", 150)), "expression.text: costs too much",
		},
		"an expression that is long": {
			expressed("a > " + strings.Repeat("1", 1000)), "expression.text: at most 1000",
		},
		"an expression deep in brackets": {
			expressed(strings.Repeat("(", 490) + "a > 1" + strings.Repeat(")", 490)), "",
		},
		"an input that is not used": {expressed("1 > 2"), "expression.text: not use"},
		"a sound expression": {
			expressed("a > 1 ? abs(a) > 2 : min(a, -a) / 2 < -3"), "",
		},
		"an expression needs no deadband": {
			func(r *Rule) { expressed("a > 1")(r); r.Deadband = &Deadband{Value: 1} },
			"deadband: belong",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := Rule{
				ID:       1,
				SensorID: 7,
				Name:     "boiler",
				Severity: Major,
				Kind:     Threshold,
				Limits:   &Limits{High: &Limit{Value: 80}},
			}
			test.change(&r)
			got := r.Validate()
			field, reason, _ := strings.Cut(test.want, ": ")
			if test.want == "" && len(got) == 0 {
				if err := r.Compile(); err != nil {
					t.Error(err)
				}
				return
			}
			if !slices.ContainsFunc(got,
				func(f Fault) bool {
					return f.Field == field && strings.Contains(f.Reason,
						reason)
				}) {
				t.Errorf("got %q want %q", got, test.want)
			}
			if test.want != "" && r.Compile() == nil {
				t.Error("compiles")
			}
		})
	}
}

func TestExpression_DivisionByZeroFaultsTheAlarm(t *testing.T) {
	r := sound(t,
		Rule{
			Kind:       Expressed,
			Expression: &Expression{Text: "10 / a > 1", Inputs: map[string]int64{"a": 7}},
		})
	s := New(r, epoch)
	s, es, err := Step(r, s, Sample{SensorID: 7, At: minute(1), Value: 5}, minute(1))
	if err != nil || len(es) != 1 {
		t.Fatal(es, err)
	}
	next, es, err := Step(r, s, Sample{SensorID: 7, At: minute(2)}, minute(2))
	if err == nil || len(es) > 0 || Changed(&s, &next) {
		t.Fatalf("got %v, %v", es, err)
	}
	for i, want := range []int{1, 0} { // the second time says nothing new
		if next, es, err = Apply(r, next, Command{Kind: MarkFaulted, Comment: err.Error()},
			minute(2)); err != nil || len(es) != want {
			t.Fatalf("%d: %v, %v", i, es, err)
		}
		err = errDivision
	}
	if next, es, err = Step(r, next, Sample{SensorID: 7, At: minute(3), Value: 20},
		minute(3)); err != nil || len(es) != 2 || es[0].Kind != Recovered || es[1].Kind != Cleared {
		t.Fatalf("%v, %v, %v", next, es, err)
	}
}

func TestSchedule_KeepsLocalTimeAcrossDaylightSaving(t *testing.T) {
	// the night of 29 March 2026 lacks an hour
	s := &Schedule{Zone: "Europe/Rome", Days: []string{"sat"}, From: "22:00", To: "04:00"}
	at := func(v string) time.Time {
		x, err := time.Parse(time.RFC3339, v)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	begin := s.next(s.location(), at("2026-03-25T00:00:00Z"))
	end := s.next(s.location(), begin)
	if !begin.Equal(at("2026-03-28T21:00:00Z")) || !end.Equal(at("2026-03-29T02:00:00Z")) {
		t.Errorf("in force %s to %s", begin.UTC(), end.UTC())
	}
	if always := (&Schedule{Zone: "UTC", From: "00:00", To: "00:00"}); !always.on(time.UTC,
		epoch) || !always.next(time.UTC, epoch).IsZero() {
		t.Error("a whole day, every day, has an end")
	}
}

func TestRender_IsBoundedAndNotRecursive(t *testing.T) {
	r := sound(t, with(high(80), func(r *Rule) {
		r.Sensor, r.Unit, r.Labels = "{value}\r\n\x00", "°C", map[string]string{"area": "north"}
		r.Message = "{sensor} {level} {value} {unit} > {limit} in {label.area}{label.none}, " +
			"{severity}, {time}"
	}))
	got := r.Render(High, ptr(81.25), epoch)
	const want = "{value} \n  high 81.25 °C > 80 in north, major, 2026-03-02T00:00:00Z"
	if got != want {
		t.Errorf("got %q want %q", got, want)
	}
	r.Sensor = strings.Repeat("é", 5000)
	if n := len([]rune(r.Render(High, nil, epoch))); n != maxMessageLength {
		t.Errorf("got %d characters", n)
	}
}

func FuzzRule(f *testing.F) {
	for _, s := range []string{
		`{"name":"a","kind":"threshold","severity":"major","limits":{"high":{"value":1}},
			"on_delay_ms":5}`,
		`{"name":"a","kind":"rate","severity":"minor",
			"rate":{"limit":1,"per":"second","window_ms":1000},"message":"{value}"}`,
		`{"name":"a","kind":"expression","severity":"minor",
			"expression":{"text":"a/2>1","inputs":{"a":7}},
			"schedule":{"zone":"UTC","from":"00:00","to":"01:00"}}`,
		`{"name":"a","kind":"no_data","severity":"warning","no_data_after_ms":9223372036854775807}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRule(b)
		if err != nil {
			return
		}
		r.ID, r.SensorID = 1, 7
		if r.Compile() != nil {
			return
		}
		kept, err := json.Marshal(&r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseRule(kept); err != nil || len(again.Validate()) > 0 {
			t.Fatalf("%s is kept as %s: %v", b, kept, err)
		}
		s := New(&r, epoch)
		for i := range 5 {
			s, _, _ = Step(&r, s,
				Sample{SensorID: 7, At: minute(float64(i)), Value: float64(i * i)},
				minute(float64(i)))
			Explain(&r, s, epoch)
		}
	})
}

func FuzzExpression(f *testing.F) {
	for _, s := range []string{
		"a > b", "a/b > 1 and not (a < 2)", "a > 0 ? b > 1 : a < b", "1..9", "a ** b",
		"max(a, b) >= -1e308", "((((", "\x00", "a in [1]", "a?.b ?? b",
	} {
		f.Add(s, 1.5, 0.0)
	}
	f.Fuzz(func(t *testing.T, text string, a, b float64) {
		r := Rule{
			SensorID:   7,
			Kind:       Expressed,
			Expression: &Expression{Text: text, Inputs: map[string]int64{"a": 7, "b": 8}},
		}
		p, err := r.Expression.compile()
		if err != nil {
			return
		}
		r.program = p
		s := State{
			Last:   Sample{SensorID: 7, At: epoch, Value: a},
			Others: []Sample{{SensorID: 8, At: epoch, Value: b}},
		}
		x, ok, err := r.run(&s)
		y, again, _ := r.run(&s)
		if err == nil && (x != y || ok != again) {
			t.Fatalf("%q is not the same twice", text)
		}
	})
}
