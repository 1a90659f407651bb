//go:build unix

package postgres

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// RunningDSN returns the connection string of the server that another process runs on the cluster
// in dataDir; "" when none runs.
func RunningDSN(dataDir string) string {
	text, err := os.ReadFile(filepath.Join(dataDir, "pgdata", "postmaster.pid"))
	if err != nil {
		return ""
	}
	// pid, data directory, start, port, socket directory, address, memory, state
	lines := strings.Split(string(text), "\n")
	if len(lines) < 8 || strings.TrimSpace(lines[7]) != "ready" {
		return ""
	}
	pid, err := strconv.Atoi(lines[0])
	if err != nil || syscall.Kill(pid, 0) == syscall.ESRCH {
		return ""
	}
	return socketDSN(lines[4], Database)
}
