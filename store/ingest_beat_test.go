package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// quietRule is raised when nothing has been received for so long.
func quietRule(sensor int64, after time.Duration) alarm.Rule {
	return alarm.Rule{
		SensorID:    sensor,
		Name:        "silent",
		Kind:        alarm.NoData,
		Severity:    alarm.Major,
		NoDataAfter: alarm.Duration(after),
	}
}

// after is an instant so many seconds after noon.
func after(seconds float64) time.Time {
	return noon.Add(
		time.Duration(seconds * float64(time.Second)),
	)
}

// arrives is a reading of sensor that was measured age before it is received.
func arrives(sensor int64, seconds float64, age time.Duration, value float64) store.Reading {
	return store.Reading{
		SensorID:  sensor,
		Timestamp: after(seconds).Add(-age),
		Received:  after(seconds),
		Value:     value,
	}
}

// beats has an instance take readings between two instants, in seconds after noon.
func beats(t testing.TB, s *store.Store, from, to float64) {
	t.Helper()
	for at := from; at <= to; at++ {
		ok(t, s.BeatIngest(t.Context(), after(at)))
	}
}

func raised(t testing.TB, s *store.Store) int {
	t.Helper()
	n := 0
	es, err := s.AlarmEvents(t.Context(), 0, 1e6)
	ok(t, err)
	for _, e := range es {
		if e.Kind == "raised" {
			n++
		}
	}
	return n
}

func TestSilence_ExcludesARestart(t *testing.T) {
	tests := map[string]struct {
		back     float64 // when the server is back; it goes at 8
		quiet    []float64
		raisedAt float64 // when nothing comes
	}{
		"for 16 s":    {24, []float64{24, 25, 53}, 65},
		"for an hour": {3600, []float64{3600, 3601, 3629}, 3641},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, db := openRaw(t)
			v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
			addAlarm(t, s, quietRule(v.ID, 10*time.Second))
			beats(t, s, 0, 8)
			write(t, s, arrives(v.ID, 7, 0, 20))
			ok(t, s.Close())
			s = openOther(t, db)
			beats(t, s, tt.back, tt.back)
			for _, at := range tt.quiet {
				if n := sweep(t, s, after(at)); n != 0 {
					t.Fatalf("raised at %v s: gateways have had no time to come back", at)
				}
			}
			sweep(t, s, after(tt.raisedAt))
			if n := raised(t, s); n != 1 {
				t.Errorf("raised %d times, want 1 when nothing has come since", n)
			}
		})
	}
}

func TestSilence_CountsWhileOneOfTwoInstancesRuns(t *testing.T) {
	s, db := openRaw(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	addAlarm(t, s, quietRule(v.ID, 10*time.Second))
	beats(t, s, 0, 1)
	write(t, s, arrives(v.ID, 0, 0, 20))
	other := openOther(t, db)
	beats(t, other, 1, 20)
	beats(t, s, 20, 20) // was not there in between
	if n := sweep(t, s, after(20)); n != 1 {
		t.Errorf("raised %d times, want 1: the other instance would have heard", n)
	}
}

func TestSilence_ExcludesAPauseOfIngest(t *testing.T) {
	s := open(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	addAlarm(t, s, quietRule(v.ID, 10*time.Second))
	delayed := highRule(v.ID)
	delayed.OnDelay = alarm.Duration(5 * time.Second)
	addAlarm(t, s, delayed)
	beats(t, s, 0, 8)
	write(t, s, arrives(v.ID, 8, 0, 95))
	beats(t, s, 20, 30) // its pause of 12 s is over, and for 24 s more gateways come back
	if n := sweep(t, s, after(30)); n != 0 {
		t.Errorf("%d events, want none: what was measured meanwhile has had no time to come", n)
	}
	// it was over at once
	write(t, s, arrives(v.ID, 31, 22*time.Second, 20), arrives(v.ID, 31, 0, 20))
	sweep(t, s, after(32))
	wantJournal(t, s)
}

// TestSilence_EndsOnceWithABacklog has a gateway send its buffer after an outage in which silence
// was raised, in several orders.
func TestSilence_EndsOnceWithABacklog(t *testing.T) {
	orders := map[string]func(i int) int{
		"oldest first": func(i int) int { return i },
		"newest first": func(i int) int { return 9 - i },
		"in any order": func(i int) int { return i * 7 % 10 },
	}
	for name, order := range orders {
		for _, linked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, linked %v", name, linked), func(t *testing.T) {
				s := open(t)
				gw := addGateway(t, s, "g").ID
				v := addSensor(t, s, gw, "s")
				r := quietRule(v.ID, 10*time.Second)
				if linked {
					r.SuppressedBy = []int64{
						addAlarm(t, s, highRule(addSensor(t, s, gw, "cause").ID)).ID,
					}
				}
				a := addAlarm(t, s, r)
				write(t, s, arrives(v.ID, 1, 0, 20))
				sweep(t, s, after(20))
				// messages of a minute each, and slowly: longer in all than the silence that is
				// raised
				for i := range 10 {
					now := 1000 + 3*float64(i)
					age := time.Duration(10-order(i)) * time.Minute
					write(t, s, arrives(v.ID, now, age, 20),
						arrives(v.ID, now, age-30*time.Second, 20))
					sweep(t, s, after(now+2.9))
				}
				wantJournal(t, s, fmt.Sprintf("%d raised 1 normal>active_unacknowledged", a.ID),
					fmt.Sprintf("%d cleared 1 active_unacknowledged>returned_unacknowledged", a.ID))
				es, err := s.AlarmEvents(t.Context(), 0, 10)
				ok(t, err)
				if !es[0].At.Equal(after(11)) || !es[1].At.Equal(after(1000)) {
					t.Errorf("raised at %v and cleared at %v, want 11 s and 1000 s after noon",
						es[0].At, es[1].At)
				}
				sweep(t, s, after(1027+11))
				if n := raised(t, s); n != 2 {
					t.Errorf("raised %d times, want 2 when nothing more comes", n)
				}
			})
		}
	}
}

func TestSilence_IgnoresASlowClock(t *testing.T) {
	s := open(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	addAlarm(t, s, quietRule(v.ID, 10*time.Second))
	for i := range 20 {
		now := 5 * float64(i)
		write(t, s, arrives(v.ID, now, 2*time.Minute, 20))
		sweep(t, s, after(now+4.9))
	}
	wantJournal(t, s)
	// What the database tells another instance, or a sweep that reads it, is the same.
	sweep(t, s, after(95+9))
	wantJournal(t, s)
	sweep(t, s, after(95+11))
	if n := raised(t, s); n != 1 {
		t.Errorf("raised %d times, want 1", n)
	}
}

// TestSilence_ThatIsOverRaisesNothing has a sweep come late, as after a pause of the process.
func TestSilence_ThatIsOverRaisesNothing(t *testing.T) {
	s := open(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	addAlarm(t, s, quietRule(v.ID, 10*time.Second))
	write(t, s, arrives(v.ID, 0, 0, 20))
	write(t, s, arrives(v.ID, 60, 0, 20))
	sweep(t, s, after(61))
	wantJournal(t, s)
}

func TestSilence_IgnoresADeletion(t *testing.T) {
	s := open(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	addAlarm(t, s, quietRule(v.ID, 10*time.Second))
	write(t, s, arrives(v.ID, 0, 0, 20))
	write(t, s, arrives(v.ID, 60, 0, 20))
	_, err := s.DeleteReadings(t.Context(), v.ID, after(60), after(61), false)
	ok(t, err)
	sweep(t, s, after(69))
	wantJournal(t, s)
}
