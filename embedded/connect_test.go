package embedded

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestConnecting(t *testing.T) {
	long := strings.Repeat("x", 300)
	tests := map[string]struct {
		sent, want string
		err        error
	}{
		"a packet and what follows":    {"\x10\x02abcd", "\x10\x02abcd", nil},
		"an empty one":                 {"\x10\x00cd", "\x10\x00cd", nil},
		"a length of two bytes":        {"\x10\xac\x02" + long + "y", "\x10\xac\x02" + long + "y", nil},
		"another packet":               {"\x30\x02ab", "", errNoConnect},
		"longer than it may be":        {"\x10\xff\xff\x7f", "", errNoConnect},
		"a length that does not end":   {"\x10\xff\xff\xff\xff\x01", "", errNoConnect},
		"nothing":                      {"", "", io.EOF},
		"one that breaks off":          {"\x10\x05ab", "", io.EOF},
		"one that breaks off at once":  {"\x10", "", io.EOF},
		"flags that are none of those": {"\x12\x02ab", "", errNoConnect},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			go func() { _, _ = io.WriteString(there, tt.sent); _ = there.Close() }()
			defer here.Close()
			conn, err := connecting(here, 1000)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			if got, err := io.ReadAll(conn); string(got) != tt.want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestOneWhoHasNotLoggedInHasOnlyTheMemoryThatHeFills(t *testing.T) {
	const clients, announced = 32, "\x10\xf0\xff\x3f" // nearly 1 MiB
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range clients {
		here, there := net.Pipe()
		defer there.Close()
		go func() { _, _ = connecting(here, 1<<20) }()
		_, _ = io.WriteString(there, announced)
		_, _ = io.WriteString(there, "x") // taken: it waits for the rest by now
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / clients; got > 64<<10 {
		t.Errorf("each took %d bytes for six", got)
	}
}

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
	var log strings.Builder
	b.log = slog.New(slog.NewTextHandler(&log, nil))
	b.set(func() { b.down = true })
	for range 20 {
		c := b.dial()
		if got := c.login("g1"); got != "CONNACK 0x88" {
			t.Fatalf("got %s", got)
		}
		c.reads("closed")
	}
	b.stop()
	if got := log.String(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, "cannot check a gateway's credential") {
		t.Errorf("got\n%s", got)
	}
}
