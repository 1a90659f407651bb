package postgres

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// childAttributes has the child run as server, in a process group of its own so that a Ctrl-C in
// the terminal reaches this process only, and be interrupted when this process dies. The kernel
// sends that signal when the thread that forked ends: the caller must stay locked to it until the
// child has ended.
func childAttributes(server account) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Credential: server.credential(),
		Setpgid:    true,
		Pdeathsig:  syscall.SIGINT,
	}
}

// serversOn returns the pids of all PostgreSQL processes that run on pgdata, in ascending order.
func serversOn(pgdata string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && runsOn(pid, pgdata) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// runsOn reports whether pid is a PostgreSQL process that runs on pgdata: its working directory, or
// where that may not be read (root without the right to trace others) what its command line says,
// which for the postmaster is enough.
func runsOn(pid int, pgdata string) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	name, err := os.ReadFile(filepath.Join(proc, "comm"))
	if err != nil ||
		!slices.Contains([]string{"postgres", "postmaster"}, strings.TrimSpace(string(name))) {
		return false
	}
	cwd, err := os.Readlink(filepath.Join(proc, "cwd"))
	if err == nil {
		return cwd == pgdata
	}
	if !os.IsPermission(err) {
		return false // it has ended, or waits to be reaped
	}
	line, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
	args := strings.Split(string(line), "\x00")
	i := slices.Index(args, "-D")
	return i >= 0 && i+1 < len(args) && args[i+1] == pgdata
}

// memory returns how many bytes of RAM this process may count on, 0 when unknown.
func memory() int64 {
	var total int64
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			total = kib << 10
		}
	}
	text, _ = os.ReadFile("/sys/fs/cgroup/memory.max")
	if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil &&
		limit < total {
		total = limit
	}
	return total
}
