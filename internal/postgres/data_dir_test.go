//go:build unix

package postgres

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCluster_RefusesASecondInstance(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	c := startCluster(t, Config{DataDir: dir, Ephemeral: true})
	refused(t, Config{DataDir: dir}, dir, "another instance", "pid", "DATA_DIR")
	number(t, c, "SELECT 1")
}

func TestCluster_SaysWhyADirectoryCannotBeUsed(t *testing.T) {
	t.Parallel()
	made := func(t *testing.T) string {
		dir := clusterDir(t)
		if err := startCluster(t,
			Config{DataDir: dir, Ephemeral: true}).Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	tests := map[string]struct {
		dir  func(t *testing.T) string
		want []string
	}{
		"created by a version that is not installed": {
			func(t *testing.T) string { return write(t, made(t), "pgdata/PG_VERSION", "12\n") },
			[]string{
				"created by PostgreSQL 12", "install version 12", "pg_upgrade", "DATABASE_URL",
			},
		},
		"with an invalid version": {
			func(t *testing.T) string { return write(t, made(t), "pgdata/PG_VERSION", "?") },
			[]string{"PG_VERSION", "backup"},
		},
		"with a pgdata that is not PostgreSQL's": {
			func(t *testing.T) string {
				dir := made(t)
				if err := os.Remove(filepath.Join(dir, "pgdata", "PG_VERSION")); err != nil {
					t.Fatal(err)
				}
				return dir
			},
			[]string{"not a PostgreSQL data directory", "move it away"},
		},
		"with a server log that leads elsewhere": {
			func(t *testing.T) string {
				dir := clusterDir(t)
				if err := os.Symlink("/etc/hostname",
					filepath.Join(dir, "postgres.log")); err != nil {
					t.Fatal(err)
				}
				return dir
			},
			[]string{"postgres.log", "symbolic links"},
		},
		"that is a file": {
			func(t *testing.T) string {
				return filepath.Join(write(t, clusterDir(t), "file", ""), "file")
			},
			[]string{"not a directory"},
		},
		"whose data belong to root": {
			func(t *testing.T) string {
				dir := clusterDir(t)
				if err := os.Symlink("/usr", filepath.Join(dir, "pgdata")); err != nil {
					t.Fatal(err)
				}
				return dir
			},
			[]string{"belongs to root", "chown -R postgres"},
		},
	}
	if os.Geteuid() == 0 {
		tests["that the server's account cannot reach"] = struct {
			dir  func(t *testing.T) string
			want []string
		}{
			func(t *testing.T) string {
				dir := filepath.Join(clusterDir(t), "closed")
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				return filepath.Join(dir, "data")
			},
			[]string{"closed", "0700", "may not enter", "DATA_DIR"},
		}
	} else {
		tests["that this user may not write"] = struct {
			dir  func(t *testing.T) string
			want []string
		}{
			func(*testing.T) string { return "/usr/oei-ms" },
			[]string{"/usr/oei-ms", "permission denied", "chown", "DATA_DIR"},
		}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			refused(t, Config{DataDir: tt.dir(t)}, tt.want...)
		})
	}
}

func TestCluster_NamesTheWrongSetting(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	tests := map[string]struct {
		settings map[string]string
		want     []string
	}{
		"a value that postgres refuses": {
			map[string]string{"shared_buffers": "lots"},
			[]string{"shared_buffers", "lots", "postgres.log"},
		},
		"an unknown setting": {
			map[string]string{"shared_buffer": "1GB"}, []string{"shared_buffer", "unrecognized"},
		},
		"an invalid name": {
			map[string]string{"a=b -c fsync": "off"}, []string{"is not a valid name"},
		},
		"a reserved setting": {
			map[string]string{"fsync": "off", "port": "1"},
			[]string{"fsync", "port", "DATABASE_URL"},
		},
		"more memory than exists": {
			map[string]string{"shared_buffers": "100TB"}, []string{"postgres ended at once"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			refused(t, Config{DataDir: dir, Ephemeral: true, Settings: tt.settings}, tt.want...)
		})
	}
	c := startCluster(t,
		Config{DataDir: dir, Ephemeral: true, Settings: map[string]string{"work_mem": "7MB"}})
	if got := text(t, c, "SHOW work_mem"); got != "7MB" {
		t.Errorf("work_mem: got %s, want 7MB", got)
	}
}

func TestConfig_NeedsADirectory(t *testing.T) {
	err := Config{}.Validate()
	if err == nil || !strings.Contains(err.Error(), "DATA_DIR") {
		t.Errorf("got %v, want an error that names DATA_DIR", err)
	}
}

// refused checks that no cluster starts, and that the one line which says why has every part of
// want.
func refused(t *testing.T, cfg Config, want ...string) error {
	t.Helper()
	c, err := Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err == nil {
		t.Errorf("got a cluster, want an error: %v", c.Stop(t.Context()))
		return nil
	}
	t.Log(err)
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got %q, want it to say %q", err, part)
		}
	}
	return err
}

// write makes a file below dir and returns dir.
func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
