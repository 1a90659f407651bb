package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Dir returns a directory for the time of the test that any user may enter. t.TempDir is closed to
// the user who runs PostgreSQL when root runs the tests.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := makeDir()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		err := os.RemoveAll(dir)
		for patience := time.Now().Add(10 * time.Second); err != nil &&
			time.Now().Before(patience); err = os.RemoveAll(dir) {
			// the processes of a server whose parent was killed may be at it still
			time.Sleep(50 * time.Millisecond)
		}
		if err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return dir
}

const dirPrefix = "oei-ms-pgtest-"

// makeDir makes a directory that is named after this process, and removes those of processes that
// were killed.
func makeDir() (string, error) {
	others, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, other := range others {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(other), dirPrefix+"%d-", &pid); err == nil &&
			!lives(pid) {
			os.RemoveAll(other) // it may be another user's
		}
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711)
}

// lives reports whether there is a process pid.
func lives(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer p.Release()
	err = p.Signal(syscall.Signal(0))
	return err == nil || os.IsPermission(err)
}
