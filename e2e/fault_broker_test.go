package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/oei-ms/oei-ms/internal/mosquitto"
	"github.com/oei-ms/oei-ms/internal/pgtest"
)

func TestFaultKillNine_WithExternalBrokerLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	random := randomSource(t)
	m := mosquitto.Start(t)
	settings := append(freePorts(t), "MQTT_HOST="+m.Host(), fmt.Sprintf("MQTT_PORT=%d", m.Port()))
	dir := dataDir(t)
	p := serve(t, dir, settings...)
	l := newLedger(p.registerAll(4))
	stop := l.run(t, m.Addr(), load{senders: 16, samples: 1, qos: 1, pause: 20 * time.Millisecond})
	for range rounds(t, 5) {
		l.awaitAcks(p, 100, 20*time.Second)
		sleepUpTo(random, 200*time.Millisecond)
		p.kill()
		p = serve(t, dir, settings...)
	}
	l.awaitAcks(p, 100, 20*time.Second)
	stop()
	l.awaitStored(p, p.dsn())
	l.check(t, p.dsn())
}

// TestFaultKillNineOfExternalBroker does not want every reading: a broker that is killed may lose
// what it has acknowledged and not saved.
func TestFaultKillNineOfExternalBroker(t *testing.T) {
	t.Parallel()
	m := mosquitto.Start(t)
	p := serve(t, dataDir(t), "MQTT_HOST="+m.Host(), fmt.Sprintf("MQTT_PORT=%d", m.Port()))
	l := newLedger(p.registerAll(4))
	l.run(t, m.Addr(), load{senders: 16, samples: 1, qos: 1, pause: 20 * time.Millisecond})
	stored := func() int { return query[int](t, p.dsn(), countLedgers) }
	for range rounds(t, 3) {
		l.awaitAcks(p, 100, 20*time.Second)
		m.Kill()
		m.Run()
		l.awaitAcks(p, 100, 20*time.Second)
		before := stored() // none of those that are on their way now came before the kill
		p.eventually(15*time.Second, "readings are stored again",
			func() bool { return stored() > before+1000 })
	}
	l.stored(t, p.dsn()) // each as it was sent, and once
}

func TestFaultRedelivery_StoresEachReadingOnce(t *testing.T) {
	db := pgtest.Server(t)
	one := serve(t, dataDir(t), "DATABASE_URL="+db.DSN())
	other := serve(t, dataDir(t), "DATABASE_URL="+db.DSN())
	l := newLedger(one.registerAll(4))
	alarms := one.addAlarms(l.devices)
	each := int64(125 * rounds(t, 2)) // messages of every gateway
	told := make(chan map[int64]int, 2)
	for _, p := range []*process{one, other} {
		live := p.subscribe(p.login(), fmt.Sprintf("sensors/%d", l.devices[0].sensorID))
		go func() { told <- live.values(t) }()
	}
	var brokers sync.WaitGroup
	for _, broker := range []string{one.mqtt, other.mqtt} {
		for i, d := range l.devices {
			c, err := d.connect(t.Context(), broker, func() {})
			if err != nil {
				t.Fatal(err)
			}
			first := int64(i)*each + 1
			for range 5 { // times two instances
				brokers.Go(func() {
					for n := first; n < first+each; n++ {
						res, err := c.Publish(t.Context(),
							&paho.Publish{Topic: d.topic(), QoS: 1, Payload: l.payload(n, n)})
						if err != nil || res.ReasonCode != 0 || res.Properties.ReasonString != "" {
							t.Errorf("reading %d: got %+v, %v", n, res, err)
							return
						}
					}
				})
			}
			defer func() { _ = c.Disconnect(&paho.Disconnect{}) }()
		}
	}
	brokers.Wait()
	total := each * int64(len(l.devices))
	l.sent.Store(total)
	if got := int64(l.check(t, db.DSN())); got != total {
		t.Errorf("stored %d readings, want %d", got, total)
	}
	l.checkAlarms(t, db.DSN(), alarms)
	checkTransitions(t, db.DSN())
	for outcome, want := range map[string]float64{
		"stored": float64(total), "duplicate": float64(9 * total), "conflict": 0, "rejected": 0,
	} {
		label := fmt.Sprintf("outcome=%q", outcome)
		if got := one.metric("oei_ingest_readings_total", label) +
			other.metric("oei_ingest_readings_total", label); got != want {
			t.Errorf("%s: got %v readings at both instances, want %v", outcome, got, want)
		}
	}
	if got := query[int](t, db.DSN(),
		`SELECT count(*) FROM latest JOIN sensors ON id = sensor_id WHERE key = 't1'`); got != len(
		l.devices,
	) {
		t.Errorf("latest: got %d rows, want %d", got, len(l.devices))
	}
	one.stop()
	other.stop()
	pushed := <-told
	for n, times := range <-told {
		pushed[n] += times
	}
	if len(pushed) == 0 {
		t.Error("nothing was pushed")
	}
	for n, times := range pushed {
		if times > 1 {
			t.Errorf("reading %d was pushed %d times", n, times)
		}
	}
}

// TestFaultRollingRestart restarts two instances with one database in turn, while gateways publish
// to the other.
func TestFaultRollingRestart(t *testing.T) {
	t.Parallel()
	db := pgtest.Server(t)
	ports := [][]string{freePorts(t), freePorts(t)}
	dirs := []string{dataDir(t), dataDir(t)}
	var ps []*process
	for i := range ports {
		ps = append(ps, serve(t, dirs[i], append(ports[i], "DATABASE_URL="+db.DSN())...))
	}
	devices := ps[0].registerAll(2)
	ls := []*ledger{newLedger(devices[:1]), newLedger(devices[1:])}
	var stops []func()
	for i, l := range ls {
		stops = append(stops, l.run(t, ps[i].mqtt, steady))
	}
	for range rounds(t, 1) {
		for i, p := range ps {
			ls[i].awaitAcks(p, 100, 20*time.Second)
			if code := p.stop(); code != 0 {
				t.Errorf("SIGTERM: got exit code %d, want 0", code)
			}
			ls[1-i].awaitAcks(ps[1-i], 100, 20*time.Second)
			ps[i] = serve(t, dirs[i], append(ports[i], "DATABASE_URL="+db.DSN())...)
		}
	}
	for i, stop := range stops {
		ls[i].awaitAcks(ps[i], 100, 20*time.Second)
		stop()
		ls[i].check(t, db.DSN())
	}
}
