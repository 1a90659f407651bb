package store_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// TestRestart_KeepsEveryState brings an alarm into each state, goes on with another store that
// knows nothing but the database, and wants the alarm to be as it was and to go on as if nothing
// had happened.
func TestRestart_KeepsEveryState(t *testing.T) {
	at := func(minute int) time.Time { return noon.Add(time.Duration(minute) * time.Minute) }
	latching := func(r *alarm.Rule) { r.Latching = true }
	tests := map[string]struct {
		rule   func(*alarm.Rule)
		values []float64           // one each minute
		do     []alarm.CommandKind // at minute 10
		cause  bool                // another alarm that suppresses it is raised at minute 5
		state  string              // then, and after the restart
		goOn   func(t *testing.T, s *store.Store, sensor, alarm, cause int64)
		want   string // the last event
	}{
		"A normal": {
			values: []float64{20, 20},
			state:  "normal",
			want:   "raised 1 normal>active_unacknowledged",
		},
		"B active, unacknowledged": {
			values: []float64{90}, state: "active_unacknowledged", goOn: read(11, 20),
			want: "cleared 1 active_unacknowledged>returned_unacknowledged",
		},
		"C active, acknowledged": {
			values: []float64{90},
			do:     []alarm.CommandKind{alarm.Acknowledge},
			state:  "active_acknowledged",
			goOn:   read(11, 20), want: "cleared 1 active_acknowledged>normal",
		},
		"D returned, unacknowledged": {
			values: []float64{90, 20}, state: "returned_unacknowledged",
			want: "raised 2 returned_unacknowledged>active_unacknowledged",
		},
		"E latched, unacknowledged": {
			rule:   latching,
			values: []float64{90, 20},
			state:  "latched_unacknowledged",
			goOn:   command(alarm.ResetLatch),
			want:   "reset 1 latched_unacknowledged>returned_unacknowledged",
		},
		"F latched, acknowledged": {
			rule:   latching,
			values: []float64{90, 20},
			do:     []alarm.CommandKind{alarm.Acknowledge},
			state:  "latched_acknowledged",
			goOn:   command(alarm.ResetLatch), want: "reset 1 latched_acknowledged>normal",
		},
		"G shelved": {
			values: []float64{90},
			do:     []alarm.CommandKind{alarm.Shelve},
			state:  "shelved",
			goOn:   wait(10 + 61),
			want:   "unshelved 1 shelved>active_unacknowledged",
		},
		"H suppressed": {values: []float64{90}, cause: true, state: "suppressed", goOn: func(
			t *testing.T, s *store.Store, _, _, cause int64,
		) {
			write(t, s, reading(cause, 11, 20))
		}, want: "unsuppressed 1 suppressed>active_unacknowledged"},
		"I out of service": {
			values: []float64{90},
			do:     []alarm.CommandKind{alarm.TakeOut},
			state:  "out_of_service",
			goOn:   command(alarm.ReturnToService),
			want:   "returned_to_service 1 out_of_service>active_unacknowledged",
		},
		"an on-delay that runs": {
			rule:   func(r *alarm.Rule) { r.OnDelay = alarm.Duration(15 * time.Minute) },
			values: []float64{90},
			state:  "normal",
			goOn:   wait(17), want: "raised 1 normal>active_unacknowledged",
		},
		"an on-delay that a reading ends": {
			rule:   func(r *alarm.Rule) { r.OnDelay = alarm.Duration(15 * time.Minute) },
			values: []float64{90, 90, 90, 90, 90, 90, 90, 90, 20},
			state:  "normal", goOn: wait(60), want: "",
		},
		"readings in a row": {
			rule:   func(r *alarm.Rule) { r.MinSamples = 3 },
			values: []float64{90, 90},
			state:  "normal",
			want:   "raised 1 normal>active_unacknowledged",
		},
		"an off-delay that runs": {
			rule:   func(r *alarm.Rule) { r.OffDelay = alarm.Duration(15 * time.Minute) },
			values: []float64{90, 20},
			state:  "active_unacknowledged",
			goOn:   wait(18),
			want:   "cleared 1 active_unacknowledged>returned_unacknowledged",
		},
		"an off-delay that a reading ends": {
			rule:   func(r *alarm.Rule) { r.OffDelay = alarm.Duration(15 * time.Minute) },
			values: []float64{90, 20},
			state:  "active_unacknowledged",
			goOn: func(t *testing.T, s *store.Store, sensor, _, _ int64) {
				write(t, s, reading(sensor, 11, 90))
				sweep(t, s, at(60))
			}, want: "raised 1 normal>active_unacknowledged",
		},
		"a reminder that is due": {
			rule:   func(r *alarm.Rule) { r.RealarmAfter = alarm.Duration(time.Hour) },
			values: []float64{90},
			do:     []alarm.CommandKind{alarm.Acknowledge},
			state:  "active_acknowledged",
			goOn:   wait(71),
			want:   "reraised 1 active_acknowledged>active_unacknowledged",
		},
		"silence": {
			values: []float64{90},
			state:  "active_unacknowledged",
			goOn:   wait(24 * 60),
			want:   "raised 1 normal>active_unacknowledged",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, db := openRaw(t)
			gw := addGateway(t, s, "g").ID
			v, other := addSensor(t, s, gw, "s"), addSensor(t, s, gw, "cause")
			cause := addAlarm(t, s, highRule(other.ID))
			r := highRule(v.ID)
			r.SuppressedBy = []int64{cause.ID}
			if tt.rule != nil {
				tt.rule(&r)
			}
			a := addAlarm(t, s, r)
			for i, value := range tt.values {
				write(t, s, reading(v.ID, i+1, value))
			}
			for _, kind := range tt.do {
				command(kind)(t, s, v.ID, a.ID, 0)
			}
			if tt.cause {
				write(t, s, reading(other.ID, 5, 90))
			}
			was, err := s.Alarm(t.Context(), a.ID)
			ok(t, err)
			ok(t, s.Close())

			s = openOther(t, db)
			sweep(t, s, at(10)) // as a start does
			now, err := s.Alarm(t.Context(), a.ID)
			ok(t, err)
			before, after := must(was.State()), must(now.State())
			if was.StateName != tt.state || now.StateName != was.StateName ||
				!reflect.DeepEqual(before, after) || !now.Since.Equal(was.Since) {
				t.Errorf("got %s before and %s after: %+v, %+v; want %s",
					was.StateName, now.StateName, before, after, tt.state)
			}
			if tt.goOn == nil {
				tt.goOn = read(11, 90)
			}
			tt.goOn(t, s, v.ID, a.ID, other.ID)
			sweep(t, s, at(11))
			got, last := of(t, s, a), ""
			if len(got) > 0 {
				last = got[len(got)-1]
			}
			want := tt.want
			if want != "" {
				want = fmt.Sprintf("%d %s", a.ID, want)
			}
			if last != want {
				t.Errorf("got %q, want %q at the end", got, want)
			}
		})
	}
}

