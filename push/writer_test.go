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
func (w *world) hasWriter() bool {
	w.t.Helper()
	all := w.hub.connections()
	if len(all) != 1 {
		w.t.Fatalf("%d connections, want 1", len(all))
	}
	l := all[0].outbox
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hasWriter
}

func TestAConnectionHasAWriterOnlyWhileThereIsSomethingToSend(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *world) {
		c := w.listener("ann", "sensors/1")
		time.Sleep(2 * deadlineInterval)
		if w.hasWriter() {
			t.Error("a writer is there that has nothing to do")
		}
		for range 20 { // often
			w.hub.Publish([]Reading{reading(1, 1, 7)})
			c.skip("sensor_data")
			time.Sleep(deadlineInterval / 10)
		}
		if !w.hasWriter() {
			t.Error("the writer comes and goes while readings come often")
		}
		time.Sleep(2 * deadlineInterval)
		if w.hasWriter() {
			t.Error("the writer has not left")
		}
		w.hub.EndSession("s-ann")
		c.wantClose(CloseNotAuthenticated)
		c.ws.Close()
		synctest.Wait()
	})
}

func TestAWriterLeavesOnlyWhenNothingWaits(t *testing.T) {
	for name, put := range map[string]func(l *outbox){
		"an answer": func(l *outbox) { l.reply([]byte("x")) },
		"a ping":    func(l *outbox) { l.sendPing() },
		"a pong":    func(l *outbox) { l.sendPong("x") },
		"an update": func(l *outbox) { l.offer(new(update), 0) },
		"an alarm event": func(l *outbox) {
			l.startAlarms(allSeverities, "e", 0)
			l.offerAlarm(&update{
				offset:   1,
				severity: 1,
			})
		},
	} {
		l := newOutbox(1, 1, func() {})
		put(l)
		if l.stopWriter() {
			t.Errorf("it leaves %s behind", name)
		}
		l.take(make([]*update, 1))
		if !l.stopWriter() {
			t.Errorf("it stays when %s has been taken", name)
		}
	}
	l := newOutbox(1, 1, func() {})
	l.hold()
	l.offer(new(update), 0)
	if !l.stopWriter() {
		t.Error("it stays for what is held back")
	}
	l.close()
	if l.stopWriter() {
		t.Error("it leaves without a close frame")
	}
}

// TestNothingIsLeftBehindByWritersThatLeave has writers leave as often as they can while updates
// come.
func TestNothingIsLeftBehindByWritersThatLeave(t *testing.T) {
	const updates = 20_000
	var l *outbox
	var writers sync.WaitGroup
	var taken atomic.Int64
	started := 0
	l = newOutbox(updates, 1, func() {
		started++
		writers.Go(func() {
			room := make([]*update, chunkSize)
			for {
				for b := l.take(room); !b.isEmpty(); b = l.take(room) {
					taken.Add(int64(len(b.updates)))
				}
				if l.stopWriter() {
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
			l.keepWriter, l.batches = n%3 == 1, 0
			l.mu.Unlock()
			l.reviewWriter()
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
		l.reviewWriter()
		l.mu.Lock()
		there = l.hasWriter
		l.mu.Unlock()
	}
	writers.Wait()
	if started < 10 {
		t.Errorf("%d writers, want many", started)
	}
}
