package store_test

import (
	"database/sql"
	"errors"
	"sync"
	"testing"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

func TestAlarmsPerSensor_CountEverySensorThatARuleRefersTo(t *testing.T) {
	s := openWith(t, pgtest.DSN(t)+durable, func(c *store.Config) { c.AlarmsPerSensor = 2 })
	g := addGateway(t, s, "g")
	a, b := addSensor(t, s, g.ID, "a").ID, addSensor(t, s, g.ID, "b").ID
	c := addSensor(t, s, g.ID, "c").ID
	deviation := func(own, other int64) alarm.Rule {
		return alarm.Rule{
			SensorID: own, Name: "apart", Kind: alarm.Deviates, Severity: alarm.Minor,
			Deviation: &alarm.Deviation{SensorID: other, Limit: 5},
		}
	}
	expression := func(own int64, inputs map[string]int64, text string) alarm.Rule {
		return alarm.Rule{
			SensorID: own, Name: "sum", Kind: alarm.Expressed, Severity: alarm.Minor,
			Expression: &alarm.Expression{Text: text, Inputs: inputs},
		}
	}
	full := func(r alarm.Rule, sensor int64) {
		t.Helper()
		_, err := s.CreateAlarm(t.Context(), &r, noon)
		limit, is := errors.AsType[*store.AlarmLimitError](err)
		if !is || limit.SensorID != sensor || limit.Limit != 2 {
			t.Errorf("got %v, want the limit of 2 alarms on sensor %d", err, sensor)
		}
	}
	addAlarm(t, s, highRule(a))
	second := addAlarm(t, s, deviation(b, a)) // a has two now, b one
	full(highRule(a), a)
	full(deviation(c, a), a)
	full(expression(c, map[string]int64{"x": a, "y": c}, "x + y > 1"), a)

	r := deviation(b, a) // an alarm that is there may be changed
	r.ID, r.Deviation.Limit = second.ID, 6
	if _, err := s.UpdateAlarm(t.Context(), &r, 0, "u", noon); err != nil {
		t.Errorf("change of an alarm on a sensor at its limit: %v", err)
	}
	third := addAlarm(t, s, highRule(c))
	addAlarm(t, s, highRule(b)) // b has two now
	r = expression(c, map[string]int64{"x": b, "y": c}, "x + y > 1")
	r.ID = third.ID
	_, err := s.UpdateAlarm(t.Context(), &r, 0, "u", noon)
	if !errors.Is(err, store.ErrAlarmLimit) {
		t.Errorf("a change that takes in a full sensor: got %v, want %v", err, store.ErrAlarmLimit)
	}
	r = deviation(b, c) // and one that lets go of a sensor makes room there
	r.ID = second.ID
	if _, err := s.UpdateAlarm(t.Context(), &r, 0, "u", noon); err != nil {
		t.Fatal(err)
	}
	addAlarm(t, s, highRule(a))
}

func TestAlarmsPerSensor_HoldsForConcurrentCreations(t *testing.T) {
	s := openWith(t, pgtest.DSN(t)+durable, func(c *store.Config) { c.AlarmsPerSensor = 5 })
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s").ID
	var mu sync.Mutex
	made := 0
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			r := highRule(v)
			_, err := s.CreateAlarm(t.Context(), &r, noon)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case !errors.Is(err, store.ErrAlarmLimit):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made != 5 {
		t.Errorf("made %d alarms on one sensor, want 5", made)
	}
}

// addAlarmsPastLimit adds n alarms by r past the store, as a database has them that is older than
// the limit.
func addAlarmsPastLimit(t testing.TB, s *store.Store, db *sql.DB, r alarm.Rule, n int) {
	t.Helper()
	first := addAlarm(t, s, r)
	const q = `
		WITH added AS (
			INSERT INTO alarms (sensor_id, name, severity, rule)
			SELECT sensor_id, name, severity, rule FROM alarms, generate_series(2, $2) WHERE id = $1
			RETURNING id),
		inputs AS (
			INSERT INTO alarm_inputs (sensor_id, alarm_id)
			SELECT i.sensor_id, added.id FROM added, alarm_inputs i WHERE i.alarm_id = $1)
		INSERT INTO alarm_states (alarm_id, since, rule_version, rank, state, severity, memory)
		SELECT added.id, since, rule_version, rank, state, severity, memory
		FROM added, alarm_states
		WHERE alarm_id = $1`
	run(t, db, q, first.ID, n)
	const count = `SELECT count(*) FROM alarm_inputs WHERE sensor_id = $1`
	if got := scan[int](t, db, count, r.SensorID); got != n {
		t.Fatalf("got %d alarms, want %d", got, n)
	}
}

func TestAlarmsPerSensor_OlderDatabasesKeepTheirs(t *testing.T) {
	s, db := openRaw(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s").ID
	addAlarmsPastLimit(t, s, db, highRule(v), 150)
	r := highRule(v)
	if _, err := s.CreateAlarm(t.Context(), &r, noon); !errors.Is(err, store.ErrAlarmLimit) {
		t.Errorf("one more: got %v, want %v", err, store.ErrAlarmLimit)
	}
	r.ID, r.Name = scan[int64](t, db, `SELECT max(id) FROM alarms`), "hotter"
	if _, err := s.UpdateAlarm(t.Context(), &r, 0, "u", noon); err != nil {
		t.Errorf("a change: %v", err)
	}
	write(t, s, reading(v, 1, 90))
	const raised = `SELECT count(*) FROM alarm_states WHERE state = 'active_unacknowledged'`
	if got := scan[int](t, db, raised); got != 150 {
		t.Errorf("raised %d alarms, want 150", got)
	}
}
