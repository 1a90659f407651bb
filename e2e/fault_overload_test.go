package e2e

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/oei-ms/oei-ms/internal/pgtest"
)

func TestFaultOverload_IsBoundedAndRecovers(t *testing.T) {
	db := pgtest.Server(t)
	w := newDatabaseProxy(t, db.DSN())
	p := serve(t, dataDir(t), "DATABASE_URL="+w.dsn())
	devices := p.registerAll(6)
	sure, unsure := newLedger(devices[:4]), newLedger(devices[4:])
	// so that any machine publishes more than the database takes
	w.slow(20*time.Millisecond, 200<<10)
	stopSure := sure.run(t, p.mqtt, load{senders: 64, samples: 10, qos: 1})
	stopUnsure := unsure.run(t, p.mqtt, load{senders: 2, samples: 10, qos: 0})
	most := 0
	watch := repeat(func() { most = max(most, p.memory()) })
	for range rounds(t, 3) {
		time.Sleep(time.Second)
	}
	sure.awaitAcks(p, 10, 30*time.Second)
	w.slow(0, 0)
	stopUnsure()
	stopSure()
	stopSure = sure.run(t, p.mqtt, steady)
	sure.awaitAcks(p, 1000, 30*time.Second)
	stopSure()
	fates := func() int64 { // of 10 readings a message
		return int64(len(unsure.stored(t, db.DSN()))) +
			10*int64(p.metric("oei_mqtt_qos0_dropped_total"))
	}
	p.eventually(30*time.Second, "all of QoS 0 is stored, or counted as dropped", func() bool {
		return fates() >= unsure.sent.Load()-unsure.unsent.Load()
	})
	watch()
	for _, l := range []*ledger{sure, unsure} {
		l.check(t, db.DSN())
		if n := l.breaks.Load(); n > 0 {
			t.Errorf("%d connections broke", n)
		}
	}
	t.Logf("memory: %d MiB at most", most>>20)
	if most > 512<<20 {
		t.Errorf("memory: got %d MiB, want 512 MiB at most", most>>20)
	}
}

func TestFaultFileDescriptorsExhausted_KeepsConnections(t *testing.T) {
	p := serve(t, dataDir(t))
	l := newLedger(p.registerAll(2))
	stop := l.run(t, p.mqtt, steady)
	l.awaitAcks(p, 100, 20*time.Second)
	for range rounds(t, 2) {
		limit := p.limitFiles(t)
		var held []net.Conn
		for range 2 * limit { // the kernel takes them, whether the program does or not
			for _, addr := range []string{p.api, p.mqtt} {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				held = append(held, c)
			}
		}
		p.eventually(10*time.Second, "it has no descriptors left",
			func() bool { return p.openFiles(t) >= limit })
		l.awaitAcks(p, 100, 10*time.Second) // over the connections that are there
		for _, c := range held {
			_ = c.Close()
		}
		p.eventually(3*time.Second, "it accepts on HTTP",
			func() bool { return p.status("/health/live") == http.StatusOK })
		p.eventually(3*time.Second, "it accepts on MQTT",
			func() bool { return p.accepts(l.devices[0]) })
		p.liftLimit(t)
	}
	stop()
	l.check(t, p.dsn())
}

// accepts reports whether d can connect for a second time within a second.
func (p *process) accepts(d device) bool {
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Second)
	defer cancel()
	connect := d.connectPacket()
	connect.ClientID += ":again"
	c, err := dial(ctx, p.mqtt, connect, paho.ClientConfig{})
	if err == nil {
		_ = c.Disconnect(&paho.Disconnect{})
	}
	return err == nil
}
