package store_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// changeRule gives an alarm another rule, minutes after noon.
func changeRule(t testing.TB, s *store.Store, id int64, minutes int, r alarm.Rule) {
	t.Helper()
	r.ID = id
	faults, err := s.CheckRule(t.Context(), &r)
	ok(t, err)
	if len(faults) > 0 {
		t.Fatalf("rule: %v", faults)
	}
	_, err = s.UpdateAlarm(t.Context(), &r, 0, "eve",
		noon.Add(time.Duration(minutes)*time.Minute))
	ok(t, err)
}

// said is all events, as "kind minute value comment"; readings are received a second after their
// timestamp.
func said(t testing.TB, s *store.Store) []string {
	t.Helper()
	es, err := s.AlarmEvents(t.Context(), 0, 1e6)
	ok(t, err)
	out := []string{}
	for _, e := range es {
		value := "-"
		if e.Value != nil {
			value = alarm.FormatNumber(*e.Value)
		}
		line := fmt.Sprintf("%s %v %s", e.Kind, e.At.Sub(noon).Truncate(time.Minute).Minutes(),
			value)
		if e.Comment != "" {
			line += " " + e.Comment
		}
		out = append(out, line)
	}
	return out
}

func wantSaid(t testing.TB, s *store.Store, want ...string) {
	t.Helper()
	if got := said(t, s); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("events: got\n%q\nwant\n%q", got, want)
	}
}

// TestNewRule_IsEvaluatedOnTheCurrentValues makes each kind of rule while its sensors have values.
func TestNewRule_IsEvaluatedOnTheCurrentValues(t *testing.T) {
	limit := func(v float64) *alarm.Limits { return &alarm.Limits{High: &alarm.Limit{Value: v}} }
	setpoint := 50.0
	const made = " judged when the alarm was made"
	for name, c := range map[string]struct {
		rule alarm.Rule
		want string
	}{
		"threshold": {
			alarm.Rule{Kind: alarm.Threshold, Limits: limit(80)}, "raised 0 90" + made,
		},
		"at the limit": {alarm.Rule{Kind: alarm.Threshold, Limits: limit(90)}, ""},
		"outside a range": {
			alarm.Rule{Kind: alarm.OutsideRange, Range: &alarm.Range{Low: 0, High: 80}},
			"raised 0 90" + made,
		},
		"inside a range": {
			alarm.Rule{Kind: alarm.InsideRange, Range: &alarm.Range{Low: 80, High: 99}},
			"raised 0 90" + made,
		},
		"from a setpoint": {
			alarm.Rule{
				Kind:      alarm.Deviates,
				Deviation: &alarm.Deviation{Setpoint: &setpoint, Limit: 10},
			},
			"raised 0 90" + made,
		},
		"from a sensor": {
			alarm.Rule{Kind: alarm.Deviates, Deviation: &alarm.Deviation{SensorID: 2, Limit: 10}},
			"raised 0 90" + made,
		},
		"near a sensor": {
			alarm.Rule{Kind: alarm.Deviates, Deviation: &alarm.Deviation{SensorID: 2, Limit: 70}},
			"",
		},
		"expression": {
			alarm.Rule{
				Kind: alarm.Expressed,
				Expression: &alarm.Expression{
					Text:   "a > 3 * b",
					Inputs: map[string]int64{"a": 1, "b": 2},
				},
			},
			"raised 0 90" + made,
		},
		"with a delay": {
			alarm.Rule{
				Kind:    alarm.Threshold,
				Limits:  limit(80),
				OnDelay: alarm.Duration(time.Minute),
			},
			"",
		},
		"several readings": {
			alarm.Rule{Kind: alarm.Threshold, Limits: limit(80), MinSamples: 2}, "",
		},
		"a rate": {
			alarm.Rule{
				Kind: alarm.RateOfChange,
				Rate: &alarm.Rate{Limit: 1, Per: "hour", Window: alarm.Duration(time.Second)},
			},
			"",
		},
		"no quality": {alarm.Rule{Kind: alarm.BadQuality}, ""},
		"silence": {
			alarm.Rule{Kind: alarm.NoData, NoDataAfter: alarm.Duration(time.Second)}, "",
		},
		"division by zero": {
			alarm.Rule{
				Kind: alarm.Expressed,
				Expression: &alarm.Expression{
					Text:   "1 / (a - 90) > 1",
					Inputs: map[string]int64{"a": 1},
				},
			},
			"faulted 0 - expression: division by zero (1:3)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			g := addGateway(t, s, "g")
			addSensor(t, s, g.ID, "a")
			addSensor(t, s, g.ID, "b")
			write(t, s, reading(1, -1, 90), reading(2, -2, 20))
			c.rule.SensorID, c.rule.Name, c.rule.Severity = 1, "hot", alarm.Major
			addAlarm(t, s, c.rule)
			want := []string{}
			if c.want != "" {
				want = append(want, c.want)
			}
			wantSaid(t, s, want...)
		})
	}
}

func TestNewRule_IgnoresStaleAndBadReadings(t *testing.T) {
	bad := reading(1, -1, math.NaN())
	bad.Quality = store.Bad
	for name, c := range map[string]struct {
		readings []store.Reading
		raised   int
	}{
		"current": {[]store.Reading{reading(1, -5, 90)}, 1},
		"stale":   {[]store.Reading{reading(1, -6, 90)}, 0},
		"current for a sensor that is slow": {
			[]store.Reading{reading(1, -90, 20), reading(1, -30, 90)}, 1,
		},
		"stale for a sensor that is slow": {
			[]store.Reading{reading(1, -241, 20), reading(1, -181, 90), reading(1, -121, 90)}, 0,
		},
		"stale although there was a long hole": {
			[]store.Reading{reading(1, -60*24*30, 20), reading(1, -60*49, 90)}, 0,
		},
		"bad":  {[]store.Reading{reading(1, -2, 90), bad}, 0},
		"none": {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			addSensor(t, s, addGateway(t, s, "g").ID, "a")
			for _, r := range c.readings {
				write(t, s, r)
			}
			addAlarm(t, s, highRule(1))
			if got := said(t, s); len(got) != c.raised {
				t.Errorf("events: got %q, want %d", got, c.raised)
			}
		})
	}
}

