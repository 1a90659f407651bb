package push

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// wantEnd waits for a connection to be closed by the hub with code, between from and to after
// begin.
func wantEnd(t *testing.T, c *client, code int, begin time.Time, from, to time.Duration) {
	t.Helper()
	c.wantClose(code)
	if took := time.Since(begin); took < from || took > to {
		t.Errorf("closed with %d after %v, want %v to %v", code, took, from, to)
	}
}

func TestNoAuthFrameInTime(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *world) {
		begin := time.Now()
		c := w.connect("", "sensors/1")
		c.send(`{"type":"subscribe","topics":["sensors/1"]}`) // is none
		wantEnd(t, c, CloseAuthTimeout, begin, authTimeout, authTimeout+deadlineInterval)
	})
}

func TestExpiry(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *world) {
		begin := time.Now()
		w.door.set(func() {
			w.door.tokens["short"] = Identity{
				UserID:    1,
				SessionID: "s-ann",
				Expires:   begin.Add(time.Minute),
			}
			w.door.tokens["longer"] = Identity{
				UserID:    1,
				SessionID: "s-ann",
				Expires:   begin.Add(5 * time.Minute),
			}
		})
		ends, renewed := w.listener("short"), w.listener("short")
		renewed.send(`{"type":"auth","token":"longer"}`)
		renewed.want(`{"type":"authenticated","user_id":1,"expires_at":"2000-01-01T00:05:00.000000Z"}`)
		go func() {
			for range renewed.collect() { // answers pings
			}
		}()
		wantEnd(t, ends, CloseNotAuthenticated, begin, time.Minute, time.Minute+deadlineInterval)
		time.Sleep(3 * time.Minute)
		if open := w.metric("websocket_connections_active", ""); open != 1 {
			t.Errorf("%v connections after the first token's end, want the renewed one", open)
		}
		time.Sleep(time.Minute + deadlineInterval)
		if open := w.metric("websocket_connections_active", ""); open != 0 {
			t.Errorf("%v connections after the second token's end, want 0", open)
		}
	})
}

func TestASessionThatEndedLosesItsConnections(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *world) {
		one, two, other := w.listener("ann"), w.listener("ann"), w.listener("bob", "sensors/1")
		frames := other.collect()
		time.Sleep(time.Second)
		begin := time.Now()
		w.door.set(func() { w.door.ended["s-ann"] = true })
		wantEnd(t, one, CloseNotAuthenticated, begin, 0, 5*time.Second)
		wantEnd(t, two, CloseNotAuthenticated, begin, 0, 5*time.Second)

		w.hub.Publish([]Reading{reading(1, 1, 7)})
		if got := values(t, <-frames); len(got) != 1 || got[0] != 7 {
			t.Errorf("the other session got %v, want its reading", got)
		}
	})
}

func TestEachSessionIsCheckedOnceARound(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *world) {
		for range 10 {
			w.listener("ann").collect()
			w.listener("bob").collect()
		}
		w.door.set(func() { w.door.checks = 0 })
		time.Sleep(10 * sessionCheckInterval)
		synctest.Wait()
		w.door.set(func() {
			if w.door.checks != 20 {
				t.Errorf("%d checks in 10 rounds of 2 sessions with 10 connections each, want 20",
					w.door.checks)
			}
		})
	})
}

func TestConnectionsStayWhileSessionsCannotBeChecked(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *world) {
		begin := time.Now()
		w.door.set(func() {
			w.door.tokens["short"] = Identity{
				UserID:    1,
				SessionID: "s-ann",
				Expires:   begin.Add(time.Minute),
			}
		})
		c := w.listener("short")
		w.door.set(func() { w.door.down = errors.New("database is down") })
		wantEnd(t, c, CloseNotAuthenticated, begin, time.Minute, time.Minute+deadlineInterval)
	})
}

func TestEndSession_ClosesItsConnectionsAtOnce(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *world) {
		w.door.set(func() {
			w.door.tokens["ann2"] = Identity{
				UserID:    1,
				SessionID: "s-ann2",
				Expires:   time.Now().Add(time.Hour),
			}
		})
		ann, ann2, bob := w.listener("ann"), w.listener("ann2"), w.listener("bob", "sensors/1")
		begin := time.Now()
		w.hub.EndSession("s-ann")
		wantEnd(t, ann, CloseNotAuthenticated, begin, 0, 0)
		w.hub.EndSession("s-ann2")
		wantEnd(t, ann2, CloseNotAuthenticated, begin, 0, 0)
		w.hub.Publish([]Reading{reading(1, 1, 7)})
		bob.skip("sensor_data")
	})
}

func TestPingFramesComeEvery30Seconds(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *world) {
		c := w.listener("ann")
		c.want(`{"type":"ping","time":"2000-01-01T00:00:30.000000Z"}`,
			`{"type":"ping","time":"2000-01-01T00:01:00.000000Z"}`)
	})
}

func TestAClientThatIsNotThereIsClosed(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *world) {
		begin := time.Now()
		c := w.listener("ann")
		c.ws.SetPingHandler(func(string) error { return nil }) // takes pings, answers none
		wantEnd(t, c, CloseTryLater, begin, silenceTimeout, silenceTimeout+deadlineInterval)
	})
}

func TestAClientThatTakesNothingIsClosed(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *world) {
		begin := time.Now()
		w.listener("ann", "sensors/1") // and reads no more
		w.hub.Publish([]Reading{reading(1, 1, 7)})
		time.Sleep(writeTimeout - time.Millisecond)
		if open := w.metric("websocket_connections_active", ""); open != 1 {
			t.Errorf("%v connections after %v, want 1", open, time.Since(begin))
		}
		time.Sleep(2 * time.Millisecond)
		if open, closed := w.metric("websocket_connections_active", ""), w.metric(
			"oei_ws_closed_total", "1013",
		); open != 0 || closed != 1 {
			t.Errorf("%v connections, %v closed with 1013 after %v, want 0 and 1", open, closed,
				time.Since(begin))
		}
	})
}

func TestASlowClientThatTakesALittleStays(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *world) {
		c := w.listener("ann", "sensors/1")
		for i := range 3000 { // 5 minutes
			w.hub.Publish([]Reading{reading(1, 1, float64(2*i)), reading(1, 1, float64(2*i+1))})
			if _, err := c.next(); err != nil {
				t.Fatalf("after %d frames: %v", i, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

func TestTakingAnythingIsASignOfLife(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *world) {
		c := w.listener("ann", "sensors/1")
		c.ws.SetPingHandler(func(string) error { return nil })
		w.hub.Publish([]Reading{reading(1, 1, 7)})
		time.Sleep(20 * time.Second) // longer than silence may last
		begin := time.Now()
		c.skip("sensor_data")
		wantEnd(t, c, CloseTryLater, begin, silenceTimeout, silenceTimeout+deadlineInterval)
	})
}

func TestAnEndedConnectionWhoseWriterIsStuckGoesAway(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *world) {
		c := w.listener("ann", "sensors/1")
		w.hub.Publish([]Reading{reading(1, 1, 7)}) // nobody reads it
		synctest.Wait()
		begin := time.Now()
		w.hub.EndSession("s-ann")
		w.hub.running.Wait()
		if took := time.Since(begin); took != closeTimeout {
			t.Errorf("its goroutines ended after %v, want %v", took, closeTimeout)
		}
		if frame, err := c.next(); err == nil {
			t.Errorf("got %s after the end", frame)
		}
	})
}
