package broker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s seldom
		for minute := range 3 {
			others, ok := s.due()
			if want := min(minute, 1) * 5; !ok || others != want {
				t.Errorf("minute %d: got %d, %v, want %d", minute, others, ok, want)
			}
			for range 5 {
				if _, ok := s.due(); ok {
					t.Error("said again")
				}
			}
			time.Sleep(seldomInterval)
		}
	})
}

func TestReconnectsWhileTheDatabaseIsAwayDoNotFloodTheLog(t *testing.T) {
	b := newBench(t, nil)
	b.set(func() { b.down = true })
	for range 20 {
		c := b.dial()
		if got := c.login("g1"); got != "CONNACK 0x88" {
			t.Fatalf("got %s", got)
		}
		c.reads("closed")
	}
	b.stop()
	if got := b.out.String(); strings.Count(got, "level=WARN") != 1 ||
		!strings.Contains(got, "cannot check a gateway's credential") {
		t.Errorf("got\n%s", got)
	}
}
