//go:build unix && !linux

package postgres

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// childAttributes has the child run as server, in a process group of its own so that a Ctrl-C in
// the terminal reaches this process only. This kernel does not signal the child when this process
// dies: the next start ends it.
func childAttributes(server account) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: server.credential(), Setpgid: true}
}

// serversOn returns the pid of the postmaster that runs on pgdata, if one does.
func serversOn(pgdata string) []int {
	pid := (&dataDir{path: filepath.Dir(pgdata)}).recordedPid()
	if pid == 0 {
		return nil
	}
	line, err := exec.Command("ps", "-p", strconv.Itoa(pid), "-o", "command=").Output()
	if err != nil || !strings.Contains(string(line), "postgres") ||
		!strings.Contains(string(line), pgdata) {
		return nil
	}
	return []int{pid}
}

// memory returns how many bytes of RAM this process may count on, 0 when unknown.
func memory() int64 { return 0 }
