// Package mosquitto gives tests a real Mosquitto, an external MQTT broker.
package mosquitto

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/loopback"
)

// Broker is a mosquitto on loopback that keeps sessions and messages when it is restarted.
type Broker struct {
	t    testing.TB
	path string
	dir  string
	conf string
	port int
	cmd  *exec.Cmd
}

// Start starts a broker with lines added to its configuration, and stops it at the end of the test.
// Without mosquitto the test fails.
func Start(t testing.TB, lines ...string) *Broker {
	t.Helper()
	b := newBroker(t)
	b.start("allow_anonymous true", "persistence true", "persistence_location "+b.dir+"/",
		"max_queued_messages 0", "max_inflight_messages 0", "set_tcp_nodelay true",
		strings.Join(lines, "\n"))
	return b
}

// StartAs starts a broker with conf and acl, a configuration and an access control list for
// /etc/mosquitto, and with users whose passwords are their names. It stops it at the end of the
// test.
func StartAs(t testing.TB, conf, acl string, users ...string) *Broker {
	t.Helper()
	b := newBroker(t)
	b.write("acl", acl)
	b.write("passwords", "")
	for _, user := range users {
		if out, err := exec.Command("mosquitto_passwd", "-b", filepath.Join(b.dir, "passwords"),
			user, user).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd: %v: %s", err, out)
		}
	}
	b.start(strings.NewReplacer("listener 1883\n", "", "/etc/mosquitto/", b.dir+"/",
		"/var/lib/mosquitto/", b.dir+"/").Replace(conf))
	return b
}

func newBroker(t testing.TB) *Broker {
	t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto" // where Debian installs it, which may not be on the PATH
		if _, err := os.Stat(path); err != nil {
			t.Fatal("this test needs mosquitto; apt-get install mosquitto, or ./task setup")
		}
	}
	port, err := loopback.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &Broker{
		t:    t,
		path: path,
		dir:  dir,
		conf: filepath.Join(dir, "mosquitto.conf"),
		port: port,
	}
}

// start runs the broker with a listener on loopback and these lines of configuration.
func (b *Broker) start(lines ...string) {
	b.t.Helper()
	conf := fmt.Sprintf("listener %d 127.0.0.1\n", b.port) + strings.Join(lines, "\n") + "\n"
	if os.Geteuid() == 0 {
		conf += "user root\n" // another user could not read the test's directory
	}
	b.write(filepath.Base(b.conf), conf)
	b.Run()
	b.t.Cleanup(b.Kill)
}

func (b *Broker) write(name, content string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// Addr returns host:port of the broker.
func (b *Broker) Addr() string { return net.JoinHostPort(b.Host(), strconv.Itoa(b.port)) }

// Host returns the host of Addr.
func (b *Broker) Host() string { return "127.0.0.1" }

// Port returns the port of Addr.
func (b *Broker) Port() int { return b.port }

// Run starts the broker, for the first time or after Stop or Kill, and waits until it answers.
func (b *Broker) Run() {
	b.t.Helper()
	b.cmd = exec.Command(b.path, "-c", b.conf)
	b.cmd.Stderr = b.t.Output()
	if err := b.cmd.Start(); err != nil {
		b.t.Fatalf("mosquitto: %v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", b.Addr())
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("mosquitto does not answer: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Stop ends the broker after it has saved sessions and messages.
func (b *Broker) Stop() { b.end(os.Interrupt) }

// Kill kills the broker. Killing it twice is harmless.
func (b *Broker) Kill() { b.end(os.Kill) }

func (b *Broker) end(sig os.Signal) {
	if b.cmd.ProcessState != nil {
		return
	}
	if err := b.cmd.Process.Signal(sig); err != nil {
		b.t.Errorf("mosquitto: %v", err)
	}
	_ = b.cmd.Wait() // its error is the signal
}
