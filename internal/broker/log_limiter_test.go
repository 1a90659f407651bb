package broker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogLimiter_AllowsALineAMinuteAndCountsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logLimiter
		for minute := range 3 {
			count, ok := l.allow("a")
			if want := 1 + min(minute, 1)*5; !ok || count != want {
				t.Errorf("minute %d: got %d, %v, want %d", minute, count, ok, want)
			}
			for range 5 {
				if _, ok := l.allow("a"); ok {
					t.Error("a second line was allowed")
				}
			}
			time.Sleep(logInterval)
		}
	})
}

func TestLogLimiter_ReconnectsWithoutADatabaseLogOneLine(t *testing.T) {
	b := newTestBroker(t, nil)
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
		!strings.Contains(got, "checking gateway credential failed") {
		t.Errorf("got\n%s", got)
	}
}