// read is a reading after the restart.
func read(minute int, value float64) func(*testing.T, *store.Store, int64, int64, int64) {
	return func(t *testing.T, s *store.Store, sensor, _, _ int64) {
		write(t, s,
			reading(sensor, minute, value))
	}
}

// wait is that nothing happens until a minute, in which a start that comes late or twice makes
// nothing twice.
func wait(minute int) func(*testing.T, *store.Store, int64, int64, int64) {
	return func(t *testing.T, s *store.Store, _, _, _ int64) {
		now := noon.Add(time.Duration(minute) * time.Minute)
		sweep(t, s, now)
		if n := sweep(t, s, now); n != 0 {
			t.Errorf("a second start makes %d events", n)
		}
	}
}

// command carries out a command at minute 10, as a user who has just seen the state.
func command(kind alarm.CommandKind) func(*testing.T, *store.Store, int64, int64, int64) {
	return func(t *testing.T, s *store.Store, _, id, _ int64) {
		t.Helper()
		a, err := s.Alarm(t.Context(), id)
		ok(t, err)
		state, err := a.State()
		ok(t, err)
		now := noon.Add(10 * time.Minute)
		_, err = s.CommandAlarm(t.Context(), id, alarm.Command{
			Kind:         kind,
			User:         "o",
			Comment:      "why",
			Occurrence:   state.Occurrence,
			StateVersion: state.Version,
			Until:        now.Add(time.Hour),
		}, now)
		ok(t, err)
	}
}

// TestNoData_RemembersTheLastReading loads the state of a no-data alarm from the database while its
// sensor speaks.
func TestNoData_RemembersTheLastReading(t *testing.T) {
	tests := map[string]func(t *testing.T, s *store.Store, sensor, alarm, cause int64){
		"a sweep": func(t *testing.T, s *store.Store, _, _, _ int64) {
			sweep(t, s,
				noon.Add(25*time.Minute))
		},
		"a reading": read(25, 70),
		"a comment": func(t *testing.T, s *store.Store, _, id, _ int64) {
			_, err := s.CommandAlarm(t.Context(), id,
				alarm.Command{Kind: alarm.Remark, User: "o", Comment: "x"},
				noon.Add(25*time.Minute))
			ok(t, err)
		},
	}
	for name, load := range tests {
		t.Run(name, func(t *testing.T) {
			s, db := openRaw(t)
			v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
			a := addAlarm(t, s, alarm.Rule{
				SensorID:    v.ID,
				Name:        "silent",
				Kind:        alarm.NoData,
				Severity:    alarm.Minor,
				NoDataAfter: alarm.Duration(10 * time.Minute),
			})
			for minute := 4; minute <= 20; minute += 4 {
				write(t, s, reading(v.ID, minute, 70))
			}
			load(t, openOther(t, db), v.ID, a.ID, 0)
			for _, e := range of(t, s, a) {
				if !strings.Contains(e, "commented") {
					t.Errorf("got %q while the sensor speaks", e)
				}
			}
			sweep(t, openOther(t, db), noon.Add(36*time.Minute))
			if got := of(t, s, a); len(got) == 0 || !strings.Contains(got[len(got)-1], "raised 1") {
				t.Errorf("got %q after silence, want it to be raised", got)
			}
		})
	}
}
