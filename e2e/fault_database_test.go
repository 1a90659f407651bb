package e2e

import (
	"database/sql"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/postgres"
)

func TestFaultKillNineOfPostgres_LosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	random := randomSource(t)
	p := serve(t, dataDir(t))
	l := newLedger(p.registerAll(4))
	stop := l.run(t, p.mqtt, steady)
	for range rounds(t, 3) {
		l.awaitAcks(p, 100, 20*time.Second)
		sleepUpTo(random, 200*time.Millisecond)
		var pids []int
		p.eventually(10*time.Second, "PostgreSQL runs",
			func() bool { pids = postgresOf(t, p.cmd.Process.Pid); return len(pids) > 1 })
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended since
		}
		// it takes the longer, the more often it is killed
		p.eventually(20*time.Second, "PostgreSQL is back", p.hasDatabase)
		// more than were on their way
		l.awaitAcks(p, 1000, 10*time.Second)
	}
	stop()
	l.check(t, p.dsn())
	if n := l.breaks.Load(); n > 0 {
		t.Errorf("%d gateways were disconnected", n)
	}
}

// hasDatabase reports whether the private cluster answers.
func (p *process) hasDatabase() bool {
	db, err := sql.Open("postgres",
		postgres.RunningDSN(filepath.Join(p.dir, "postgres"))+" connect_timeout=1")
	if err != nil {
		return false
	}
	defer db.Close()
	return db.Ping() == nil
}

// postgresOf returns the pids of the cluster of the program with this pid, the postmaster first.
func postgresOf(t *testing.T, program int) (pids []int) {
	t.Helper()
	list, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,comm=").Output()
	if err != nil {
		t.Fatalf("ps: %v", err)
	}
	children := map[int][]int{}
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line)
		pid, _ := strconv.Atoi(f[0]) // ps prints numbers
		parent, _ := strconv.Atoi(f[1])
		if strings.Contains(f[2], "postgres") {
			children[parent] = append(children[parent], pid)
		}
	}
	pids = children[program]
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids
}

func TestFaultHangingDatabase_ThenStopped(t *testing.T) {
	db := pgtest.Server(t)
	p := serve(t, dataDir(t), "DATABASE_URL="+db.DSN())
	devices := p.registerAll(18)
	for i := range devices {
		devices[i].keepAlive = 4 // so that pings fall into the outage
	}
	l, flood := newLedger(devices[:16]), newLedger(devices[16:])
	// soon more than there is room for
	stop := l.run(t, p.mqtt, load{senders: 16, samples: 500, qos: 1, pause: 3 * time.Second})
	l.awaitAcks(p, 1000, 20*time.Second)
	before, most := p.memory(), 0
	watch := repeat(func() { most = max(most, p.memory()) })

	// nothing but us holds it back
	stopFlood := flood.run(t, p.mqtt, load{senders: 2, samples: 500, qos: 0})
	p.eventually(5*time.Second, "the flood has begun", func() bool { return flood.sent.Load() > 0 })
	db.Pause()
	p.eventually(10*time.Second, "it is not ready",
		func() bool { return p.status("/health/ready") == http.StatusServiceUnavailable })
	acked := l.count()
	for range rounds(t, 4) {
		time.Sleep(time.Second)
		if got := p.status("/health/live"); got != http.StatusOK {
			t.Errorf("/health/live: got %d, want 200", got)
		}
	}
	if n := l.count() - acked; n > 0 {
		t.Errorf("%d readings were acknowledged while the database hung", n)
	}
	db.Stop()
	time.Sleep(time.Second)
	if got := p.status("/health/ready"); got != http.StatusServiceUnavailable {
		t.Errorf("/health/ready without a database: got %d, want 503", got)
	}
	ebbed := make(chan struct{})
	go func() { defer close(ebbed); stopFlood() }() // ends when what it has written is read
	db.Start()
	p.eventually(10*time.Second, "it is ready",
		func() bool { return p.status("/health/ready") == http.StatusOK })
	l.awaitAcks(p, 16*16*500+1, 60*time.Second) // more than were on their way
	<-ebbed
	watch()
	stop()
	for _, l := range []*ledger{l, flood} {
		l.check(t, db.DSN())
		if n := l.breaks.Load(); n > 0 {
			t.Errorf("%d connections of %d gateways broke", n, len(l.devices))
		}
	}
	t.Logf("memory: %d MiB before, %d MiB at most", before>>20, most>>20)
	if most > before+256<<20 {
		t.Errorf("memory grew from %d to %d MiB, want 256 MiB more at most", before>>20, most>>20)
	}
}