func TestChangedRule_IsEvaluatedOnTheCurrentValue(t *testing.T) {
	s := open(t)
	addSensor(t, s, addGateway(t, s, "g").ID, "a")
	r := highRule(1)
	a := addAlarm(t, s, r)
	write(t, s, reading(1, 1, 75))
	r.Limits = &alarm.Limits{High: &alarm.Limit{Value: 70}}
	changeRule(t, s, a.ID, 2, r)
	r.Limits = &alarm.Limits{High: &alarm.Limit{Value: 70}, HighHigh: &alarm.Limit{Value: 74}}
	changeRule(t, s, a.ID, 3, r)
	r.Severity = alarm.Critical
	changeRule(t, s, a.ID, 4, r)
	got, err := s.Alarm(t.Context(), a.ID)
	ok(t, err)
	if got.Severity != "critical" {
		t.Errorf("severity of the standing alarm: got %s", got.Severity)
	}
	r.Limits = &alarm.Limits{High: &alarm.Limit{Value: 75}}
	changeRule(t, s, a.ID, 5, r)
	write(t, s, reading(1, 6, 70))
	const changed = " judged when the rule was changed"
	wantSaid(t, s, "rule_changed 2 -", "raised 2 75"+changed, "rule_changed 3 -",
		"escalated 3 75"+changed,
		"rule_changed 4 -", "rule_changed 5 -", "cleared 5 75"+changed)
	got, err = s.Alarm(t.Context(), a.ID)
	ok(t, err)
	if got.StateName != "returned_unacknowledged" {
		t.Errorf("state: got %s", got.StateName)
	}
}

func TestChangedNoDataRule_CountsFromTheLastReading(t *testing.T) {
	s := open(t)
	addSensor(t, s, addGateway(t, s, "g").ID, "a")
	silent := func(minutes int) alarm.Rule {
		after := alarm.Duration(time.Duration(minutes) * time.Minute)
		return alarm.Rule{
			SensorID:    1,
			Name:        "silent",
			Kind:        alarm.NoData,
			Severity:    alarm.Major,
			NoDataAfter: after,
		}
	}
	a := addAlarm(t, s, silent(60))
	heard := reading(1, 10, 20)
	heard.Received = heard.Timestamp
	write(t, s, heard)
	changeRule(t, s, a.ID, 30, silent(15))
	changeRule(t, s, a.ID, 31, silent(30))
	changeRule(t, s, a.ID, 32, silent(25))
	_, err := s.SweepAlarms(t.Context(), noon.Add(36*time.Minute))
	ok(t, err)
	const changed = " judged when the rule was changed"
	wantSaid(t, s, "rule_changed 30 -", "raised 30 -"+changed, "rule_changed 31 -",
		"cleared 31 -"+changed,
		"rule_changed 32 -", "raised 35 -")
}

func TestDeletedReadings_AlarmsAreEvaluatedOnTheRemaining(t *testing.T) {
	s := open(t)
	g := addGateway(t, s, "g")
	addSensor(t, s, g.ID, "a")
	addSensor(t, s, g.ID, "b")
	a := addAlarm(t, s, highRule(1))
	both := alarm.Rule{SensorID: 2, Name: "both", Kind: alarm.Expressed, Severity: alarm.Major}
	both.Expression = &alarm.Expression{
		Text:   "a > 80 and b > 0",
		Inputs: map[string]int64{"a": 1, "b": 2},
	}
	addAlarm(t, s, both)
	write(t, s, reading(1, -60*48, 20), reading(2, 0, 1), reading(1, 1, 90), reading(1, 2, 91))
	erase := func(from, to int) {
		t.Helper()
		at := func(m int) time.Time { return noon.Add(time.Duration(m) * time.Minute) }
		_, err := s.DeleteReadings(t.Context(), 1, at(from), at(to), false)
		ok(t, err)
	}
	why := func() string {
		t.Helper()
		e, err := s.ExplainAlarm(t.Context(), a.ID, noon.Add(time.Hour))
		ok(t, err)
		return fmt.Sprint(e.Why)
	}
	gone := "The reading of sensor 1 of 2026-03-04T12:01:00Z that raised it is not stored any " +
		"more: it was deleted, or its retention is over."
	if strings.Contains(why(), gone) {
		t.Errorf("before: got %s", why())
	}
	erase(1, 2) // 91 is left
	if !strings.Contains(why(), gone) || len(journal(t, s)) != 2 {
		t.Errorf("got %s, %q", why(), journal(t, s))
	}
	erase(-60, 60) // 20 is left
	const deleted = " judged after readings were deleted"
	if got := said(t, s); len(got) != 4 || !strings.HasPrefix(got[2], "cleared") ||
		!strings.HasSuffix(got[2], "20"+deleted) ||
		!strings.HasPrefix(got[3], "cleared") || !strings.HasSuffix(got[3], deleted) {
		t.Errorf("events: got %q", got)
	}
	write(t, s, reading(1, 30, 95))
	erase(-60*24*30, 60) // none is left: it stands
	if got := journal(t, s); len(got) != 6 ||
		!strings.Contains(why(), "No reading of sensor 1 is stored.") {
		t.Errorf("got %q, %s", got, why())
	}
}
