package store_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// delayedRule is above 10 for longer than on, until it is not for longer than off.
func delayedRule(sensor int64, on, off time.Duration) alarm.Rule {
	return alarm.Rule{
		SensorID: sensor, Name: "delayed", Kind: alarm.Threshold, Severity: alarm.Major,
		Limits:   &alarm.Limits{High: &alarm.Limit{Value: 10}},
		OnDelay:  alarm.Duration(on),
		OffDelay: alarm.Duration(off),
	}
}

// sweepUntil sweeps every second from one instant to another, in seconds after noon.
func sweepUntil(t testing.TB, s *store.Store, from, to float64) {
	t.Helper()
	for at := from; at < to; at++ {
		sweep(t, s, after(at))
	}
}

// TestOnDelay_IgnoresASpikeAtTheEndOfABatch sends ten samples of 1 Hz every ten seconds, each tenth
// of them above the limit.
func TestOnDelay_IgnoresASpikeAtTheEndOfABatch(t *testing.T) {
	for _, linked := range []bool{false, true} {
		t.Run(fmt.Sprint("linked ", linked), func(t *testing.T) {
			s := open(t)
			gw := addGateway(t, s, "g").ID
			v := addSensor(t, s, gw, "s")
			r := delayedRule(v.ID, 3*time.Second, 0)
			if linked {
				r.SuppressedBy = []int64{
					addAlarm(t, s, highRule(addSensor(t, s, gw, "cause").ID)).ID,
				}
			}
			addAlarm(t, s, r)
			for batch := range 4 {
				now := 10 * float64(batch+1)
				var rs []store.Reading
				for i := range 10 {
					value := 5.0
					if i == 9 {
						value = 20
					}
					rs = append(rs, arrives(v.ID, now, time.Duration(9-i)*time.Second, value))
				}
				write(t, s, rs...)
				sweepUntil(t, s, now, now+10)
			}
			wantJournal(t, s)
			// Then the data stays away.
			sweepUntil(t, s, 50, 65)
			if n := raised(t, s); n != 1 {
				t.Errorf("raised %d times, want 1 when nothing says that it is over", n)
			}
		})
	}
}

// TestDelay_EndsByTheClockWithoutTransitTime has nothing follow a reading above the limit.
func TestDelay_EndsByTheClockWithoutTransitTime(t *testing.T) {
	tests := map[string]time.Duration{
		"a clock that is right": 50 * time.Millisecond, "a slow clock": 2 * time.Minute,
		"one of last year": 365 * 24 * time.Hour,
	}
	for name, late := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
			r := delayedRule(v.ID, 3*time.Second, 0)
			addAlarm(t, s, r)
			for i := range 5 {
				write(t, s, arrives(v.ID, float64(i), late, 5))
			}
			write(t, s, arrives(v.ID, 5, late, 20))
			if n := sweep(t, s, after(7.9)); n != 0 {
				t.Fatalf("%d events before the delay is over", n)
			}
			sweep(t, s, after(9.5))
			es, err := s.AlarmEvents(t.Context(), 0, 10)
			ok(t, err)
			if len(es) != 1 || !es[0].At.Equal(after(8).Add(-late)) {
				t.Errorf("got %+v, want it raised by the sensor's clock at %v", es,
					after(8).Add(-late))
			}
		})
	}
}

// TestBacklog_IsEvaluatedAtItsOwnTime sends, after an outage, messages of which each ends above the
// limit.
func TestBacklog_IsEvaluatedAtItsOwnTime(t *testing.T) {
	s := open(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	addAlarm(t, s, delayedRule(v.ID, 3*time.Second, 0))
	for i := range 10 {
		now := 1 + 2*float64(i) // so that the next message begins 2 s after it
		age := time.Duration(10-i) * time.Hour
		write(t, s, arrives(v.ID, now, age, 5), arrives(v.ID, now, age-time.Hour, 20))
		sweep(t, s, after(now+1.9))
	}
	wantJournal(t, s)
}

// TestBatches_EqualTheSimulation stores a random walk in random batches, by two instances which
// sweep, and holds the journal against the pure rule on what is stored.
func TestBatches_EqualTheSimulation(t *testing.T) {
	s, db := openRaw(t)
	instances := []*store.Store{s, openOther(t, db)}
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	type ruled struct {
		a store.Alarm
		r alarm.Rule
	}
	var alarms []ruled
	for _, delays := range [][2]time.Duration{
		{time.Second, 0},
		{2 * time.Second, time.Second},
		{3 * time.Second, 5 * time.Second},
		{0, 2 * time.Second},
	} {
		r := delayedRule(v.ID, delays[0], delays[1])
		alarms = append(alarms, ruled{addAlarm(t, s, r), r})
	}
	value, longest := 5.0, 20
	now := 0.0
	for batch := range 40 {
		size := longest
		if batch > 0 {
			size = 1 + rnd.IntN(longest)
		}
		var rs []store.Reading
		sent := now + float64(size)
		for now < sent {
			now++
			value = 10 + 0.8*(value-10) + 2*rnd.NormFloat64()
			rs = append(rs, arrives(v.ID, sent, time.Duration(sent-now)*time.Second, value))
		}
		rnd.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
		sweepUntil(t, instances[rnd.IntN(2)], now-float64(size)+0.5, now)
		write(t, instances[rnd.IntN(2)], rs...)
	}
	for _, x := range alarms {
		var want []string
		ok(t, x.r.Compile())
		_, _, err := s.Simulate(t.Context(), &x.r, noon, after(now+1e-3), func(e alarm.Event) bool {
			want = append(want,
				fmt.Sprintf("%d %s %d %s>%s", x.a.ID, e.Kind, e.Occurrence, e.Before.Name(),
					e.After.Name()))
			return true
		})
		ok(t, err)
		if got := of(t, s, x.a); fmt.Sprint(got) != fmt.Sprint(want) || len(want) == 0 {
			t.Errorf("seed %d, %+v: got %d events %v, want %d %v", seed, x.r, len(got), got,
				len(want), want)
		}
	}
}
