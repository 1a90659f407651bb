package e2e

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/oei-ms/oei-ms/internal/pgtest"
)

// TestFaultPausedInstance_TakesEachTransitionOnce stops an instance at the commit of an alarm's
// transition, for less or more time than its transaction is waited for, while the gateway sends the
// same readings to another instance.
func TestFaultPausedInstance_TakesEachTransitionOnce(t *testing.T) {
	t.Parallel()
	random := randomSource(t)
	db := pgtest.Server(t)
	w := newDatabaseProxy(t, db.DSN())
	one, other := serve(t, dataDir(t), "DATABASE_URL="+w.dsn()), serve(t, dataDir(t),
		"DATABASE_URL="+db.DSN())
	l := newLedger(one.registerAll(1))
	d := l.devices[0]
	alarms := one.addAlarms(l.devices)
	// room for both messages
	published := make(chan error, 2)
	publish := func(c *paho.Client, first, last int64) {
		_, err := c.Publish(t.Context(),
			&paho.Publish{Topic: d.topic(), QoS: 1, Payload: l.payload(first, last)})
		published <- err
	}
	a, err := d.connect(t.Context(), one.mqtt, func() {})
	if err != nil {
		t.Fatal(err)
	}
	connect := d.connectPacket()
	connect.ClientID += ":other"
	b, err := dial(t.Context(), other.mqtt, connect, paho.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	n := rounds(t, 2)
	for round := range n {
		first := int64(round)*100 + 1 // where the alarm comes or goes
		l.sent.Store(first + 1)
		paused, goOn := make(chan bool, 1), make(chan bool)
		w.hookNext(func() { paused <- true; <-goOn })
		release := sync.OnceFunc(func() { close(goOn) })
		t.Cleanup(release)
		go publish(a, first, first+1)
		select {
		case <-paused:
		case <-time.After(20 * time.Second):
			t.Fatalf("round %d: no step is taken", round)
		}
		_ = one.cmd.Process.Signal(syscall.SIGSTOP)
		again := make(chan bool)
		// waits for the paused transaction
		go func() { defer close(again); publish(b, first, first+1) }()
		if round%4 < 3 {
			sleepUpTo(random, time.Second)
		} else {
			select {
			case <-again: // when PostgreSQL has ended it
			case <-time.After(60 * time.Second):
				other.stacks()
				t.Fatalf("round %d: the other one waits for ever", round)
			}
		}
		release()
		_ = one.cmd.Process.Signal(syscall.SIGCONT)
		for range 2 {
			select {
			case err := <-published:
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
			case <-time.After(60 * time.Second):
				one.stacks()
				other.stacks()
				t.Fatalf("round %d: not acknowledged", round)
			}
		}
	}
	if got, want := l.check(t, db.DSN()), 2*n; got != want {
		t.Errorf("stored %d readings, want %d", got, want)
	}
	l.checkAlarms(t, db.DSN(), alarms)
	checkTransitions(t, db.DSN())
	if got := query[int](t, db.DSN(), `SELECT count(*) FROM alarm_events`); got != n {
		t.Errorf("got %d events, want %d", got, n)
	}
}
