package push

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// manned reports whether the only connection has a writer.
func (w *world) manned() bool {
	w.t.Helper()
	all := w.hub.all()
	if len(all) != 1 {
		w.t.Fatalf("%d connections, want 1", len(all))
	}
	l := all[0].lane
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.manned
}

func TestAConnectionHasAWriterOnlyWhileThereIsSomethingToSend(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *world) {
		c := w.listener("ann", "sensors/1")
		time.Sleep(2 * tendEvery)
		if w.manned() {
			t.Error("a writer is there that has nothing to do")
		}
		for range 20 { // often
			w.hub.Publish([]Reading{reading(1, 1, 7)})
			c.skip("sensor_data")
			time.Sleep(tendEvery / 10)
		}
		if !w.manned() {
			t.Error("the writer comes and goes while readings come often")
		}
		time.Sleep(2 * tendEvery)
		if w.manned() {
			t.Error("the writer has not left")
		}
		w.hub.EndSession("s-ann")
		c.wantClose(CloseNotAuthenticated)
		c.ws.Close()
		synctest.Wait()
	})
}

func TestAWriterLeavesOnlyWhenNothingWaits(t *testing.T) {
	for name, put := range map[string]func(l *lane){
		"an answer": func(l *lane) { l.reply([]byte("x")) },
		"a ping":    func(l *lane) { l.askPing() },
		"a pong":    func(l *lane) { l.givePong("x") },
		"an update": func(l *lane) { l.offer(new(update), 0) },
		"an alarm event": func(l *lane) {
			l.follow(allSeverities, "e", 0)
			l.offerAlarm(&update{
				offset:   1,
				severity: 1,
			})
		},
	} {
		l := newLane(1, 1, func() {})
		put(l)
		if l.leave() {
			t.Errorf("it leaves %s behind", name)
		}
		l.take(make([]*update, 1))
		if !l.leave() {
			t.Errorf("it stays when %s has been taken", name)
		}
	}
	l := newLane(1, 1, func() {})
	l.hold()
	l.offer(new(update), 0)
	if !l.leave() {
		t.Error("it stays for what is held back")
	}
	l.close()
	if l.leave() {
		t.Error("it leaves without a close frame")
	}
}

// TestNothingIsLeftBehindByWritersThatLeave has writers leave as often as they can while updates
// come.
func TestNothingIsLeftBehindByWritersThatLeave(t *testing.T) {
	const updates = 20_000
	var l *lane
	var writers sync.WaitGroup
	var taken atomic.Int64
	started := 0
	l = newLane(updates, 1, func() {
		started++
		writers.Go(func() {
			room := make([]*update, chunk)
			for {
				for load := l.take(room); !load.empty(); load = l.take(room) {
					taken.Add(int64(len(load.updates)))
				}
				if l.leave() {
					return
				}
				<-l.wake
			}
		})
	})
	u := new(update)
	for n := range updates {
		if n%3 > 0 { // it stays, and is told to go
			l.mu.Lock()
			l.hot, l.loads = n%3 == 1, 0
			l.mu.Unlock()
			l.sweep()
		}
		for range n % 500 { // it is somewhere on its way out
			taken.Load()
		}
		l.offer(u, 0)
		for begin := time.Now(); taken.Load() <= int64(n); runtime.Gosched() {
			if time.Since(begin) > 10*time.Second {
				t.Fatalf("update %d is left behind", n)
			}
		}
	}
	for there := true; there; {
		l.sweep()
		l.mu.Lock()
		there = l.manned
		l.mu.Unlock()
	}
	writers.Wait()
	if started < 10 {
		t.Errorf("%d writers, want many", started)
	}
}
