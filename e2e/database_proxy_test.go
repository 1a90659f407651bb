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

// databaseProxy is a proxy to the database that can delay, block or cut connections. It listens on
// TCP and forwards to the unix socket of a private cluster.
type databaseProxy struct {
	listener   net.Listener
	socket     string
	forwarding sync.WaitGroup

	mu      sync.Mutex
	delay   time.Duration // of everything sent, in each direction
	rate    int           // bytes per second of each connection and direction; 0: unlimited
	blocked chan struct{} // not nil: nothing passes until it is closed
	cut     cutPoint      // where the connection of the next COMMIT is cut
	cuts    int           // connections cut there
	hook    func()        // called before the next COMMIT of alarm events is forwarded
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

// newDatabaseProxy starts a proxy to the server at dsn, for the time of the test.
func newDatabaseProxy(t *testing.T, dsn string) *databaseProxy {
	t.Helper()
	dir := regexp.MustCompile(`host='([^']+)'`).FindStringSubmatch(dsn)
	if dir == nil {
		t.Fatalf("no socket in %q", dsn)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &databaseProxy{listener: l, socket: dir[1] + "/.s.PGSQL.5432", conns: map[net.Conn]bool{}}
	w.forwarding.Go(w.serve)
	t.Cleanup(func() {
		_ = l.Close()
		w.unblock()
		w.cutAll()
		w.forwarding.Wait()
	})
	return w
}

// dsn returns the connection string of the server through the proxy.
func (w *databaseProxy) dsn() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=%[2]s sslmode=disable",
		w.listener.Addr().(*net.TCPAddr).Port, postgres.Database)
}

func (w *databaseProxy) serve() {
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
		w.forwarding.Go(func() { w.forward(server, client, answers, true) })
		w.forwarding.Go(func() { w.forward(client, server, answers, false) })
	}
}

// forward copies from one end to the other until either is closed.
func (w *databaseProxy) forward(to, from net.Conn, lost chan struct{}, up bool) {
	defer w.hangUp(to, from)
	buf := make([]byte, 16<<10)
	events := false // the transaction has some
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		delay, silence := w.pace(n)
		time.Sleep(delay)
		if silence != nil {
			<-silence
		}
		cut := nowhere
		events = up && (events || bytes.Contains(buf[:n], []byte("INSERT INTO alarm_events"))) &&
			!bytes.Contains(buf[:n], []byte("ROLLBACK\x00"))
		if events && bytes.Contains(buf[:n], []byte("COMMIT\x00")) {
			events = false
			w.runHook()
		}
		if up && bytes.Contains(buf[:n], []byte("COMMIT\x00")) { // lib/pq sends it in one write
			cut = w.takeCut()
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

// pace returns the delay of n bytes, and a channel that is closed when they may pass.
func (w *databaseProxy) pace(n int) (time.Duration, chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.delay
	if w.rate > 0 {
		d += time.Duration(n) * time.Second / time.Duration(w.rate)
	}
	return d, w.blocked
}

// takeCut returns the cut that is due.
func (w *databaseProxy) takeCut() cutPoint {
	w.mu.Lock()
	defer w.mu.Unlock()
	cut := w.cut
	if w.cut = nowhere; cut != nowhere {
		w.cuts++
	}
	return cut
}

// runHook calls the function of hookNext.
func (w *databaseProxy) runHook() {
	w.mu.Lock()
	hook := w.hook
	w.hook = nil
	w.mu.Unlock()
	if hook != nil {
		hook()
	}
}

func (w *databaseProxy) hangUp(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(w.conns, c)
	}
}

// slow delays everything sent from now on.
func (w *databaseProxy) slow(delay time.Duration, rate int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay, w.rate = delay, rate
}

// block lets nothing through until unblock is called, and keeps every connection.
func (w *databaseProxy) block() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blocked = make(chan struct{})
}

// unblock ends block; it does nothing without one.
func (w *databaseProxy) unblock() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.blocked != nil {
		close(w.blocked)
		w.blocked = nil
	}
}

// cutNext cuts the connection of the next COMMIT.
func (w *databaseProxy) cutNext(at cutPoint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = at
}

// hookNext calls f once, before the next COMMIT of alarm events is forwarded.
func (w *databaseProxy) hookNext(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hook = f
}

// cutCount returns the number of connections that were cut at a COMMIT.
func (w *databaseProxy) cutCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cuts
}

// cutAll cuts every connection.
func (w *databaseProxy) cutAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		_ = c.Close()
	}
}
