//go:build unix

package broker

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
)

func init() { children["broker short of files"] = shortOfFiles }

// TestListener_SurvivesRunningOutOfFileDescriptors runs the broker in a process that may open few
// files.
func TestListener_SurvivesRunningOutOfFileDescriptors(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=broker short of files")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "accepting mqtt connection failed") {
		t.Errorf("got %v\n%s", err, out)
	}
}

// shortOfFiles opens connections to a broker until there are no files left, lets go of them, and
// logs in.
func shortOfFiles() int {
	fail := func(format string, args ...any) int {
		fmt.Printf(format+"\n", args...)
		return 1
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fail("listen: %v", err)
	}
	access := Access{
		Login: func(context.Context, string, string) (Gateway, bool, error) {
			return Gateway{1, "g1", 1}, true, nil
		},
		AreValid: func(_ context.Context, gateways []Gateway) ([]bool, error) {
			return slices.Repeat([]bool{true}, len(gateways)), nil
		},
	}
	submit := func(context.Context, ingest.Message) error { return nil }
	b, err := New(DefaultConfig(), Listeners{Plain: l}, access, submit,
		slog.New(slog.NewTextHandler(os.Stdout, nil)), prometheus.NewRegistry())
	if err != nil {
		return fail("broker: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()

	files, err := os.Open(os.DevNull) // its number says how many are open
	if err != nil {
		return fail("open: %v", err)
	}
	limit := syscall.Rlimit{Cur: uint64(files.Fd()) + 20, Max: uint64(files.Fd()) + 20}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fail("limit: %v", err)
	}
	var conns []net.Conn
	for {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break
		}
		conns = append(conns, conn)
	}
	if len(conns) < 5 || len(conns) > 20 {
		return fail("connections: %d", len(conns))
	}
	time.Sleep(100 * time.Millisecond) // the broker fails to accept for a while
	for _, conn := range conns {
		_ = conn.Close()
	}
	enter := func() (took time.Duration, ok bool) {
		began := time.Now()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return 0, false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = conn.Write(old{}.connect("g1", "secret"))
		answer := make([]byte, 4)
		n, _ := conn.Read(answer)
		return time.Since(began), n == 4 && answer[0] == 0x20 && answer[3] == 0
	}
	first, ok := enter()
	if !ok {
		return fail("no login succeeds after the files are free")
	}
	usual, ok := enter()
	if !ok || first > time.Second+10*usual { // the machine may be slow
		return fail("the first login took %v, then %v", first, usual)
	}
	cancel()
	if err := <-ended; err != nil {
		return fail("run: %v", err)
	}
	return 0
}
