package plant

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// mosquitto is a broker of its own for one test, which keeps nothing over a restart.
type mosquitto struct {
	address string
	config  string
	process *exec.Cmd
}

func startMosquitto(t *testing.T) *mosquitto {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().(*net.TCPAddr)
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	b := &mosquitto{address: address.String(), config: filepath.Join(t.TempDir(), "mosquitto.conf")}
	settings := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n", address.Port)
	if err := os.WriteFile(b.config, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	t.Cleanup(b.kill)
	return b
}

func (b *mosquitto) start(t *testing.T) {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
	}
	b.process = exec.Command(program, "-c", b.config)
	if err := b.process.Start(); err != nil {
		t.Fatalf("this test needs mosquitto, which tools/setup.sh installs: %v", err)
	}
	for until := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", b.address)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(until) {
			t.Fatalf("mosquitto does not answer: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (b *mosquitto) kill() {
	_ = b.process.Process.Kill()
	_ = b.process.Wait()
}
