package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/lib/pq"
)

// ledger records what publishers know: the readings that were sent and those that were
// acknowledged. A reading's timestamp is base plus its number in microseconds, its value the
// number. It is safe for concurrent use.
type ledger struct {
	base     time.Time
	devices  []device
	sent     atomic.Int64 // readings 1 to this were sent
	unsent   atomic.Int64 // but for so many of QoS 0 that may have failed
	inFlight atomic.Int64 // messages that wait for their acknowledgement
	breaks   atomic.Int64 // connections that broke

	mu      sync.Mutex
	acked   map[int64]bool
	refused map[string]int // messages, by reason
}

// newLedger returns the ledger of devices that publish nothing else.
func newLedger(devices []device) *ledger {
	return &ledger{
		base:    time.Now().UTC().Add(-time.Hour).Truncate(time.Second),
		devices: devices,
		acked:   map[int64]bool{}, refused: map[string]int{},
	}
}

// load is how a gateway publishes.
type load struct {
	senders int // each waits for its acknowledgement before it sends the next
	samples int // in a message
	qos     byte
	pause   time.Duration // between a sender's messages
	poison  bool          // one message in ten is none
}

// steady has messages in flight at any moment.
var steady = load{senders: 16, samples: 1, qos: 1}

// run publishes from every device to the broker until stop is called.
func (l *ledger) run(t testing.TB, broker string, how load) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var publishers sync.WaitGroup
	for _, d := range l.devices {
		publishers.Go(func() { l.publish(ctx, d, broker, how) })
	}
	stop = func() { cancel(); publishers.Wait() }
	t.Cleanup(stop)
	return stop
}

// publish sends readings of d until ctx ends, connecting again whenever the connection is lost.
func (l *ledger) publish(ctx context.Context, d device, broker string, how load) {
	for ctx.Err() == nil {
		connected, lost := context.WithCancel(context.WithoutCancel(ctx))
		stopped := context.AfterFunc(ctx, lost)
		c, err := d.connect(connected, broker, lost)
		stopped()
		if err != nil {
			lost()
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		l.publishWith(ctx, connected, d, c, how)
		if ctx.Err() == nil {
			l.breaks.Add(1)
		}
		lost()
		_ = c.Disconnect(&paho.Disconnect{}) // fails on a connection that was cut
	}
}

// publishWith sends readings of d until ctx or the connection ends.
func (l *ledger) publishWith(ctx, connected context.Context, d device, c *paho.Client, how load) {
	// paho would wait for acknowledgements that cannot come any more
	sending, end := context.WithCancel(connected)
	defer end()
	defer context.AfterFunc(ctx, end)()
	var senders sync.WaitGroup
	for range how.senders {
		senders.Go(func() {
			for l.send(sending, d, c, how) {
				time.Sleep(how.pause)
			}
		})
	}
	senders.Wait()
	if how.qos == 0 {
		// what came before it has been read when it is acknowledged
		l.send(connected, d, c, load{samples: how.samples, qos: 1})
	}
}

// send publishes a message and records its acknowledgement. It reports false when the connection is
// lost.
func (l *ledger) send(ctx context.Context, d device, c *paho.Client, how load) bool {
	if ctx.Err() != nil {
		return false
	}
	last := l.sent.Add(int64(how.samples))
	first := last - int64(how.samples) + 1
	payload := l.payload(first, last)
	poison := how.poison && first%10 == 0
	if poison {
		payload = append(payload, "poison"...)
	}
	l.inFlight.Add(1)
	res, err := c.Publish(ctx, &paho.Publish{Topic: d.topic(), QoS: how.qos, Payload: payload})
	l.inFlight.Add(-1)
	if err != nil && how.qos == 0 {
		l.unsent.Add(int64(how.samples))
	}
	if res == nil || how.qos == 0 {
		return err == nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if reason := res.Properties.ReasonString; res.ReasonCode != 0 || reason != "" {
		l.refused[fmt.Sprintf("%#02x %s", res.ReasonCode, reason)]++
		return true
	}
	for n := first; n <= last; n++ {
		l.acked[n] = true
	}
	return true
}

// payload returns a message with the readings first to last.
func (l *ledger) payload(first, last int64) []byte {
	b := []byte{'['}
	for n := first; n <= last; n++ {
		b = fmt.Appendf(b, `{"value":%d,"timestamp":%q},`, n,
			l.base.Add(time.Duration(n)*time.Microsecond).Format(time.RFC3339Nano))
	}
	b[len(b)-1] = ']'
	return b
}

// count returns the number of acknowledged readings.
func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// awaitAcks waits until n more readings are acknowledged.
func (l *ledger) awaitAcks(p *process, n int, within time.Duration) {
	p.t.Helper()
	from := l.count()
	p.eventually(within, fmt.Sprintf("%d more readings are acknowledged", n),
		func() bool { return l.count() >= from+n })
}

// check compares the ledger with the database at dsn: acknowledged ⊆ stored ⊆ sent, each once,
// with its value, and nothing is rejected. It returns the number of stored readings.
func (l *ledger) check(t *testing.T, dsn string) int {
	t.Helper()
	stored := l.stored(t, dsn)
	lost := l.missing(stored)
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("sent %d, acknowledged %d, stored %d, connections broken %d", l.sent.Load(),
		len(l.acked), len(stored), l.breaks.Load())
	if lost > 0 {
		t.Errorf("%d readings were acknowledged and are not stored", lost)
	}
	for reason, n := range l.refused {
		t.Errorf("%d messages were refused: %s", n, reason)
	}
	return len(stored)
}

// awaitStored waits until every reading that an external broker has acknowledged is stored: it may
// still be on its way. Their number is not enough, since unacknowledged readings are stored too.
func (l *ledger) awaitStored(p *process, dsn string) {
	p.t.Helper()
	p.eventually(30*time.Second, "all that the broker acknowledged is stored",
		func() bool { return l.missing(l.stored(p.t, dsn)) == 0 })
}

// missing returns the number of acknowledged readings that are not in stored.
func (l *ledger) missing(stored map[int64]bool) (missing int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.acked {
		if !stored[n] {
			missing++
		}
	}
	return missing
}

// countLedgers counts the stored readings of all ledgers, without those of system sensors.
const countLedgers = `SELECT count(*) FROM sensor_data
	WHERE sensor_id IN (SELECT id FROM sensors WHERE key = 't1')`

// stored reads the numbers that are stored, each of which must have been sent, with its value.
func (l *ledger) stored(t testing.TB, dsn string) map[int64]bool {
	t.Helper()
	var sensors []int64
	for _, d := range l.devices {
		sensors = append(sensors, d.sensorID)
	}
	db := database(t, dsn)
	defer db.Close()
	rows, err := db.Query(`SELECT timestamp, value FROM sensor_data WHERE sensor_id = ANY ($1)`,
		pq.Array(sensors))
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
	return stored
}

// database opens the database at dsn. The caller closes it.
func database(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// query returns the single value that q selects.
func query[T any](t *testing.T, dsn, q string, args ...any) T {
	t.Helper()
	db := database(t, dsn)
	defer db.Close()
	var v T
	if err := db.QueryRow(q, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return v
}
