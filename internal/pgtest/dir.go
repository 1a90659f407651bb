package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Dir returns a directory that any user may enter, and removes it at the end of the test. When root
// runs the tests, PostgreSQL runs as another user, who may not enter t.TempDir.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := makeDir()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		err := os.RemoveAll(dir)
		deadline := time.Now().Add(10 * time.Second)
		for err != nil && time.Now().Before(deadline) {
			// processes of a server whose parent was killed may still write to it
			time.Sleep(50 * time.Millisecond)
			err = os.RemoveAll(dir)
		}
		if err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return dir
}

const dirPrefix = "oei-ms-pgtest-"

// makeDir makes a directory that is named after this process, and removes those of processes that
// do not run any more.
func makeDir() (string, error) {
	others, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, other := range others {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(other), dirPrefix+"%d-", &pid); err == nil &&
			!isRunning(pid) {
			os.RemoveAll(other) // fails if it belongs to another user
		}
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711)
}

// isRunning reports whether process pid exists.
func isRunning(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer p.Release()
	err = p.Signal(syscall.Signal(0))
	return err == nil || os.IsPermission(err)
}
