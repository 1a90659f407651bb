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

// Server is a redis-server on loopback that stores nothing on disk and keeps its port when it is
// restarted.
type Server struct {
	t    testing.TB
	port string
	args []string
	cmd  *exec.Cmd
}

// Start starts redis-server with these arguments, of which the first may be a configuration file,
// and stops it at the end of the test. Without redis-server the test fails.
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

// Addr returns host:port of the server.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// Port returns the port of Addr.
func (s *Server) Port() string { return s.port }

// URL returns the address in the form of REDIS_URL.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Run starts the server, for the first time or after Kill, and waits until it answers.
func (s *Server) Run() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", s.args...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("redis-server: %v; apt-get install redis-server, or ./task setup", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", s.Addr())
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("redis-server does not answer: %v", err)
		}
	}
}

// Kill kills the server, which loses its data. Killing it twice is harmless.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// Pause stops the process: connections stay open and get no answers.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume ends a pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

// Flush deletes all keys.
func (s *Server) Flush() {
	out, err := exec.Command("redis-cli", "-p", s.port, "flushall").CombinedOutput()
	if err != nil {
		s.t.Errorf("redis-cli: %v: %s", err, out)
	}
}

func (s *Server) signal(sig syscall.Signal) {
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Errorf("redis-server: %v", err)
	}
}
