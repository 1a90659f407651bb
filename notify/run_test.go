package notify_test

import (
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// TestReading_BecomesANotification goes the whole way from readings by an alarm and the alarm log
// to a receiver.
func TestReading_BecomesANotification(t *testing.T) {
	p := newFixture(t)
	r := newReceiver(t, always(204))
	p.run(`DELETE FROM alarms`)
	p.route(store.Route{
		ChannelID:     p.webhook(r.URL).ID,
		Severities:    []string{"major"},
		Labels:        store.LabelMap{"motor": "M7"},
		RemindSeconds: 60,
	})
	began := time.Now().UTC().Truncate(time.Second)
	rule := &alarm.Rule{
		SensorID: 1,
		Name:     "hot",
		Kind:     alarm.Threshold,
		Severity: alarm.Major,
		Labels:   map[string]string{"motor": "M7"},
		Limits:   &alarm.Limits{High: &alarm.Limit{Value: 80}},
	}
	a, err := p.store.CreateAlarm(t.Context(), rule, began)
	if err != nil {
		t.Fatal(err)
	}
	n := p.notifier()
	write := func(second int, value float64) {
		t.Helper()
		at := began.Add(time.Duration(second) * time.Second)
		_, err := p.store.Write(t.Context(),
			[]store.Reading{{SensorID: 1, GatewayID: 1, Timestamp: at, Received: at, Value: value}},
			store.SideWrites{})
		if err != nil {
			t.Fatal(err)
		}
	}
	command := func(c alarm.Command) {
		t.Helper()
		if a, err = p.store.CommandAlarm(t.Context(), a.ID, c, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	step := func(second int, want string) {
		t.Helper()
		p.step(n, began.Add(time.Duration(second)*time.Second))
		if got := p.kinds(); got != want {
			t.Fatalf("after %d s: got %q, want %q", second, got, want)
		}
	}
	write(1, 20)
	step(1, "")
	write(2, 81)
	write(2, 81) // a duplicate
	step(2, "notification:1")
	step(63, "notification:1 reminder:1")
	command(alarm.Command{
		Kind:    alarm.Shelve,
		User:    "operator",
		Comment: "known",
		Until:   time.Now().Add(time.Hour),
	})
	write(3, 20)
	write(4, 99)
	step(300, "notification:1 reminder:1") // shelved: no notification
	command(alarm.Command{Kind: alarm.Unshelve, User: "operator"})
	write(5, 20)
	write(6, 85)
	step(301, "notification:1 reminder:1 notification:2") // cleared, and raised again
	step(362, "notification:1 reminder:1 notification:2 reminder:1")
	state, err := a.State()
	if err != nil {
		t.Fatal(err)
	}
	current, err := p.store.Alarm(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if state, err = current.State(); err != nil {
		t.Fatal(err)
	}
	command(alarm.Command{
		Kind:         alarm.Acknowledge,
		User:         "operator",
		Occurrence:   state.Occurrence,
		StateVersion: state.Version,
	})
	step(3600, "notification:1 reminder:1 notification:2 reminder:1")
	if got := r.all(); len(got) != 4 || !strings.Contains(got[0].body, `"message":"`) ||
		!strings.Contains(got[0].body, `"motor":"M7"`) {
		t.Errorf("got %d notifications, want 4; the first is %s", len(got), got[0].body)
	}
}
