package alarm

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkStep is one reading through a rule that stays as it is.
func BenchmarkStep(b *testing.B) {
	rules := map[string]Rule{
		"threshold": {
			Kind: Threshold,
			Limits: &Limits{
				HighHigh: &Limit{Value: 90},
				High:     &Limit{Value: 80},
				Low:      &Limit{Value: 5},
				LowLow:   &Limit{Value: 1},
			},
			OnDelay: mins, Deadband: &Deadband{Value: 1},
		},
		"no_data": {Kind: NoData, NoDataAfter: mins},
		"rate":    {Kind: RateOfChange, Rate: &Rate{Limit: 1e6, Per: "minute", Window: mins}},
		"expression": {
			Kind: Expressed,
			Expression: &Expression{
				Text:   "a - b > 10 and a > 0",
				Inputs: map[string]int64{"a": 7, "b": 8},
			},
		},
	}
	for name, r := range rules {
		b.Run(name, func(b *testing.B) {
			rule := sound(b, r)
			s := New(rule, epoch).WithNewest(rule, Sample{SensorID: 8, At: epoch, Value: 50})
			b.ReportAllocs()
			at := epoch
			for i := 0; b.Loop(); i++ {
				at = at.Add(time.Second)
				var es []Event
				if s, es, _ = Step(rule, s, Sample{SensorID: 7, At: at, Value: 50 + float64(i%5)},
					at); len(es) > 0 {
					b.Fatal(es)
				}
			}
		})
	}
}

// BenchmarkPlant is a second of 2,000 readings over 10,000 rules, five on each sensor.
func BenchmarkPlant(b *testing.B) {
	rules, states := make([]*Rule, 10_000), make([]State, 10_000)
	for i := range rules {
		rules[i] = sound(b, Rule{
			SensorID: int64(i%2000) + 1, Name: fmt.Sprint(i), Kind: Threshold, OnDelay: mins,
			Limits: &Limits{High: &Limit{Value: 80 + float64(i/2000)}, Low: &Limit{Value: 5}},
		})
		states[i] = New(rules[i], epoch)
	}
	b.ReportAllocs()
	at := epoch
	for b.Loop() {
		at = at.Add(time.Second)
		for i := range rules {
			next, es, _ := Step(rules[i], states[i],
				Sample{SensorID: rules[i].SensorID, At: at, Value: 50}, at)
			if len(es) > 0 || Changed(&states[i], &next) {
				b.Fatal(es)
			}
			states[i] = next
		}
	}
}

func TestStep_AllocatesNothingWithoutChange(t *testing.T) {
	r := sound(t,
		with(high(80), func(r *Rule) { r.OnDelay, r.Deadband = mins, &Deadband{Value: 1} }))
	s := New(r, epoch)
	at := epoch
	if n := testing.AllocsPerRun(1000, func() {
		at = at.Add(time.Second)
		next, _, _ := Step(r, s, Sample{SensorID: 7, At: at, Value: 50}, at)
		if Changed(&s, &next) {
			t.Fatal("changed")
		}
		s = next
	}); n != 0 {
		t.Errorf("%v allocations for a reading that changes nothing", n)
	}
}
