package store_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// TestStateCache_IsNeverStale lets one instance keep an alarm's state, changes what it
// hangs on behind its back, and goes on.
func TestStateCache_IsNeverStale(t *testing.T) {
	tests := map[string]struct {
		delay   alarm.Duration
		changes func(t *testing.T, s, other *store.Store, db *sql.DB, a store.Alarm)
		then    []store.Reading // by sensor 0
		want    []string
	}{
		"another instance raises it": {
			changes: func(t *testing.T, _, other *store.Store, _ *sql.DB, a store.Alarm) {
				write(t, other, reading(a.SensorID, 4, 90))
			},
			then: []store.Reading{reading(0, 5, 91), reading(0, 6, 20)},
			want: []string{
				"raised 1 normal>active_unacknowledged",
				"cleared 1 active_unacknowledged>returned_unacknowledged",
			},
		},
		"another instance has a newer reading": {
			changes: func(t *testing.T, _, other *store.Store, _ *sql.DB, a store.Alarm) {
				write(t, other, reading(a.SensorID, 6, 70))
			},
			then: []store.Reading{reading(0, 5, 90)},
		},
		"another instance takes it out of service": {
			changes: func(t *testing.T, _, other *store.Store, _ *sql.DB, a store.Alarm) {
				_, err := other.CommandAlarm(t.Context(), a.ID,
					alarm.Command{Kind: alarm.TakeOut, User: "o", Comment: "x"}, noon)
				ok(t, err)
			},
			then: []store.Reading{reading(0, 5, 90)},
			want: []string{
				"out_of_service 0 normal>out_of_service", "raised 1 out_of_service>out_of_service",
			},
		},
		"another instance changes its rule": {
			changes: func(t *testing.T, _, other *store.Store, _ *sql.DB, a store.Alarm) {
				r := highRule(a.SensorID)
				r.ID, r.Limits.High.Value = a.ID, 60
				_, err := other.UpdateAlarm(t.Context(), &r, a.RuleVersion, "e", noon)
				ok(t, err)
			},
			then: []store.Reading{reading(0, 5, 65)},
			want: []string{"rule_changed 0 normal>normal", "raised 1 normal>active_unacknowledged"},
		},
		"another instance sweeps": {
			delay: alarm.Duration(10 * time.Minute),
			changes: func(t *testing.T, s, other *store.Store, _ *sql.DB, a store.Alarm) {
				write(t, s, reading(a.SensorID, 4, 90))
				write(t, s, reading(a.SensorID, 5, 90))
				sweep(t, other, noon.Add(time.Hour))
			},
			then: []store.Reading{reading(0, 61, 90), reading(0, 62, 20)},
			want: []string{
				"raised 1 normal>active_unacknowledged",
				"cleared 1 active_unacknowledged>returned_unacknowledged",
			},
		},
		"its newest reading is deleted": {
			changes: func(t *testing.T, _, other *store.Store, _ *sql.DB, a store.Alarm) {
				_, err := other.DeleteReadings(t.Context(), a.SensorID, noon.Add(2*time.Minute),
					noon.Add(time.Hour), false)
				ok(t, err)
			},
			then: []store.Reading{reading(0, 2, 90)},
			want: []string{"raised 1 normal>active_unacknowledged"},
		},
		"all readings are deleted, and the same come again": {
			changes: func(t *testing.T, _, other *store.Store, _ *sql.DB, a store.Alarm) {
				_, err := other.DeleteReadings(t.Context(), a.SensorID, noon, noon.Add(time.Hour),
					false)
				ok(t, err)
				_, err = other.CommandAlarm(t.Context(), a.ID,
					alarm.Command{Kind: alarm.TakeOut, User: "o", Comment: "x"}, noon)
				ok(t, err)
				write(t, other, reading(a.SensorID, 3, 70))
			},
			then: []store.Reading{reading(0, 5, 90)},
			want: []string{
				"out_of_service 0 normal>out_of_service", "raised 1 out_of_service>out_of_service",
			},
		},
		"a batch that raises it is rolled back": {
			changes: func(t *testing.T, s, _ *store.Store, db *sql.DB, a store.Alarm) {
				pauseWrite(t.Context(), t, s, db, a.GatewayID, reading(a.SensorID, 4, 90)).kill()
			},
			then: []store.Reading{reading(0, 5, 91)},
			want: []string{"raised 1 normal>active_unacknowledged"},
		},
		"a batch that changes nothing is rolled back": {
			changes: func(t *testing.T, s, _ *store.Store, db *sql.DB, a store.Alarm) {
				pauseWrite(t.Context(), t, s, db, a.GatewayID, reading(a.SensorID, 9, 70)).kill()
			},
			then: []store.Reading{reading(0, 5, 91)}, // not late
			want: []string{"raised 1 normal>active_unacknowledged"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, db := openRaw(t)
			other := openOther(t, db)
			v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
			r := highRule(v.ID)
			r.OnDelay = test.delay
			a := addAlarm(t, s, r)
			for minute := range 3 {
				write(t, s, reading(v.ID, minute+1, 70))
			}
			test.changes(t, s, other, db, a)
			for _, r := range test.then {
				r.SensorID = v.ID
				write(t, s, r)
			}
			want := make([]string, len(test.want))
			for i, w := range test.want {
				want[i] = fmt.Sprintf("%d %s", a.ID, w)
			}
			wantJournal(t, s, want...)
		})
	}
}

