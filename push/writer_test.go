package push

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// hasWriter reports whether the only connection has a writer.
func (w *fixture) hasWriter() bool {
	w.t.Helper()
	all := w.hub.connections()
	if len(all) != 1 {
		w.t.Fatalf("%d connections, want 1", len(all))
	}
	o := all[0].outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.hasWriter
}

func TestWriter_RunsOnlyWhileUpdatesAreFrequent(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		c := w.subscribe("ann", "sensors/1")
		time.Sleep(2 * deadlineInterval)
		if w.hasWriter() {
			t.Error("a writer runs without anything to send")
		}
		for range 20 { // frequent updates
			w.hub.Publish([]Reading{reading(1, 1, 7)})
			c.skip("sensor_data")
			time.Sleep(deadlineInterval / 10)
		}
		if !w.hasWriter() {
			t.Error("no writer runs while updates are frequent")
		}
		time.Sleep(2 * deadlineInterval)
		if w.hasWriter() {
			t.Error("the writer still runs after the last update")
		}
		w.hub.EndSession("s-ann")
		c.wantClose(CloseNotAuthenticated)
		c.ws.Close()
		synctest.Wait()
	})
}

func TestStopWriter_OnlyWhenNothingWaits(t *testing.T) {
	for name, add := range map[string]func(o *outbox){
		"an answer": func(o *outbox) { o.reply([]byte("x")) },
		"a ping":    func(o *outbox) { o.sendPing() },
		"a pong":    func(o *outbox) { o.sendPong("x") },
		"an update": func(o *outbox) { o.offer(new(update), 0) },
		"an alarm event": func(o *outbox) {
			o.startAlarms(allSeverities, "e", 0)
			o.offerAlarm(&update{offset: 1, severity: 1})
		},
	} {
		o := newOutbox(1, 1, func() {})
		add(o)
		if o.stopWriter() {
			t.Errorf("the writer stops while %s waits", name)
		}
		o.take(make([]*update, 1))
		if !o.stopWriter() {
			t.Errorf("the writer does not stop after %s was taken", name)
		}
	}
	o := newOutbox(1, 1, func() {})
	o.hold()
	o.offer(new(update), 0)
	if !o.stopWriter() {
		t.Error("the writer does not stop for a held update")
	}
	o.close()
	if o.stopWriter() {
		t.Error("the writer stops without a close frame")
	}
}

// TestStopWriter_LeavesNothingInTheOutbox has writers stop as often as they can while updates are
// added.
func TestStopWriter_LeavesNothingInTheOutbox(t *testing.T) {
	const updates = 20_000
	var o *outbox
	var writers sync.WaitGroup
	var taken atomic.Int64
	started := 0
	o = newOutbox(updates, 1, func() {
		started++
		writers.Go(func() {
			room := make([]*update, chunkSize)
			for {
				for b := o.take(room); !b.isEmpty(); b = o.take(room) {
					taken.Add(int64(len(b.updates)))
				}
				if o.stopWriter() {
					return
				}
				<-o.wake
			}
		})
	})
	u := new(update)
	for n := range updates {
		if n%3 > 0 { // the writer is kept, then told to stop
			o.mu.Lock()
			o.keepWriter, o.batches = n%3 == 1, 0
			o.mu.Unlock()
			o.reviewWriter()
		}
		for range n % 500 { // so that updates meet the writer anywhere on its way out
			taken.Load()
		}
		o.offer(u, 0)
		for begin := time.Now(); taken.Load() <= int64(n); runtime.Gosched() {
			if time.Since(begin) > 10*time.Second {
				t.Fatalf("update %d stays in the outbox", n)
			}
		}
	}
	for running := true; running; {
		o.reviewWriter()
		o.mu.Lock()
		running = o.hasWriter
		o.mu.Unlock()
	}
	writers.Wait()
	if started < 10 {
		t.Errorf("%d writers were started, want many", started)
	}
}
