package selfmonitor_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/selfmonitor"
	"github.com/oei-ms/oei-ms/store"
)

func TestMain(m *testing.M) {
	pgtest.Template(func(dsn string) error {
		_, _, err := store.Migrate(context.Background(), dsn)
		return err
	})
	pgtest.Main(m)
}

// fixture is a database with a monitor on it, which measures whenever measure is called.
type fixture struct {
	t   *testing.T
	dsn string
	db  *sql.DB // for the test itself
	*store.Store
	monitor *selfmonitor.Monitor
	disk    float64
	lag     time.Duration
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	p := &fixture{t: t, dsn: pgtest.DSN(t) + " synchronous_commit=on", disk: 50}
	var err error
	if p.db, err = sql.Open("postgres", p.dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.db.Close() })
	p.Store = p.open()
	p.monitor = p.newMonitor(p.Store)
	return p
}

func (p *fixture) newMonitor(s *store.Store) *selfmonitor.Monitor {
	return selfmonitor.New(selfmonitor.DefaultConfig(), s, selfmonitor.Sources{
		IngestLag: func(time.Time) time.Duration { return p.lag },
		DiskFree:  func() (float64, error) { return p.disk, nil },
		Stored:    func([]store.Reading, bool) {},
	}, slog.New(slog.DiscardHandler))
}

func (p *fixture) open() *store.Store {
	p.t.Helper()
	s, err := store.Open(p.t.Context(), p.dsn, store.DefaultConfig(), slog.New(slog.DiscardHandler))
	p.ok(err)
	p.t.Cleanup(func() { _ = s.Close() })
	return s
}

func (p *fixture) ok(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *fixture) run(q string, args ...any) {
	p.t.Helper()
	if _, err := p.db.ExecContext(p.t.Context(), q, args...); err != nil {
		p.t.Fatalf("%s: %v", q, err)
	}
}

// measure measures as if a minute had passed since the last time.
func (p *fixture) measure() {
	p.t.Helper()
	p.run(`UPDATE system_watch SET at = now() - interval '1 minute'`)
	p.ok(selfmonitor.Measure(p.monitor, p.t.Context()))
}

// sweep fires the alarm timers that are due within d.
func (p *fixture) sweep(d time.Duration) {
	p.t.Helper()
	_, err := p.SweepAlarms(p.t.Context(), time.Now().Add(d))
	p.ok(err)
}

func (p *fixture) gateway(key string) store.Gateway {
	p.t.Helper()
	g, err := p.CreateGateway(p.t.Context(),
		store.Gateway{Key: key, Name: "Gateway " + key, IsActive: true, Metadata: "{}"})
	p.ok(err)
	return g
}

func (p *fixture) presence(g store.Gateway, status string, skew time.Duration) {
	p.t.Helper()
	_, err := p.SetPresence(p.t.Context(),
		[]store.Presence{{GatewayID: g.ID, Status: status, At: time.Now(), Skew: &skew}})
	p.ok(err)
}

// events lists the alarm events, as "kind gateway: message".
func (p *fixture) events() []string {
	p.t.Helper()
	list, err := p.AlarmEvents(p.t.Context(), 0, 1000)
	p.ok(err)
	out := []string{}
	for _, e := range list {
		out = append(out,
			strings.TrimSuffix(fmt.Sprintf("%s %d: %s", e.Kind, e.GatewayID, e.Message), ": "))
	}
	return out
}