func TestStateCache_SavesReadingStates(t *testing.T) {
	s, db := openRaw(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	a := addAlarm(t, s, highRule(v.ID))
	write(t, s, reading(v.ID, 1, 70))
	held, err := db.BeginTx(t.Context(), nil)
	ok(t, err)
	defer func() { _ = held.Rollback() }()
	_, err = held.ExecContext(t.Context(), `SELECT FROM alarm_states FOR UPDATE`)
	ok(t, err)
	for minute := range 3 {
		write(t, s, reading(v.ID, minute+2, 70)) // needs no lock of another transaction
	}
	ok(t, held.Rollback())
	write(t, s, reading(v.ID, 9, 90))
	wantJournal(t, s, fmt.Sprintf("%d raised 1 normal>active_unacknowledged", a.ID))
}

// TestTwoInstances_MakeTheEventsOfTheSimulation stores random walks of several sensors, each
// batch by one of two instances.
func TestTwoInstances_MakeTheEventsOfTheSimulation(t *testing.T) {
	s, db := openRaw(t)
	instances := []*store.Store{s, openOther(t, db)}
	gateway := addGateway(t, s, "g").ID
	type ruled struct {
		a store.Alarm
		r alarm.Rule
	}
	var alarms []ruled
	var sensors []int64
	for i := range 4 {
		v := addSensor(t, s, gateway, fmt.Sprint("s", i))
		sensors = append(sensors, v.ID)
		plain, delayed := highRule(v.ID), highRule(v.ID)
		plain.Deadband = &alarm.Deadband{Value: 2}
		delayed.MinSamples, delayed.Latching = 2, true
		for _, r := range []alarm.Rule{plain, delayed} {
			alarms = append(alarms, ruled{addAlarm(t, s, r), r})
		}
	}
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	values := []float64{70, 70, 70, 70}
	for at := 1; at < 500; at++ {
		var rs []store.Reading
		for i, id := range sensors {
			if rnd.IntN(4) > 0 {
				values[i] = min(max(values[i]+6*rnd.NormFloat64(), 50), 90)
				rs = append(rs, reading(id, at, values[i]))
			}
		}
		write(t, instances[rnd.IntN(2)], rs...)
	}
	for _, x := range alarms {
		want, got := simulated(t, s, x.a, x.r), of(t, s, x.a)
		if fmt.Sprint(got) != fmt.Sprint(want) || len(want) == 0 {
			t.Errorf("seed %d, alarm %d: got %d events %v, want %d %v", seed, x.a.ID, len(got), got,
				len(want), want)
		}
	}
}

// TestBatch_IsRepeatedWhenAnAlarmChanges changes an alarm whose state a batch has kept and
// therefore does not lock.
func TestBatch_IsRepeatedWhenAnAlarmChanges(t *testing.T) {
	tests := map[string]struct {
		change func(t *testing.T, other *store.Store, db *sql.DB, a store.Alarm)
		want   string
	}{
		"another instance deletes it": {
			change: func(t *testing.T, other *store.Store, _ *sql.DB, a store.Alarm) {
				_, err := other.DeleteAlarm(t.Context(), a.ID, 0, "e", false, noon)
				ok(t, err)
			},
			want: "deleted 0 normal>normal",
		},
		"something that knows nothing of the locks writes its state": {
			change: func(t *testing.T, _ *store.Store, db *sql.DB, a store.Alarm) {
				run(t, db, `
					UPDATE alarm_states
					SET version = version + 1, memory = memory || '{"out_of_service": true}'
					WHERE alarm_id = $1`, a.ID)
			},
			want: "raised 1 out_of_service>out_of_service",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, db := openRaw(t)
			other := openOther(t, db)
			v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
			a := addAlarm(t, s, highRule(v.ID))
			write(t, s, reading(v.ID, 1, 70))
			write(t, s, reading(v.ID, 2, 70))
			p := pauseWrite(t.Context(), t, s, db, v.GatewayID, reading(v.ID, 3, 90))
			test.change(t, other, db, a)
			ok(t, p.resume())
			wantJournal(t, s, fmt.Sprintf("%d %s", a.ID, test.want))
		})
	}
}
