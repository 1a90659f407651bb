package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/configs"
)

func TestRefuseBesideDemo(t *testing.T) {
	dir := t.TempDir()
	cfg := &configs.Config{DataDir: dir}
	cfg.Cluster.DataDir = filepath.Join(dir, "postgres")
	makeCluster := func(path ...string) {
		t.Helper()
		path = append(append([]string{dir}, path...), "postgres", "pgdata")
		if err := os.MkdirAll(filepath.Join(path...), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := refuseBesideDemo(cfg); err != nil {
		t.Errorf("without any cluster: got %v", err)
	}
	makeCluster("demo")
	if err := refuseBesideDemo(cfg); err == nil ||
		!strings.Contains(err.Error(), "DATA_DIR="+filepath.Join(dir, "demo")) {
		t.Errorf("with the demo's alone: got %v", err)
	}
	makeCluster()
	if err := refuseBesideDemo(cfg); err != nil {
		t.Errorf("with both: got %v", err)
	}
}

func TestDemoPassword_StaysTheSame(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	first, err := demoPassword(file)
	if err != nil || len(first) < 20 {
		t.Fatalf("got %q, %v", first, err)
	}
	if again, err := demoPassword(file); err != nil || again != first {
		t.Errorf("got %q, %v, want %q", again, err, first)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
}
