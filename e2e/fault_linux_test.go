package e2e

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// memory is how much of the machine's the program has, in bytes; 0 when it has ended.
func (p *process) memory() int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	var kib int
	_, rest, _ := bytes.Cut(text, []byte("VmRSS:"))
	_, _ = fmt.Sscan(string(rest), &kib) // stays 0
	return kib << 10
}

// openFiles is how many file descriptors the program has.
func (p *process) openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// limitFiles leaves the program a few more file descriptors than it has, and returns how many it
// may have.
func (p *process) limitFiles(t *testing.T) int {
	t.Helper()
	limit := p.openFiles(t) + 20
	p.setLimit(t, uint64(limit))
	return limit
}

// liftLimit ends what limitFiles did.
func (p *process) liftLimit(t *testing.T) { p.setLimit(t, 4096) }

func (p *process) setLimit(t *testing.T, files uint64) {
	t.Helper()
	var now unix.Rlimit
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &now); err != nil {
		t.Fatalf("prlimit: %v", err)
	}
	now.Cur = min(files, now.Max)
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &now, nil); err != nil {
		t.Fatalf("prlimit: %v", err)
	}
}

// smallDisk is a data directory on a disk of its own.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := dataDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0711", size)); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}
