package store_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// highRule raises above 80 and clears at 80 or below.
func highRule(sensor int64) alarm.Rule {
	return alarm.Rule{
		SensorID: sensor,
		Name:     "hot",
		Kind:     alarm.Threshold,
		Severity: alarm.Major,
		Limits:   &alarm.Limits{High: &alarm.Limit{Value: 80}},
	}
}

// addAlarm adds an alarm whose rule begins at noon.
func addAlarm(t testing.TB, s *store.Store, r alarm.Rule) store.Alarm {
	t.Helper()
	faults, err := s.CheckRule(t.Context(), &r)
	ok(t, err)
	if len(faults) > 0 {
		t.Fatalf("rule: %v", faults)
	}
	a, err := s.CreateAlarm(t.Context(), &r, noon)
	ok(t, err)
	return a
}

// journal is all events, as "id kind occurrence before>after", and checks that offsets have no gap.
func journal(t testing.TB, s *store.Store) []string {
	t.Helper()
	es, err := s.AlarmEvents(t.Context(), 0, 1e6)
	ok(t, err)
	var out []string
	for i, e := range es {
		if e.Offset != int64(i)+1 {
			t.Fatalf("offset %d at place %d", e.Offset, i)
		}
		out = append(out,
			fmt.Sprintf("%d %s %d %s>%s", e.AlarmID, e.Kind, e.Occurrence, e.Before, e.After))
	}
	return out
}

