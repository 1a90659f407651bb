//go:build unix

// Package redistest gives tests a real Redis.
package redistest

import (
	"net"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/loopback"
)

// Server is a redis-server on loopback that keeps nothing on disk and has the same port whenever it
// runs.
type Server struct {
	t    testing.TB
	port string
	args []string
	cmd  *exec.Cmd
}

// Start starts a Redis for the time of the test, with arguments for redis-server; the first may be
// a file of settings. A machine without redis-server fails the test.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	port, err := loopback.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, port: strconv.Itoa(port)}
	s.args = append(slices.Clone(args), "--port", s.port, "--bind", "127.0.0.1", "--dir",
		t.TempDir())
	if !slices.Contains(args, "--sentinel") {
		s.args = append(s.args, "--save", "", "--appendonly", "no")
	}
	s.Run()
	t.Cleanup(s.Kill)
	return s
}

// Addr is where it listens, as host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// Port is the port of Addr.
func (s *Server) Port() string { return s.port }

// URL is the address as REDIS_URL has it.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Run starts the server, for the first time or after Kill, and waits until it answers.
func (s *Server) Run() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", s.args...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("this test needs redis-server: apt-get install redis-server, or ./task setup: %v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", s.Addr())
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("redis-server: it does not answer: %v", err)
		}
	}
}

// Kill ends the server as a crash would, and what it had is gone. It is harmless when it has ended.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// Pause has the server answer nobody, its connections open.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume ends a pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

// Flush deletes all that it has.
func (s *Server) Flush() {
	if out, err := exec.Command("redis-cli", "-p", s.port, "flushall").CombinedOutput(); err != nil {
		s.t.Errorf("redis-cli: %v: %s", err, out)
	}
}

func (s *Server) signal(sig syscall.Signal) {
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Errorf("redis-server: %v", err)
	}
}
