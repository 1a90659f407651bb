package push

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// wantEnd checks that the hub closes the connection with code, between from and to after begin.
func wantEnd(t *testing.T, c *client, code int, begin time.Time, from, to time.Duration) {
	t.Helper()
	c.wantClose(code)
	if took := time.Since(begin); took < from || took > to {
		t.Errorf("closed with %d after %v, want %v to %v", code, took, from, to)
	}
}

func TestAuthTimeout(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		begin := time.Now()
		c := w.connect("", "sensors/1")
		c.send(`{"type":"subscribe","topics":["sensors/1"]}`) // not an auth frame
		wantEnd(t, c, CloseAuthTimeout, begin, authTimeout, authTimeout+deadlineInterval)
	})
}

func TestExpiredToken_ClosesUnlessRenewed(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		begin := time.Now()
		w.auth.set(func() {
			w.auth.tokens["short"] = Identity{
				UserID:    1,
				SessionID: "s-ann",
				Expires:   begin.Add(time.Minute),
			}
			w.auth.tokens["longer"] = Identity{
				UserID:    1,
				SessionID: "s-ann",
				Expires:   begin.Add(5 * time.Minute),
			}
		})
		ends, renewed := w.subscribe("short"), w.subscribe("short")
		renewed.send(`{"type":"auth","token":"longer"}`)
		renewed.want(`{"type":"authenticated","user_id":1,` +
			`"expires_at":"2000-01-01T00:05:00.000000Z"}`)
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

func TestSessionCheck_ClosesEndedSessions(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		one, two, other := w.subscribe("ann"), w.subscribe("ann"), w.subscribe("bob", "sensors/1")
		frames := other.collect()
		time.Sleep(time.Second)
		begin := time.Now()
		w.auth.set(func() { w.auth.ended["s-ann"] = true })
		wantEnd(t, one, CloseNotAuthenticated, begin, 0, 5*time.Second)
		wantEnd(t, two, CloseNotAuthenticated, begin, 0, 5*time.Second)

		w.hub.Publish([]Reading{reading(1, 1, 7)})
		if got := values(t, <-frames); len(got) != 1 || got[0] != 7 {
			t.Errorf("the other session got %v, want its reading", got)
		}
	})
}

func TestSessionCheck_AsksOncePerSession(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		for range 10 {
			w.subscribe("ann").collect()
			w.subscribe("bob").collect()
		}
		w.auth.set(func() { w.auth.checks = 0 })
		time.Sleep(10 * sessionCheckInterval)
		synctest.Wait()
		w.auth.set(func() {
			if w.auth.checks != 20 {
				t.Errorf("%d checks in 10 rounds of 2 sessions with 10 connections each, want 20",
					w.auth.checks)
			}
		})
	})
}

func TestSessionCheck_KeepsConnectionsDuringAnOutage(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		begin := time.Now()
		w.auth.set(func() {
			w.auth.tokens["short"] = Identity{
				UserID:    1,
				SessionID: "s-ann",
				Expires:   begin.Add(time.Minute),
			}
		})
		c := w.subscribe("short")
		w.auth.set(func() { w.auth.down = errors.New("database is down") })
		wantEnd(t, c, CloseNotAuthenticated, begin, time.Minute, time.Minute+deadlineInterval)
	})
}

func TestEndSession_ClosesItsConnectionsAtOnce(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		w.auth.set(func() {
			w.auth.tokens["ann2"] = Identity{
				UserID:    1,
				SessionID: "s-ann2",
				Expires:   time.Now().Add(time.Hour),
			}
		})
		ann, ann2, bob := w.subscribe("ann"), w.subscribe("ann2"), w.subscribe("bob", "sensors/1")
		begin := time.Now()
		w.hub.EndSession("s-ann")
		wantEnd(t, ann, CloseNotAuthenticated, begin, 0, 0)
		w.hub.EndSession("s-ann2")
		wantEnd(t, ann2, CloseNotAuthenticated, begin, 0, 0)
		w.hub.Publish([]Reading{reading(1, 1, 7)})
		bob.skip("sensor_data")
	})
}

func TestPingFrames_ComeEvery30Seconds(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		c := w.subscribe("ann")
		c.want(`{"type":"ping","time":"2000-01-01T00:00:30.000000Z"}`,
			`{"type":"ping","time":"2000-01-01T00:01:00.000000Z"}`)
	})
}

func TestSilentClient_IsClosed(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		begin := time.Now()
		c := w.subscribe("ann")
		c.ws.SetPingHandler(func(string) error { return nil }) // reads pings without answering
		wantEnd(t, c, CloseTryLater, begin, silenceTimeout, silenceTimeout+deadlineInterval)
	})
}

func TestWriteTimeout_ClosesClientThatReadsNothing(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		begin := time.Now()
		w.subscribe("ann", "sensors/1") // and does not read any more
		w.hub.Publish([]Reading{reading(1, 1, 7)})
		time.Sleep(writeTimeout - time.Millisecond)
		if open := w.metric("websocket_connections_active", ""); open != 1 {
			t.Errorf("%v connections after %v, want 1", open, time.Since(begin))
		}
		time.Sleep(2 * time.Millisecond)
		open := w.metric("websocket_connections_active", "")
		closed := w.metric("oei_ws_closed_total", "1013")
		if open != 0 || closed != 1 {
			t.Errorf("%v connections, %v closed with 1013 after %v, want 0 and 1", open, closed,
				time.Since(begin))
		}
	})
}

func TestWriteTimeout_KeepsSlowClient(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		c := w.subscribe("ann", "sensors/1")
		for i := range 3000 { // 5 minutes
			w.hub.Publish([]Reading{reading(1, 1, float64(2*i)), reading(1, 1, float64(2*i+1))})
			if _, err := c.next(); err != nil {
				t.Fatalf("after %d frames: %v", i, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

func TestSlowWrite_IsASignOfLife(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		c := w.subscribe("ann", "sensors/1")
		c.ws.SetPingHandler(func(string) error { return nil })
		w.hub.Publish([]Reading{reading(1, 1, 7)})
		time.Sleep(20 * time.Second) // longer than silenceTimeout
		begin := time.Now()
		c.skip("sensor_data")
		wantEnd(t, c, CloseTryLater, begin, silenceTimeout, silenceTimeout+deadlineInterval)
	})
}

func TestEndedConnection_ClosesWhileItsWriterIsStuck(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		c := w.subscribe("ann", "sensors/1")
		w.hub.Publish([]Reading{reading(1, 1, 7)}) // the client does not read it
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