func wantJournal(t testing.TB, s *store.Store, want ...string) {
	t.Helper()
	if got := journal(t, s); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("journal: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestReadings_EvaluateAlarms(t *testing.T) {
	s := open(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	a := addAlarm(t, s, highRule(v.ID))
	write(t, s, reading(v.ID, 1, 70), reading(v.ID, 2, 81))
	write(t, s, reading(v.ID, 2, 81), reading(v.ID, 1, 70)) // again
	write(t, s, reading(v.ID, 0, 99))                       // late
	write(t, s, reading(v.ID, 4, 90), reading(v.ID, 3, 79)) // in the wrong order
	wantJournal(t, s,
		fmt.Sprintf("%d raised 1 normal>active_unacknowledged", a.ID),
		fmt.Sprintf("%d cleared 1 active_unacknowledged>returned_unacknowledged", a.ID),
		fmt.Sprintf("%d raised 2 returned_unacknowledged>active_unacknowledged", a.ID))
	got, err := s.Alarm(t.Context(), a.ID)
	ok(t, err)
	if got.StateName != "active_unacknowledged" || got.Severity != "major" ||
		!got.Since.Equal(noon.Add(4*time.Minute)) {
		t.Errorf("alarm: got %+v", got)
	}
}

func TestFaultEightWritersRaiseOnce(t *testing.T) {
	s, db := openRaw(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	addAlarm(t, s, highRule(v.ID))
	const writers = 8
	rounds := rounds(t, 25)
	for round := range rounds {
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				r := reading(v.ID, 10*round+1, 90)
				r.Timestamp = r.Timestamp.Add(time.Duration(w) * time.Second)
				if _, err := s.Write(t.Context(), []store.Reading{r},
					store.SideWrites{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := scan[int](t, db,
			`SELECT count(*) FROM alarm_events WHERE kind = 'raised' AND occurrence = $1`,
			round+1); n != 1 {
			t.Fatalf("round %d: raised %d times", round, n)
		}
		write(t, s, reading(v.ID, 10*round+5, 20))
	}
	if n := len(journal(t, s)); n != 2*rounds {
		t.Errorf("events: got %d, want %d", n, 2*rounds)
	}
}

func TestCommands_UseOneInstantEverywhere(t *testing.T) {
	s := open(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	a := addAlarm(t, s, highRule(v.ID))
	write(t, s, reading(v.ID, 1, 90))
	at := noon.Add(2 * time.Minute)
	now, err := s.CommandAlarm(t.Context(), a.ID,
		alarm.Command{Kind: alarm.Acknowledge, User: "o", Occurrence: 1, StateVersion: 1},
		at.Add(999*time.Nanosecond))
	ok(t, err)
	state, err := now.State()
	ok(t, err)
	events, err := s.AlarmEvents(t.Context(), 1, 10) // after the one that raised it
	ok(t, err)
	if !now.Since.Equal(at) || !state.AckedAt.Equal(at) || len(events) != 1 ||
		!events[0].At.Equal(at) {
		t.Errorf("got since %v, acknowledged at %v, events %+v, want %v", now.Since, state.AckedAt,
			events, at)
	}
}

func TestFaultAckNeverTouchesWhatItDidNotSee(t *testing.T) {
	s := open(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	a := addAlarm(t, s, highRule(v.ID))
	for round := range rounds(t, 25) {
		write(t, s, reading(v.ID, 10*round+1, 90))
		seen, err := s.Alarm(t.Context(), a.ID)
		ok(t, err)
		state, err := seen.State()
		ok(t, err)
		var wg sync.WaitGroup
		var ackErr error
		wg.Go(func() {
			_, ackErr = s.CommandAlarm(t.Context(), a.ID, alarm.Command{
				Kind:         alarm.Acknowledge,
				User:         "o",
				Occurrence:   state.Occurrence,
				StateVersion: state.Version,
			}, time.Now())
		})
		wg.Go(func() {
			if _, err := s.Write(t.Context(),
				[]store.Reading{reading(v.ID, 10*round+2, 20), reading(v.ID, 10*round+3, 95)},
				store.SideWrites{}); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if ackErr != nil && !errors.Is(ackErr, alarm.ErrStale) {
			t.Fatal(ackErr)
		}
		now, err := s.Alarm(t.Context(), a.ID)
		ok(t, err)
		if now.StateName != "active_unacknowledged" {
			t.Fatalf("round %d: the new occurrence is %s", round, now.StateName)
		}
		write(t, s, reading(v.ID, 10*round+6, 20))
	}
}

func TestPausedInstance_MakesNoSecondTransition(t *testing.T) {
	s, db := openRaw(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	a := addAlarm(t, s, highRule(v.ID))
	other := openOther(t, db)
	p := pauseWrite(t.Context(), t, s, db, v.GatewayID, reading(v.ID, 1, 90))
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := other.Write(t.Context(), []store.Reading{reading(v.ID, 2, 91)},
			store.SideWrites{})
		if err != nil {
			t.Error(err)
		}
	})
	within(t, "the other waits", func() bool {
		return scan[int](t, db, `
			SELECT count(*)
			FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND datname = current_database()`) > 1
	})
	p.kill()
	wg.Wait()
	write(t, s, reading(v.ID, 1, 90)) // it tries again, too late by now
	wantJournal(t, s, fmt.Sprintf("%d raised 1 normal>active_unacknowledged", a.ID))
}

func within(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func sweep(t testing.TB, s *store.Store, now time.Time) (events int) {
	t.Helper()
	events, err := s.SweepAlarms(t.Context(), now)
	ok(t, err)
	return events
}

func TestTimers_SurviveARestart(t *testing.T) {
	s, db := openRaw(t)
	gw := addGateway(t, s, "g").ID
	delayed, silent := addSensor(t, s, gw, "delayed"), addSensor(t, s, gw, "silent")
	r := highRule(delayed.ID)
	r.OnDelay = alarm.Duration(5 * time.Minute)
	a := addAlarm(t, s, r)
	b := addAlarm(t, s, alarm.Rule{
		SensorID:    silent.ID,
		Name:        "silent",
		Kind:        alarm.NoData,
		Severity:    alarm.Minor,
		NoDataAfter: alarm.Duration(10 * time.Minute),
	})
	write(t, s, reading(delayed.ID, 1, 90), reading(silent.ID, 1, 1))
	wantJournal(t, s)
	again := openOther(t, db)
	if n := sweep(t, again, noon.Add(4*time.Minute)); n != 0 {
		t.Errorf("too early: %d events", n)
	}
	sweep(t, again, noon.Add(time.Hour))
	sweep(t, s, noon.Add(time.Hour))
	wantJournal(t, s,
		fmt.Sprintf("%d raised 1 normal>active_unacknowledged", a.ID),
		fmt.Sprintf("%d raised 1 normal>active_unacknowledged", b.ID))
	es, err := s.AlarmEvents(t.Context(), 0, 1)
	ok(t, err)
	if want := noon.Add(6 * time.Minute); !es[0].At.Equal(want) {
		t.Errorf("raised at %v, want when the delay ended, %v", es[0].At, want)
	}
}

func TestSweepAlarms_IsSharedByInstances(t *testing.T) {
	s, db := openRaw(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	for range 50 {
		addAlarm(t, s, alarm.Rule{
			SensorID:    v.ID,
			Name:        "silent",
			Kind:        alarm.NoData,
			Severity:    alarm.Minor,
			NoDataAfter: alarm.Duration(time.Minute),
		})
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := s.SweepAlarms(t.Context(), noon.Add(time.Hour)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := scan[int](t, db, `SELECT count(*) FROM alarm_events`); n != 50 {
		t.Errorf("events: got %d, want 50", n)
	}
}

func TestCause_Suppresses(t *testing.T) {
	s := open(t)
	gw := addGateway(t, s, "g").ID
	pump, flow := addSensor(t, s, gw, "pump"), addSensor(t, s, gw, "flow")
	a := addAlarm(t, s, highRule(pump.ID))
	r := highRule(flow.ID)
	r.SuppressedBy = []int64{a.ID}
	b := addAlarm(t, s, r)
	write(t, s, reading(pump.ID, 1, 90))
	write(t, s, reading(flow.ID, 2, 90))
	write(t, s, reading(pump.ID, 3, 20))
	got := strings.Join(journal(t, s), "\n")
	for _, want := range []string{
		fmt.Sprintf("%d suppressed 0 normal>suppressed", b.ID),
		fmt.Sprintf("%d raised 1 suppressed>suppressed", b.ID),
		fmt.Sprintf("%d unsuppressed 1 suppressed>active_unacknowledged", b.ID),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("journal lacks %q:\n%s", want, got)
		}
	}
	_, err := s.DeleteAlarm(t.Context(), a.ID, 0, "e", false, noon)
	isError(t, err, store.ErrInUse)
}

func TestDeleteSensor_DeletesItsAlarms(t *testing.T) {
	s := open(t)
	gw := addGateway(t, s, "g").ID
	v, other := addSensor(t, s, gw, "s"), addSensor(t, s, gw, "other")
	a := addAlarm(t, s, highRule(v.ID))
	d, err := s.DeleteSensor(t.Context(), v.ID, 0, true)
	ok(t, err)
	if d.Alarms != 1 {
		t.Errorf("would go: %+v", d)
	}
	deviates := addAlarm(t, s, alarm.Rule{
		SensorID:  other.ID,
		Name:      "apart",
		Kind:      alarm.Deviates,
		Severity:  alarm.Minor,
		Deviation: &alarm.Deviation{SensorID: v.ID, Limit: 5},
	})
	_, err = s.DeleteSensor(t.Context(), v.ID, 0, false)
	isError(t, err, store.ErrInUse)
	_, err = s.DeleteAlarm(t.Context(), deviates.ID, 0, "e", false, noon)
	ok(t, err)
	_, err = s.DeleteSensor(t.Context(), v.ID, 0, false)
	ok(t, err)
	wantJournal(t, s, fmt.Sprintf("%d deleted 0 normal>normal", deviates.ID),
		fmt.Sprintf("%d deleted 0 normal>normal", a.ID))
	_, err = s.Alarm(t.Context(), a.ID)
	isError(t, err, store.ErrNotFound)
	write(t, s, reading(other.ID, 1, 90))
}

// TestChangedRule_AppliesToLaterReadingsOfAllInstances has one instance change rules and another
// store, at once, what they are about.
func TestChangedRule_AppliesToLaterReadingsOfAllInstances(t *testing.T) {
	s, db := openRaw(t)
	gw := addGateway(t, s, "g").ID
	x, y := addSensor(t, s, gw, "x"), addSensor(t, s, gw, "y")
	other := openOther(t, db)
	write(t, other, reading(x.ID, 1, 70), reading(y.ID, 1, 70)) // it knows of no rules
	cause := addAlarm(t, s, highRule(x.ID))
	write(t, other, reading(x.ID, 2, 90))
	r := highRule(x.ID)
	r.ID, r.Limits.High.Value = cause.ID, 95
	_, err := s.UpdateAlarm(t.Context(), &r, cause.RuleVersion, "e", noon)
	ok(t, err)
	_, err = s.UpdateAlarm(t.Context(), &r, cause.RuleVersion, "e", noon)
	isError(t, err, store.ErrStale)
	write(t, other, reading(x.ID, 3, 91)) // by the old rule it would stay
	r = highRule(y.ID)
	r.SuppressedBy = []int64{cause.ID}
	effect := addAlarm(t, s, r)
	write(t, other, reading(x.ID, 4, 99))
	write(t, other, reading(y.ID, 5, 90))
	_, err = s.DeleteAlarm(t.Context(), effect.ID, 0, "e", false, noon)
	ok(t, err)
	write(t, other, reading(y.ID, 6, 20))
	wantJournal(
		t, s,
		fmt.Sprintf("%d raised 1 normal>active_unacknowledged", cause.ID),
		fmt.Sprintf("%d rule_changed 1 active_unacknowledged>active_unacknowledged", cause.ID),
		fmt.Sprintf("%d cleared 1 active_unacknowledged>returned_unacknowledged", cause.ID),
		fmt.Sprintf("%d raised 2 returned_unacknowledged>active_unacknowledged", cause.ID),
		fmt.Sprintf("%d suppressed 0 normal>suppressed", effect.ID),
		fmt.Sprintf("%d raised 1 suppressed>suppressed", effect.ID),
		fmt.Sprintf("%d deleted 1 suppressed>normal", effect.ID),
	)
}

// openOther opens another store on the same database.
func openOther(t testing.TB, db *sql.DB) *store.Store {
	t.Helper()
	return openAt(t, scan[string](t, db, `
		SELECT format(
			'host=%s port=%s user=%s dbname=%s sslmode=disable synchronous_commit=on',
			split_part(current_setting('unix_socket_directories'), ',', 1),
			current_setting('port'), current_user, current_database())`))
}
