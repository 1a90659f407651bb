package store_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// simulated is what the pure rule makes of all that is stored, as journal has it.
func simulated(t testing.TB, s *store.Store, a store.Alarm, r alarm.Rule) []string {
	t.Helper()
	r.ID = a.ID
	ok(t, r.Compile())
	var out []string
	_, _, err := s.Simulate(t.Context(), &r, noon, noon.Add(24*time.Hour),
		func(e alarm.Event) bool {
			out = append(out,
				fmt.Sprintf("%d %s %d %s>%s", a.ID, e.Kind, e.Occurrence, e.Before.Name(),
					e.After.Name()))
			return true
		})
	ok(t, err)
	return out
}

// of is the part of the journal that is about an alarm.
func of(t testing.TB, s *store.Store, a store.Alarm) []string {
	t.Helper()
	var out []string
	for _, line := range journal(t, s) {
		if strings.HasPrefix(line, fmt.Sprintf("%d ", a.ID)) {
			out = append(out, line)
		}
	}
	return out
}

// severalRules are rules that look at two sensors.
func severalRules(a, b int64) map[string]alarm.Rule {
	return map[string]alarm.Rule{
		"deviation": {
			SensorID: a,
			Name:     "apart",
			Kind:     alarm.Deviates,
			Severity: alarm.Minor,
			Deadband: &alarm.Deadband{Value: 2},
			Deviation: &alarm.Deviation{
				SensorID: b,
				Limit:    10,
				MaxAge:   alarm.Duration(5 * time.Minute),
			},
		},
		"expression": {
			SensorID: a, Name: "dry", Kind: alarm.Expressed, Severity: alarm.Major, MinSamples: 2,
			Expression: &alarm.Expression{
				Text:   "pump > 60 and flow / (pump + 1) < 0.5",
				Inputs: map[string]int64{"pump": a, "flow": b},
			},
		},
		"expression of others": {
			SensorID: a,
			Name:     "faults",
			Kind:     alarm.Expressed,
			Severity: alarm.Major,
			Latching: true,
			Expression: &alarm.Expression{
				Text:   "100 / round(flow / 10) > 25",
				Inputs: map[string]int64{"flow": b},
			},
		},
	}
}