func (p *fixture) want(want ...string) {
	p.t.Helper()
	if got := p.events(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		p.t.Errorf("events: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// own returns the id of the gateway oei-ms.
func (p *fixture) own() (id int64) {
	p.t.Helper()
	p.ok(p.db.QueryRow(`SELECT id FROM gateways WHERE is_system`).Scan(&id))
	return id
}

// alarms lists the alarms of system sensors with this label.
func (p *fixture) alarms(label string) []store.Alarm {
	p.t.Helper()
	list, err := p.Alarms(p.t.Context(),
		store.AlarmFilter{Labels: map[string]string{"system": label}}, store.WorstFirst, nil, 100)
	p.ok(err)
	return list
}

func TestMonitor_HealthySystemRaisesNothing(t *testing.T) {
	p := newFixture(t)
	p.gateway("never-seen")
	g := p.gateway("press-1")
	p.presence(g, "online", time.Second)
	for range 3 {
		p.measure()
		p.sweep(time.Hour)
	}
	p.want()
	if g.ID != 2 {
		t.Errorf("the second gateway of the plant has id %d", g.ID)
	}
	for label, n := range map[string]int{
		"disk_free": 1, "ingest_lag": 1, "faulted_alarms": 1, "gateway_offline": 1, "clock_skew": 1,
		"rejections": 0,
	} {
		if got := p.alarms(label); len(got) != n {
			t.Errorf("alarms %s: got %d, want %d", label, len(got), n)
		}
	}
}

func TestSystemGateway_KeyAndUseStay(t *testing.T) {
	p := newFixture(t)
	p.measure()
	for name, change := range map[string]store.GatewayChange{
		"another key": {Key: new("foo")}, "not in use": {IsActive: new(false)},
	} {
		_, err := p.UpdateGateway(t.Context(), p.own(), 0, change)
		if _, ok := errors.AsType[*store.SystemOwnedError](err); !ok {
			t.Errorf("%s: got %v, want a SystemOwnedError", name, err)
		}
	}
	sensor := p.alarms("disk_free")[0].SensorID
	for name, change := range map[string]store.SensorChange{
		"another key": {Key: new("foo")}, "not in use": {IsActive: new(false)},
	} {
		_, err := p.UpdateSensor(t.Context(), sensor, 0, change)
		if _, ok := errors.AsType[*store.SystemOwnedError](err); !ok {
			t.Errorf("its sensor, %s: got %v, want a SystemOwnedError", name, err)
		}
	}
	if g, err := p.UpdateGateway(t.Context(), p.own(), 0,
		store.GatewayChange{Location: new("Hall 3")}); err != nil || g.Location != "Hall 3" {
		t.Errorf("its location: got %q, %v", g.Location, err)
	}
}

func TestOfflineGateway_RaisesOnce(t *testing.T) {
	p := newFixture(t)
	g := p.gateway("press-1")
	p.presence(g, "online", 0)
	p.measure()
	p.presence(g, "offline", 0) // it reconnects often
	p.measure()
	p.presence(g, "online", 0)
	p.measure()
	p.sweep(time.Hour)
	p.want()

	p.presence(g, "offline", 0)
	p.measure()
	p.sweep(time.Minute)
	p.want()
	p.sweep(3 * time.Minute)
	raised := fmt.Sprintf("raised %d: Gateway press-1 is offline", g.ID)
	p.want(raised)

	// a restart: its state is unknown, and it does not reconnect
	p.ok(p.ResetPresence(t.Context(), true))
	p.Store = p.open()
	p.monitor = p.newMonitor(p.Store)
	p.measure()
	p.sweep(time.Hour)
	p.want(raised)

	p.presence(g, "online", 0)
	p.measure()
	p.sweep(time.Hour)
	p.want(raised, fmt.Sprintf("cleared %d", g.ID))
}

func TestOfflineGateway_RaisesWhenItDoesNotReconnectAfterARestart(t *testing.T) {
	p := newFixture(t)
	g, off := p.gateway("press-1"), p.gateway("press-2")
	p.presence(g, "online", 0)
	p.presence(off, "online", 0)
	p.measure()
	// out of use, it may be offline
	_, err := p.UpdateGateway(t.Context(), off.ID, 0, store.GatewayChange{IsActive: new(bool)})
	p.ok(err)
	p.ok(p.ResetPresence(t.Context(), true))
	p.measure()
	p.sweep(3 * time.Minute)
	rests := fmt.Sprintf("suppressed %d", off.ID) // its offline and clock alarms
	p.want(rests, rests, fmt.Sprintf("raised %d: Gateway press-1 is offline", g.ID))
}

func TestMonitor_RaisesForClockRejectionsDiskAndLag(t *testing.T) {
	p := newFixture(t)
	g := p.gateway("press-1")
	p.presence(g, "online", -90*time.Second)
	p.measure()
	p.ok(p.AddRejectionCounts(t.Context(), map[int64]int64{g.ID: 100, 0: 61}))
	p.disk, p.lag = 9.94, 45*time.Second
	p.measure()
	p.sweep(2 * time.Minute)
	p.disk = 2
	p.measure()
	own := p.own()
	p.want(
		fmt.Sprintf("raised %d: The clock of Gateway press-1 is -90 s ahead", g.ID),
		fmt.Sprintf("raised %d: The oldest message has waited 45 s to be stored", own),
		fmt.Sprintf("raised %d: 9.9 %% of the disk is free", own),
		fmt.Sprintf("raised %d: More than 60 messages or samples of Gateway press-1 "+
			"are rejected per minute", g.ID),
		fmt.Sprintf("raised %d: More than 60 messages or samples of gateways that are not "+
			"registered are rejected per minute", own),
		fmt.Sprintf("escalated %d: 2 %% of the disk is free", own))
	p.presence(g, "online", 0)
	p.disk, p.lag = 50, 0
	p.measure()
	p.sweep(2 * time.Minute)
	if got := p.events()[6:]; strings.Count(strings.Join(got, "\n"), "cleared") != 5 {
		t.Errorf("after all recovered: got %q, want 5 cleared", got)
	}
}

func TestFaultedAlarms_RaiseOneAlarm(t *testing.T) {
	p := newFixture(t)
	g := p.gateway("press-1")
	v, err := p.CreateSensor(t.Context(),
		store.Sensor{
			GatewayID: g.ID,
			Key:       "t1",
			Name:      "t1",
			Type:      "temperature",
			IsActive:  true,
			Tags:      "{}",
		})
	p.ok(err)
	r := alarm.Rule{
		SensorID:   v.ID,
		Name:       "inverse",
		Kind:       alarm.Expressed,
		Severity:   alarm.Minor,
		Expression: &alarm.Expression{Text: "1 / x > 2", Inputs: map[string]int64{"x": v.ID}},
	}
	_, err = p.CreateAlarm(t.Context(), &r, time.Now())
	p.ok(err)
	p.measure()
	at := time.Now().UTC().Truncate(time.Microsecond)
	write := func(value float64) {
		t.Helper()
		at = at.Add(time.Second)
		res, err := p.Write(t.Context(),
			[]store.Reading{{SensorID: v.ID, Timestamp: at, Received: at, Value: value}},
			store.SideWrites{})
		p.ok(err)
		if res.Outcomes[0] != store.Stored {
			t.Errorf("the reading: got %v, want stored", res.Outcomes[0])
		}
	}
	write(0)
	p.measure()
	write(5)
	p.measure()
	p.want(fmt.Sprintf("faulted %d", g.ID),
		fmt.Sprintf("raised %d: Alarms that cannot be evaluated: 1", p.own()),
		fmt.Sprintf("recovered %d", g.ID), fmt.Sprintf("cleared %d", p.own()))
}

func TestMonitor_OneOfSeveralInstancesMeasures(t *testing.T) {
	p := newFixture(t)
	g := p.gateway("press-1")
	p.presence(g, "online", 0)
	p.measure()
	p.presence(g, "offline", 0)
	p.lag = 40 * time.Second
	var monitors []*selfmonitor.Monitor
	for range 4 {
		m := p.newMonitor(p.open())
		p.ok(selfmonitor.Measure(m, t.Context())) // reports its lag, and measures nothing yet
		monitors = append(monitors, m)
	}
	var stored int
	p.ok(p.db.QueryRow(`SELECT count(*) FROM sensor_data WHERE value = 1`).Scan(&stored))
	if stored != 0 {
		t.Errorf("got %d readings of instances whose turn it was not, want 0", stored)
	}
	var wg sync.WaitGroup
	for _, m := range monitors {
		wg.Go(func() {
			for range 5 {
				p.run(`UPDATE system_watch SET at = at - interval '1 minute'`)
				if err := selfmonitor.Measure(m, t.Context()); err != nil {
					t.Error(err)
				}
				if _, err := p.SweepAlarms(t.Context(), time.Now().Add(3*time.Minute)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	raised := 0
	for _, e := range p.events() {
		if strings.HasPrefix(e, "raised") {
			raised++
		}
	}
	if raised != 2 {
		t.Errorf("got %q, want two raised: the gateway and the lag", p.events())
	}
	var n int
	p.ok(p.db.QueryRow(`SELECT count(*) FROM sensors`).Scan(&n))
	if n != 5 { // two of the gateway; disk, lag and faulted
		t.Errorf("sensors: got %d, want 5", n)
	}
}

func TestDeletedGateway_DeletesItsSystemSensors(t *testing.T) {
	p := newFixture(t)
	g := p.gateway("press-1")
	p.presence(g, "offline", 0)
	p.measure()
	p.sweep(3 * time.Minute)
	d, err := p.DeleteGateway(t.Context(), g.ID, 0, false, false)
	p.ok(err)
	if d.Sensors != 0 || d.Alarms != 2 {
		t.Errorf("deleted %+v, want no sensors of the plant and two alarms", d)
	}
	p.measure()
	p.want(fmt.Sprintf("raised %d: Gateway press-1 is offline", g.ID),
		fmt.Sprintf("deleted %d", g.ID), fmt.Sprintf("deleted %[1]d", g.ID))
	if n := len(p.alarms("gateway_offline")); n != 0 {
		t.Errorf("alarms: got %d, want 0", n)
	}
}

func TestDeletedAlarm_IsNotCreatedAgain(t *testing.T) {
	p := newFixture(t)
	p.measure()
	a := p.alarms("disk_free")[0]
	_, err := p.DeleteAlarm(t.Context(), a.ID, 0, "engineer", false, time.Now())
	p.ok(err)
	p.disk = 1
	p.measure()
	if got := p.alarms("disk_free"); len(got) != 0 {
		t.Errorf("got %+v, want none", got)
	}
}

func TestSystemGateway_CannotBeChangedOrUsed(t *testing.T) {
	p := newFixture(t)
	plants := p.gateway("oei-ms") // the plant had one of this name before
	p.measure()
	own := p.own()
	if own == plants.ID {
		t.Fatal("a gateway of the plant is used as the system gateway")
	}
	list, err := p.Sensors(t.Context(), store.SensorFilter{GatewayID: &own}, 0, 10)
	p.ok(err)
	errs := map[string]error{}
	_, errs["delete the gateway"] = p.DeleteGateway(t.Context(), own, 0, true, false)
	_, errs["delete a sensor"] = p.DeleteSensor(t.Context(), list[0].ID, 0, false)
	_, errs["change a sensor's key"] = p.UpdateSensor(t.Context(), list[0].ID, 0,
		store.SensorChange{Key: new(string)})
	_, errs["add a sensor"] = p.CreateSensor(t.Context(),
		store.Sensor{GatewayID: own, Key: "x", Name: "x", Type: "x", Tags: "{}"})
	_, _, _, errs["make a credential"] = p.AddCredential(t.Context(), own, "secret")
	for what, err := range errs {
		if _, ok := errors.AsType[*store.SystemOwnedError](err); !ok {
			t.Errorf("%s: got %v, want a SystemOwnedError", what, err)
		}
	}
	if _, err := p.LoginByCertificate(t.Context(), "oei-ms-2"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a certificate in its name: got %v, want %v", err, store.ErrNotFound)
	}
	if _, err := p.UpdateSensor(t.Context(), list[0].ID, 0,
		store.SensorChange{Name: &plants.Name}); err != nil {
		t.Errorf("its name may be changed: %v", err)
	}
}
