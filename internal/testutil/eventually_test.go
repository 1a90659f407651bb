package testutil

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// recorder is a test that records its failure.
type recorder struct {
	testing.TB
	fatal string
	logs  []string
}

func (r *recorder) Helper()         {}
func (r *recorder) Log(args ...any) { r.logs = append(r.logs, fmt.Sprint(args...)) }
func (r *recorder) Fatalf(format string, args ...any) {
	r.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestEventually(t *testing.T) {
	calls := 0
	Eventually(t, time.Minute, "three calls", func() bool { calls++; return calls == 3 })
	if calls != 3 {
		t.Errorf("called %d times, want 3", calls)
	}
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		Eventually(r, time.Millisecond, "the impossible", func() bool { return false },
			func() string { return "state 7" })
	}()
	<-done
	if !strings.Contains(r.fatal, "the impossible") || strings.Join(r.logs, "") != "state 7" {
		t.Errorf("got failure %q and logs %q", r.fatal, r.logs)
	}
}
