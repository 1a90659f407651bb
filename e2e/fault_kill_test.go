package e2e

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/pgtest"
)

// rounds returns how often a fault is tried, or for how many seconds it lasts; OEI_FAULT_ROUNDS
// overrides n.
func rounds(t *testing.T, n int) int {
	t.Helper()
	if s := os.Getenv("OEI_FAULT_ROUNDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("OEI_FAULT_ROUNDS: %v", err)
		}
	}
	return n
}

// randomSource returns the source of random faults. Its seed is logged; OEI_FAULT_SEED repeats it.
func randomSource(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("OEI_FAULT_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("OEI_FAULT_SEED: %v", err)
		}
	}
	t.Logf("OEI_FAULT_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// sleepUpTo sleeps for a random time below d, so that a fault occurs at any point of the work.
func sleepUpTo(random *rand.Rand, d time.Duration) {
	time.Sleep(time.Duration(random.Int64N(int64(d))))
}

func TestFaultKillNine_LosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	random := randomSource(t)
	dir, ports := dataDir(t), freePorts(t)
	p := serve(t, dir, ports...)
	l := newLedger(p.registerAll(4))
	stop := l.run(t, p.mqtt, steady)
	n, busy := rounds(t, 5), 0
	for range n {
		l.awaitAcks(p, 100, 20*time.Second)
		sleepUpTo(random, 200*time.Millisecond)
		if l.inFlight.Load() > 0 {
			busy++
		}
		p.kill()
		p = serve(t, dir, ports...)
	}
	l.awaitAcks(p, 100, 20*time.Second)
	stop()
	if busy*10 < n*8 {
		t.Errorf("messages were in flight in %d of %d rounds, want 80 %%", busy, n)
	}
	l.check(t, p.dsn())
}

func TestFaultKillNineAtCommit_LosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	random := randomSource(t)
	db := pgtest.Server(t)
	w := newDatabaseProxy(t, db.DSN())
	dir, settings := dataDir(t), append(freePorts(t), "DATABASE_URL="+w.dsn())
	p := serve(t, dir, settings...)
	l := newLedger(p.registerAll(4))
	stop := l.run(t, p.mqtt, steady)
	for i := range rounds(t, 5) {
		l.awaitAcks(p, 100, 20*time.Second)
		w.cutNext(1 + cutPoint(random.IntN(int(cutPoints)-1)))
		p.eventually(10*time.Second, "a connection is cut", func() bool { return w.cutCount() > i })
		p.kill()
		p = serve(t, dir, settings...)
	}
	l.awaitAcks(p, 100, 20*time.Second)
	stop()
	l.check(t, db.DSN())
}

func TestFaultStopUnderLoad_LosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	random := randomSource(t)
	dir, ports := dataDir(t), freePorts(t)
	p := serve(t, dir, ports...)
	l := newLedger(p.registerAll(4))
	stop := l.run(t, p.mqtt, steady)
	for range rounds(t, 3) {
		l.awaitAcks(p, 100, 20*time.Second)
		sleepUpTo(random, 200*time.Millisecond)
		if code := p.stop(); code != 0 { // fails after 10 s
			t.Errorf("SIGTERM: got exit code %d, want 0", code)
		}
		p = serve(t, dir, ports...)
	}
	l.awaitAcks(p, 100, 20*time.Second)
	stop()
	l.check(t, p.dsn())
}
