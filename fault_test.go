package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/oei-ms/oei-ms/embedded"
)

// rounds is how often a fault is tried; OEI_FAULT_ROUNDS overrides it.
func rounds(t *testing.T, n int) int {
	if s := os.Getenv("OEI_FAULT_ROUNDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("OEI_FAULT_ROUNDS: %v", err)
		}
	}
	return n
}

// ledger is what the publishers know: every value sent, and of which they were told that it is stored. A reading's timestamp
// is base plus its number in microseconds, its value the number.
type ledger struct {
	base     time.Time
	sent     atomic.Int64
	inFlight atomic.Int64
	mu       sync.Mutex
	acked    map[int64]bool
}

// publish sends numbers from gateway d, many at a time, until ctx ends, connecting anew whenever the connection is lost.
func (l *ledger) publish(ctx context.Context, d device, broker string) {
	for ctx.Err() == nil {
		connected, lost := context.WithCancel(ctx) // paho would wait for acknowledgements that cannot come any more
		c, err := d.connect(connected, broker, lost)
		if err != nil {
			lost()
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		var senders sync.WaitGroup
		for range 16 {
			senders.Go(func() { l.send(connected, d, c) })
		}
		senders.Wait()
		lost()
		_ = c.Disconnect(&paho.Disconnect{}) // fails on a connection that was cut
	}
}

// send publishes until the connection ends.
func (l *ledger) send(ctx context.Context, d device, c *paho.Client) {
	for ctx.Err() == nil {
		n := l.sent.Add(1)
		l.inFlight.Add(1)
		res, err := c.Publish(ctx, &paho.Publish{
			Topic: "sensors/" + d.key + "/t1/data", QoS: 1,
			Payload: fmt.Appendf(nil, `{"value":%d,"timestamp":%q}`, n, l.base.Add(time.Duration(n)*time.Microsecond).Format(time.RFC3339Nano)),
		})
		l.inFlight.Add(-1)
		if err != nil {
			return
		}
		if res.ReasonCode == 0 {
			l.mu.Lock()
			l.acked[n] = true
			l.mu.Unlock()
		}
	}
}

func TestFaultKillNineLosesNothingThatWasAcknowledged(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("OEI_FAULT_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("OEI_FAULT_SEED: %v", err)
		}
	}
	t.Logf("OEI_FAULT_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	dir, ports := dataDir(t), []string{"PORT=" + freePort(t), "MQTT_PORT=" + freePort(t)}
	p := serve(t, dir, ports...)
	api := p.login()
	var devices []device
	for i := range 4 {
		devices = append(devices, p.register(api, fmt.Sprintf("gateway-%d", i)))
	}
	l := &ledger{base: time.Now().UTC().Add(-time.Hour).Truncate(time.Second), acked: map[int64]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	var publishers sync.WaitGroup
	for _, d := range devices {
		publishers.Go(func() { l.publish(ctx, d, p.mqtt) })
	}
	defer publishers.Wait()
	defer cancel()

	n, busy := rounds(t, 20), 0
	for range n {
		before := l.count()
		p.eventually(20*time.Second, "messages are acknowledged", func() bool { return l.count() > before+100 })
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond) // at any point of the work
		if l.inFlight.Load() > 0 {
			busy++
		}
		p.kill()
		p = serve(t, dir, ports...)
	}
	cancel()
	publishers.Wait()
	if busy*10 < n*8 {
		t.Errorf("messages were in flight in %d of %d rounds, want 80 %%", busy, n)
	}
	l.check(t, dir)
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// check compares the ledger with the table: acknowledged ⊆ stored ⊆ sent, each with its value.
func (l *ledger) check(t *testing.T, dir string) {
	t.Helper()
	db, err := sql.Open("postgres", embedded.RunningDSN(dir+"/postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT timestamp, value FROM sensor_data`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	stored := map[int64]bool{}
	for rows.Next() {
		var at time.Time
		var value float64
		if err := rows.Scan(&at, &value); err != nil {
			t.Fatal(err)
		}
		n := at.Sub(l.base).Microseconds()
		switch {
		case n < 1 || n > l.sent.Load():
			t.Errorf("reading %d was stored but never sent", n)
		case float64(n) != value:
			t.Errorf("reading %d was stored as %v", n, value)
		case stored[n]:
			t.Errorf("reading %d was stored twice", n)
		}
		stored[n] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for n := range l.acked {
		if !stored[n] {
			lost++
		}
	}
	t.Logf("sent %d, acknowledged %d, stored %d", l.sent.Load(), len(l.acked), len(stored))
	if lost > 0 {
		t.Errorf("%d readings were acknowledged and are not stored", lost)
	}
	if len(l.acked) == 0 {
		t.Error("nothing was acknowledged")
	}
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()[strings.LastIndex(l.Addr().String(), ":")+1:]
}
