package e2e

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// memory returns the resident memory of the program in bytes; 0 when it has ended.
func (p *process) memory() int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	var kib int
	_, rest, _ := bytes.Cut(text, []byte("VmRSS:"))
	_, _ = fmt.Sscan(string(rest), &kib) // stays 0
	return kib << 10
}

// openFiles returns the number of file descriptors that the program has.
func (p *process) openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// limitFiles lowers the limit of file descriptors to a few more than the program has, and returns
// it.
func (p *process) limitFiles(t *testing.T) int {
	t.Helper()
	limit := p.openFiles(t) + 20
	p.setLimit(t, uint64(limit))
	return limit
}

// liftLimit raises the limit again.
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

// smallDisk returns a data directory on a file system of this size.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := dataDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0,
		fmt.Sprintf("size=%d,mode=0711", size)); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}
