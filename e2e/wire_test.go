package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/postgres"
)

// wire is a way to the database that can be slow, silent or cut. It listens on TCP and leads to the
// unix socket of a private cluster.
type wire struct {
	listener net.Listener
	socket   string
	carrying sync.WaitGroup

	mu      sync.Mutex
	delay   time.Duration // of whatever is sent, each way
	rate    int           // bytes a second of each connection, each way; 0 is as fast as it goes
	silence chan struct{} // not nil: nothing gets through until it is closed
	cut     cutPoint      // where the connection of the next COMMIT is cut
	cuts    int           // connections cut there
	hold    func()        // called before the next COMMIT of alarm events goes on its way
	conns   map[net.Conn]bool
}

// cutPoint is a moment around a COMMIT.
type cutPoint int

const (
	nowhere      cutPoint = iota
	beforeCommit          // the server never sees it
	atCommit              // the server has it, the answer may be anywhere
	afterCommit           // the server has committed, its answer is lost
	cutPoints
)

// newWire lays a wire to the server at dsn, for the time of the test.
func newWire(t *testing.T, dsn string) *wire {
	t.Helper()
	dir := regexp.MustCompile(`host='([^']+)'`).FindStringSubmatch(dsn)
	if dir == nil {
		t.Fatalf("no socket in %q", dsn)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, socket: dir[1] + "/.s.PGSQL.5432", conns: map[net.Conn]bool{}}
	w.carrying.Go(w.serve)
	t.Cleanup(func() {
		_ = l.Close()
		w.speak()
		w.cutAll()
		w.carrying.Wait()
	})
	return w
}

// dsn reaches the server over the wire.
func (w *wire) dsn() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=%[2]s sslmode=disable",
		w.listener.Addr().(*net.TCPAddr).Port, postgres.Database)
}

func (w *wire) serve() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", w.socket)
		if err != nil {
			_ = client.Close()
			continue
		}
		w.mu.Lock()
		w.conns[client], w.conns[server] = true, true
		w.mu.Unlock()
		answers := make(chan struct{}) // closed when they get lost
		w.carrying.Go(func() { w.carry(server, client, answers, true) })
		w.carrying.Go(func() { w.carry(client, server, answers, false) })
	}
}

// carry brings what comes from one end to the other until either is gone.
func (w *wire) carry(to, from net.Conn, lost chan struct{}, up bool) {
	defer w.hangUp(to, from)
	buf := make([]byte, 16<<10)
	events := false // the transaction has some
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		delay, silence := w.toll(n)
		time.Sleep(delay)
		if silence != nil {
			<-silence
		}
		cut := nowhere
		events = up && (events || bytes.Contains(buf[:n], []byte("INSERT INTO alarm_events"))) &&
			!bytes.Contains(buf[:n], []byte("ROLLBACK\x00"))
		if events && bytes.Contains(buf[:n], []byte("COMMIT\x00")) {
			events = false
			w.holdUp()
		}
		if up && bytes.Contains(buf[:n], []byte("COMMIT\x00")) { // lib/pq sends it in one write
			cut = w.strike()
		}
		switch cut {
		case beforeCommit:
			return
		case afterCommit:
			close(lost)
		}
		select {
		case <-lost:
			if !up {
				_, _ = io.Copy(io.Discard, from)
				return
			}
		default:
		}
		if _, err := to.Write(buf[:n]); err != nil || cut == atCommit {
			return
		}
		if cut == afterCommit {
			time.Sleep(50 * time.Millisecond) // time enough to commit
			return
		}
	}
}

func (w *wire) toll(n int) (time.Duration, chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.delay
	if w.rate > 0 {
		d += time.Duration(n) * time.Second / time.Duration(w.rate)
	}
	return d, w.silence
}

// strike takes the cut that is due.
func (w *wire) strike() cutPoint {
	w.mu.Lock()
	defer w.mu.Unlock()
	cut := w.cut
	if w.cut = nowhere; cut != nowhere {
		w.cuts++
	}
	return cut
}

// holdUp calls what holdNext was given.
func (w *wire) holdUp() {
	w.mu.Lock()
	hold := w.hold
	w.hold = nil
	w.mu.Unlock()
	if hold != nil {
		hold()
	}
}

func (w *wire) hangUp(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(w.conns, c)
	}
}

// slow delays whatever is sent from now on.
func (w *wire) slow(delay time.Duration, rate int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay, w.rate = delay, rate
}

// hush lets nothing through until speak is called, while every connection stays.
func (w *wire) hush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silence = make(chan struct{})
}

// speak ends a hush; it is harmless without one.
func (w *wire) speak() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silence != nil {
		close(w.silence)
		w.silence = nil
	}
}

// cutNext cuts the connection of the next COMMIT.
func (w *wire) cutNext(at cutPoint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = at
}

// holdNext calls f before the next COMMIT of alarm events goes on its way, and again never.
func (w *wire) holdNext(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold = f
}

// struck is how many connections were cut at a COMMIT.
func (w *wire) struck() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cuts
}

// cutAll cuts every connection.
func (w *wire) cutAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		_ = c.Close()
	}
}
