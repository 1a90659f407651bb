package e2e

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

// inOrder sends one message of a gateway at a time, so that readings of a sensor arrive in order.
var inOrder = load{senders: 1, samples: 1, qos: 1}

// addAlarms creates an alarm on the sensor of each device that is raised and cleared as the numbers
// of the ledger rise, and returns their ids.
func (p *process) addAlarms(devices []device) []int64 {
	p.t.Helper()
	api := p.login()
	var ids []int64
	for _, d := range devices {
		rule := client.AlarmRule{
			Name:       "Comes and goes",
			Kind:       client.AlarmKindExpression,
			Severity:   "major",
			MinSamples: new(2),
		}
		rule.Expression = &client.AlarmExpression{
			Text:   "x - 200 * floor(x / 200) < 100",
			Inputs: map[string]client.ID{"x": d.sensorID},
		}
		a, err := api.CreateAlarmWithResponse(p.t.Context(),
			client.AlarmCreate{SensorID: d.sensorID, Rule: rule})
		if err != nil || a.JSON201 == nil {
			p.t.Fatalf("create alarm: %v %s", err, a.Body)
		}
		ids = append(ids, a.JSON201.ID)
	}
	return ids
}

// checkAlarms compares the alarm log of the database at dsn with a simulation of the alarms on the
// stored readings: the same events, each once, with offsets from 1 without gaps.
func (l *ledger) checkAlarms(t *testing.T, dsn string, alarms []int64) {
	t.Helper()
	ctx := t.Context()
	st, err := store.Open(ctx, dsn, store.DefaultConfig(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	line := func(
		kind string, occurrence int64, before, after string, at time.Time, value *float64,
	) string {
		return fmt.Sprintf("%d %s %s>%s %s %v", occurrence, kind, before, after,
			at.UTC().Format(time.RFC3339Nano), *value)
	}
	got, last := map[int64][]string{}, int64(0)
	for {
		es, err := st.AlarmEvents(ctx, last, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(es) == 0 {
			break
		}
		for _, e := range es {
			if last++; e.Offset != last {
				t.Fatalf("got offset %d in the log, want %d", e.Offset, last)
			}
			if !slices.Contains(alarms, e.AlarmID) {
				continue // of a system sensor
			}
			got[e.AlarmID] = append(got[e.AlarmID],
				line(e.Kind, e.Occurrence, e.Before, e.After, e.At, e.Value))
		}
	}
	if _, end, err := st.AlarmLog(ctx); err != nil || end != last {
		t.Errorf("got %d, %v as the last offset, want %d", end, err, last)
	}
	for _, id := range alarms {
		a, err := st.Alarm(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.Rule()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Compile(); err != nil {
			t.Fatal(err)
		}
		var want []string
		state, _, err := st.Simulate(ctx, &r, l.base, l.base.Add(24*time.Hour),
			func(e alarm.Event) bool {
				want = append(want,
					line(string(e.Kind), e.Occurrence, e.Before.Name(), e.After.Name(), e.At,
						e.Value))
				return true
			})
		if err != nil {
			t.Fatal(err)
		}
		if len(want) < 2 {
			t.Errorf("alarm %d: %d events, want some", id, len(want))
		}
		if !slices.Equal(got[id], want) {
			at := 0
			for at < min(len(got[id]), len(want)) && got[id][at] == want[at] {
				at++
			}
			t.Errorf("alarm %d: got %d events, want %d; they differ from number %d on:\n got "+
				"%q\nwant %q", id, len(got[id]), len(want), at,
				first(got[id][at:]), first(want[at:]))
		}
		if a.StateName != state.Code().Name() {
			t.Errorf("alarm %d: got state %s, want %s", id, a.StateName, state.Code().Name())
		}
	}
	t.Logf("%d events of %d alarms", last, len(alarms))
}

func first(lines []string) []string { return lines[:min(3, len(lines))] }

func TestFaultKillNine_KeepsTheAlarmLogComplete(t *testing.T) {
	t.Parallel()
	random := randomSource(t)
	dir, ports := dataDir(t), freePorts(t)
	p := serve(t, dir, ports...)
	l := newLedger(p.registerAll(12))
	alarms := p.addAlarms(l.devices)
	stop := l.run(t, p.mqtt, inOrder)
	for range rounds(t, 3) {
		l.awaitAcks(p, 500, 20*time.Second)
		sleepUpTo(random, 200*time.Millisecond)
		p.kill()
		p = serve(t, dir, ports...)
	}
	l.awaitAcks(p, 500, 20*time.Second)
	stop()
	l.check(t, p.dsn())
	l.checkAlarms(t, p.dsn(), alarms)
}

func TestFaultCutAtCommit_KeepsTheAlarmLogComplete(t *testing.T) {
	t.Parallel()
	random := randomSource(t)
	db := pgtest.Server(t)
	w := newDatabaseProxy(t, db.DSN())
	dir, settings := dataDir(t), append(freePorts(t), "DATABASE_URL="+w.dsn())
	p := serve(t, dir, settings...)
	l := newLedger(p.registerAll(12))
	alarms := p.addAlarms(l.devices)
	stop := l.run(t, p.mqtt, inOrder)
	for i := range rounds(t, 4) {
		l.awaitAcks(p, 500, 20*time.Second)
		w.cutNext(1 + cutPoint(random.IntN(int(cutPoints)-1)))
		p.eventually(10*time.Second, "a connection is cut", func() bool { return w.cutCount() > i })
		if random.IntN(2) == 0 { // else the same process tries again
			p.kill()
			p = serve(t, dir, settings...)
		}
	}
	l.awaitAcks(p, 500, 20*time.Second)
	stop()
	l.check(t, db.DSN())
	l.checkAlarms(t, db.DSN(), alarms)
}