// TestRulesOverSeveralSensors_EqualTheSimulation writes two sensors' readings by two writers,
// each in order of time for both, in one batch or in two, mixed, twice, and in the wrong order
// within a batch.
func TestRulesOverSeveralSensors_EqualTheSimulation(t *testing.T) {
	s, db := openRaw(t)
	instances := []*store.Store{s, openOther(t, db)}
	gw := addGateway(t, s, "g").ID
	x, y := addSensor(t, s, gw, "x"), addSensor(t, s, gw, "y")
	rules, alarms := severalRules(x.ID, y.ID), map[string]store.Alarm{}
	for name, r := range rules {
		alarms[name] = addAlarm(t, s, r)
	}
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for at := 1; at < 600; {
		var rs []store.Reading
		for range 1 + rnd.IntN(12) {
			rs = append(rs, reading([]int64{x.ID, y.ID}[rnd.IntN(2)], at, 100*rnd.Float64()))
			if rnd.IntN(3) == 0 {
				rs = append(rs,
					reading([]int64{x.ID, y.ID}[rnd.IntN(2)], at+1, 40+20*rnd.Float64()))
			}
			at += 2
		}
		if rnd.IntN(2) == 0 { // one after the other
			cut := rnd.IntN(len(rs) + 1)
			write(t, instances[0], rs[:cut]...)
			write(t, instances[1], rs[cut:]...)
		}
		var wg sync.WaitGroup
		for _, s := range instances {
			mixed := make([]store.Reading, len(rs))
			for i, j := range rnd.Perm(len(rs)) {
				mixed[i] = rs[j]
			}
			wg.Go(func() {
				if _, err := s.Write(t.Context(), mixed, store.SideWrites{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	for cycle := range 3 { // every rule raises and clears, for any drawn values
		for minute := range 8 {
			vx, vy := 90., 10.
			if minute >= 4 {
				vx, vy = 50, 50
			}
			at := 700 + 10*cycle + minute
			write(t, instances[cycle%2], reading(x.ID, at, vx), reading(y.ID, at, vy))
		}
	}
	for name, r := range rules {
		got, want := of(t, s, alarms[name]), simulated(t, s, alarms[name], r)
		if len(want) < 3 {
			t.Errorf("%s, seed %d: only %q", name, seed, want)
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s, seed %d: got\n%s\nwant\n%s", name, seed, strings.Join(got, "\n"),
				strings.Join(want, "\n"))
		}
	}
}

// TestRuleOverTwoSensors_WithConcurrentWriters has each sensor's readings come by a writer of its
// own. Their order between sensors is as they commit; every reading is stepped once, and the end is
// what is stored.
func TestRuleOverTwoSensors_WithConcurrentWriters(t *testing.T) {
	s, db := openRaw(t)
	instances := []*store.Store{s, openOther(t, db)}
	gw := addGateway(t, s, "g").ID
	x, y := addSensor(t, s, gw, "x"), addSensor(t, s, gw, "y")
	a := addAlarm(t, s, alarm.Rule{
		SensorID:  x.ID,
		Name:      "apart",
		Kind:      alarm.Deviates,
		Severity:  alarm.Minor,
		Deviation: &alarm.Deviation{SensorID: y.ID, Limit: 10},
	})
	for round := range 20 {
		for _, apart := range []float64{50, 0} {
			minute := 10*round + 1
			if apart == 0 {
				minute += 5
			}
			var wg sync.WaitGroup
			for i, v := range []store.Reading{
				reading(x.ID, minute, apart), reading(y.ID, minute, -apart),
			} {
				wg.Go(func() {
					if _, err := instances[i].Write(t.Context(), []store.Reading{v},
						store.SideWrites{}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			now, err := s.Alarm(t.Context(), a.ID)
			ok(t, err)
			if state, err := now.State(); err != nil || state.Active != (apart != 0) ||
				state.Occurrence != int64(round)+1 {
				t.Fatalf("round %d, apart %v: got %+v, %v", round, apart, state, err)
			}
		}
	}
}

// TestSuppression_EqualsTheSimulation lets alarms that suppress each other directly, through others
// and as a first-out group follow a random walk, and holds the journal of those that are suppressed
// against the simulation.
func TestSuppression_EqualsTheSimulation(t *testing.T) {
	s, db := openRaw(t)
	instances := []*store.Store{s, openOther(t, db)}
	gw := addGateway(t, s, "g").ID
	x, y := addSensor(t, s, gw, "x"), addSensor(t, s, gw, "y")
	low := alarm.Rule{
		SensorID: x.ID,
		Name:     "low",
		Kind:     alarm.Threshold,
		Severity: alarm.Major,
		Limits:   &alarm.Limits{Low: &alarm.Limit{Value: 30}},
	}
	effect, root := highRule(x.ID), highRule(y.ID)
	effect.Name, effect.Limits.High.Value, effect.OnDelay = "effect", 60, alarm.Duration(
		3*time.Minute,
	)
	// made before its causes: the order of ids is the other way round
	first := addAlarm(t, s, effect)
	cause := addAlarm(t, s, root)
	low.SuppressedBy = []int64{cause.ID}
	between := addAlarm(t, s, low)
	effect.ID, effect.SuppressedBy = first.ID, []int64{cause.ID, between.ID}
	_, err := s.UpdateAlarm(t.Context(), &effect, 0, "e", noon)
	ok(t, err)
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for at := 1; at < 500; {
		var rs []store.Reading
		for range 1 + rnd.IntN(10) {
			rs = append(rs, reading(x.ID, at, 100*rnd.Float64()),
				reading(y.ID, at, 20+100*rnd.Float64()))
			at++
		}
		write(t, instances[rnd.IntN(2)], rs...)
		sweep(t, s, noon.Add(time.Duration(at-1)*time.Minute))
	}
	sweep(t, s, noon.Add(24*time.Hour)) // to where the simulation ends: a delay may be running yet
	for a, r := range map[store.Alarm]alarm.Rule{first: effect, between: low} {
		got, want := of(t, s, a), simulated(t, s, a, r)
		if a.ID == first.ID {
			got = got[1:] // rule_changed
		}
		if !strings.Contains(strings.Join(want, "\n"), "suppressed>suppressed") {
			t.Errorf("%s, seed %d: it was never suppressed: %q", r.Name, seed, want)
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s, seed %d: got\n%s\nwant\n%s", r.Name, seed, strings.Join(got, "\n"),
				strings.Join(want, "\n"))
		}
	}
}

// TestFirstOutGroup_OnlyTheFirstStands has three alarms that suppress one another: the first to be
// raised is told, and when it is over the next.
func TestFirstOutGroup_OnlyTheFirstStands(t *testing.T) {
	s := open(t)
	gw := addGateway(t, s, "g").ID
	var sensors [3]store.Sensor
	var group [3]store.Alarm
	var rules [3]alarm.Rule
	for i, key := range []string{"a", "b", "c"} {
		sensors[i] = addSensor(t, s, gw, key)
		rules[i] = highRule(sensors[i].ID)
		group[i] = addAlarm(t, s, rules[i])
		rules[i].ID = group[i].ID
	}
	for i := range rules {
		rules[i].SuppressedBy = []int64{group[(i+1)%3].ID, group[(i+2)%3].ID}
		_, err := s.UpdateAlarm(t.Context(), &rules[i], 0, "e", noon)
		ok(t, err)
	}
	states := func() string {
		var out []string
		for _, a := range group {
			now, err := s.Alarm(t.Context(), a.ID)
			ok(t, err)
			out = append(out, now.StateName)
		}
		return strings.Join(out, " ")
	}
	for i, step := range []struct {
		of    int
		value float64
		want  string
	}{
		{1, 90, "suppressed active_unacknowledged suppressed"},
		{0, 90, "suppressed active_unacknowledged suppressed"},
		{1, 20, "active_unacknowledged suppressed suppressed"},
		{0, 20, "returned_unacknowledged returned_unacknowledged normal"},
	} {
		write(t, s, reading(sensors[step.of].ID, i+1, step.value))
		if got := states(); got != step.want {
			t.Errorf("after step %d: got %s, want %s", i+1, got, step.want)
		}
	}
}
