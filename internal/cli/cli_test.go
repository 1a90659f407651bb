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