// repeat calls f every 50 ms until the returned stop is called.
func repeat(f func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			f()
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return sync.OnceFunc(func() { close(done); <-ended })
}

func TestFaultSlowDatabase_DelaysAndLosesNothing(t *testing.T) {
	db := pgtest.Server(t)
	w := newDatabaseProxy(t, db.DSN())
	p := serve(t, dataDir(t), "DATABASE_URL="+w.dsn())
	api := p.login()
	l := newLedger(p.registerAll(4))
	stop := l.run(t, p.mqtt, steady)
	l.awaitAcks(p, 100, 20*time.Second)

	// A client keeps asking, and is never kept waiting.
	var asked, answered, unavailable atomic.Int64
	ask := repeat(func() {
		asked.Add(1)
		began := time.Now()
		res, err := api.ListLatestReadingsWithResponse(t.Context(),
			&client.ListLatestReadingsParams{})
		switch took := time.Since(began); {
		case err != nil:
			t.Errorf("GET /api/data/latest: %v", err)
		case took > 8*time.Second: // the limit is 6 s
			t.Errorf("GET /api/data/latest took %v", took)
		case res.StatusCode() == http.StatusOK:
			answered.Add(1)
		case res.StatusCode() == http.StatusServiceUnavailable:
			unavailable.Add(1)
		default:
			t.Errorf("GET /api/data/latest: got %d, want 200 or 503", res.StatusCode())
		}
	})
	for range rounds(t, 1) {
		w.slow(100*time.Millisecond, 0)
		l.awaitAcks(p, 100, 30*time.Second)
		w.slow(0, 20<<10)
		l.awaitAcks(p, 100, 30*time.Second)
		w.slow(0, 0)
		w.block()
		was := unavailable.Load()
		p.eventually(10*time.Second, "it says that the database is not available",
			func() bool { return unavailable.Load() > was })
		w.unblock()
		l.awaitAcks(p, 100, 40*time.Second)
	}
	ask()
	stop()
	t.Logf("asked %d times: %d answers, %d times unavailable", asked.Load(), answered.Load(),
		unavailable.Load())
	l.check(t, db.DSN())
	if n := l.breaks.Load(); n > 0 {
		t.Errorf("%d connections of gateways broke", n)
	}
}

func TestFaultCutAtCommit_StoresEachReadingOnce(t *testing.T) {
	t.Parallel()
	random := randomSource(t)
	db := pgtest.Server(t)
	w := newDatabaseProxy(t, db.DSN())
	p := serve(t, dataDir(t), "DATABASE_URL="+w.dsn())
	api := p.login()
	l := newLedger(p.registerAll(4))
	live := p.subscribe(api, "sensors/1")
	told := make(chan map[int64]int, 1)
	go func() { told <- live.values(t) }()
	stop := l.run(t, p.mqtt, steady)
	for i := range rounds(t, 30) {
		l.awaitAcks(p, 100, 20*time.Second)
		w.cutNext(1 + cutPoint(random.IntN(int(cutPoints)-1)))
		p.eventually(10*time.Second, "a connection is cut", func() bool { return w.cutCount() > i })
	}
	l.awaitAcks(p, 100, 20*time.Second)
	stop()
	stored := l.check(t, db.DSN())
	if got := p.metric("oei_ingest_readings_total", `outcome="conflict"`); got != 0 {
		t.Errorf("%v readings conflict with themselves", got)
	}
	t.Logf("%d connections were cut, %d readings are stored", w.cutCount(), stored)
	if n := l.breaks.Load(); n > 0 {
		t.Errorf("%d connections of gateways broke", n)
	}
	p.stop()
	pushed := <-told
	if len(pushed) == 0 {
		t.Error("nothing was pushed")
	}
	for n, times := range pushed {
		if times > 1 {
			t.Errorf("reading %d was pushed %d times", n, times)
		}
	}
}
