package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// useSensor and useGateway take something into use, or out of it.
func useSensor(t testing.TB, s *store.Store, id int64, active bool) {
	t.Helper()
	_, err := s.UpdateSensor(t.Context(), id, 0, store.SensorChange{IsActive: &active})
	ok(t, err)
}

func useGateway(t testing.TB, s *store.Store, id int64, active bool) {
	t.Helper()
	_, err := s.UpdateGateway(t.Context(), id, 0, store.GatewayChange{IsActive: &active})
	ok(t, err)
}

// happened is all events, as "kind after comment".
func happened(t testing.TB, s *store.Store, want ...string) {
	t.Helper()
	es, err := s.AlarmEvents(t.Context(), 0, 1e6)
	ok(t, err)
	got := []string{}
	for _, e := range es {
		got = append(got, strings.TrimSpace(e.Kind+" "+e.After+" "+e.Comment))
	}
	if !slices.Equal(got, want) {
		t.Errorf("events: got\n%q\nwant\n%q", got, want)
	}
}

// ago is a reading so long before now.
func ago(sensor int64, d time.Duration, value float64) store.Reading {
	at := time.Now().UTC().Add(-d).Truncate(time.Microsecond)
	return store.Reading{SensorID: sensor, Timestamp: at, Received: at, Value: value}
}

// makeAlarm makes an alarm now.
func makeAlarm(t testing.TB, s *store.Store, r alarm.Rule) store.Alarm {
	t.Helper()
	r.Name, r.Severity = "alarm", alarm.Major
	a, err := s.CreateAlarm(t.Context(), &r, time.Now())
	ok(t, err)
	return a
}

func silentRule(sensor int64) alarm.Rule {
	return alarm.Rule{
		SensorID:    sensor,
		Kind:        alarm.NoData,
		NoDataAfter: alarm.Duration(10 * time.Minute),
	}
}

func TestNotInUse_SilenceRaisesNothing(t *testing.T) {
	s := open(t)
	g := addGateway(t, s, "g")
	addSensor(t, s, g.ID, "a")
	makeAlarm(t, s, silentRule(1))
	sweep := func(in time.Duration) {
		t.Helper()
		_, err := s.SweepAlarms(t.Context(), time.Now().Add(in))
		ok(t, err)
	}
	const sensor, gateway = "sensor 1 (a) is not in use", "gateway 1 (g) is not in use"
	useSensor(t, s, 1, false)
	sweep(time.Hour)
	useGateway(t, s, g.ID, false)
	useSensor(t, s, 1, true)
	sweep(time.Hour)
	e, err := s.ExplainAlarm(t.Context(), 1, time.Now())
	ok(t, err)
	if !slices.Contains(e.Why, "It rests: "+gateway+". It is judged again when that is in use.") ||
		len(e.Timers) != 0 {
		t.Errorf("explanation: got %q, timers %v", e.Why, e.Timers)
	}
	happened(t, s, "suppressed suppressed "+sensor)
	useGateway(t, s, g.ID, true)
	sweep(9 * time.Minute) // it is counted from here
	happened(t, s, "suppressed suppressed "+sensor, "unsuppressed normal in use again")
	sweep(11 * time.Minute)
	useGateway(t, s, g.ID, false)
	useGateway(t, s, g.ID, true)
	happened(t, s, "suppressed suppressed "+sensor, "unsuppressed normal in use again",
		"raised active_unacknowledged",
		"suppressed suppressed "+gateway, "unsuppressed active_unacknowledged in use again",
		"cleared returned_unacknowledged judged when it was in use again")
}

func TestNotInUse_StandingAlarmsRest(t *testing.T) {
	s := open(t)
	g := addGateway(t, s, "g")
	addSensor(t, s, g.ID, "a")
	a := makeAlarm(t, s, highRule(1))
	write(t, s, ago(1, time.Minute, 90))
	useGateway(t, s, g.ID, false)
	useGateway(t, s, g.ID, false)
	resting, err := s.Alarm(t.Context(), a.ID)
	ok(t, err)
	if resting.StateName != "suppressed" {
		t.Errorf("state: got %s", resting.StateName)
	}
	write(t, s, ago(1, time.Second, 20)) // such as was on its way
	const out = "suppressed suppressed gateway 1 (g) is not in use"
	happened(t, s, "raised active_unacknowledged", out)
	useGateway(t, s, g.ID, true)
	happened(t, s, "raised active_unacknowledged", out,
		"unsuppressed active_unacknowledged in use again",
		"cleared returned_unacknowledged judged when it was in use again")
	write(t, s, ago(1, 0, 95))
	if got := journal(t, s); len(got) != 5 {
		t.Errorf("after it resumed: got %q", got)
	}
}

func TestNotInUse_AlarmsOfOtherSensorsAndNewAlarmsRest(t *testing.T) {
	s := open(t)
	addSensor(t, s, addGateway(t, s, "g").ID, "a")
	addSensor(t, s, addGateway(t, s, "h").ID, "b")
	differs := alarm.Rule{
		SensorID:  1,
		Kind:      alarm.Deviates,
		Deviation: &alarm.Deviation{SensorID: 2, Limit: 10},
	}
	makeAlarm(t, s, differs)
	useSensor(t, s, 2, false)
	makeAlarm(t, s, highRule(2))
	write(t, s, ago(2, time.Minute, 10), ago(1, time.Minute, 90))
	const out = "suppressed suppressed sensor 2 (b) is not in use"
	happened(t, s, out, out)
	useSensor(t, s, 2, true)
	happened(t, s, out, out, "unsuppressed normal in use again",
		"raised active_unacknowledged judged when it was in use again",
		"unsuppressed normal in use again")
}
