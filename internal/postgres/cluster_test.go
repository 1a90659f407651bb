//go:build unix

package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCluster_KeepsItsData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(clusterDir(t), "made", "for it")
	for i, want := range []int{1, 2, 3} {
		began := time.Now()
		c := startCluster(t, Config{DataDir: dir})
		t.Logf("start %d took %v", i, time.Since(began).Round(time.Millisecond))
		query(t, c, "CREATE TABLE IF NOT EXISTS numbers (n int)")
		query(t, c, "INSERT INTO numbers VALUES (1)")
		if got := number(t, c, "SELECT count(*) FROM numbers"); got != want {
			t.Errorf("rows at start %d: got %d, want %d", i, got, want)
		}
		for name, want := range map[string]string{
			"fsync": "on", "synchronous_commit": "on", "listen_addresses": "", "TimeZone": "UTC",
			"server_encoding": "UTF8",
		} {
			if got := text(t, c, "SHOW "+name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		for range 2 {
			if err := c.Stop(t.Context()); err != nil {
				t.Errorf("stop: %v", err)
			}
		}
		if pids := serversOn(filepath.Join(dir, "pgdata")); len(pids) > 0 {
			t.Errorf("processes after the stop: got %v, want none", pids)
		}
	}
}

func TestCluster_AcceptsAnyPath(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{
		"too long for a socket": strings.Repeat("long", 30), "with odd letters": `it's \ "odd" ü`,
	} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t,
				Config{DataDir: filepath.Join(clusterDir(t), dir), Ephemeral: true})
			number(t, c, "SELECT 1")
			if err := c.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(c.dir.socket); c.dir.temporary && !os.IsNotExist(err) {
				t.Errorf("%s after the stop: got %v, want it gone", c.dir.socket, err)
			}
		})
	}
}

func TestStart_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	for _, patience := range []time.Duration{
		0, 50 * time.Millisecond, 300 * time.Millisecond, 600 * time.Millisecond,
		900 * time.Millisecond,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		c, err := Start(ctx, Config{DataDir: dir, Ephemeral: true}, slog.New(slog.DiscardHandler))
		cancel()
		if err == nil {
			if err := c.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if pids := serversOn(filepath.Join(dir, "pgdata")); len(pids) > 0 {
			t.Errorf("processes after %v: got %v, want none", patience, pids)
		}
	}
	number(t, startCluster(t, Config{DataDir: dir, Ephemeral: true}), "SELECT 1")
}

func TestStart_EndsWithItsContextWhenTheServerHangs(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	if err := startCluster(t, Config{DataDir: dir}).Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	pgdata := filepath.Join(dir, "pgdata")
	hang := make(chan struct{})
	go func() {
		defer close(hang)
		for ctx.Err() == nil {
			for _, pid := range serversOn(pgdata) {
				_ = syscall.Kill(pid, syscall.SIGSTOP)
			}
		}
	}()
	began := time.Now()
	c, err := Start(ctx, Config{DataDir: dir}, slog.New(slog.DiscardHandler))
	<-hang
	if err == nil {
		t.Errorf("got a cluster, want an error: %v", c.Stop(t.Context()))
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("gave up after %v, want 10 s at most", took)
	}
	if pids := serversOn(pgdata); len(pids) > 0 {
		t.Errorf("processes: got %v, want none", pids)
	}
}

func TestConnect_DoesNotWaitForAHangingServer(t *testing.T) {
	dir := clusterDir(t)
	silent, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := &Cluster{dir: &dataDir{socket: dir}}
	db, err := c.connect(200 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	began := time.Now()
	if err := db.PingContext(t.Context()); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("ping: got %v after %v, want an error within a second", err, time.Since(began))
	}
}

// TestCluster_AsOrdinaryUser runs the tests of the cluster once more as a user other than root.
func TestCluster_AsOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // they all run as one
	}
	other, err := substitute()
	if err != nil {
		t.Fatal(err)
	}
	dir := clusterDir(t)
	if err := other.give(dir); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "postgres.test") // the original may be where only root can enter
	from, err := os.Open(executable(t))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(binary, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.run=^TestCluster", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: other.credential()}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as %s: %v", other.name, err)
	}
	t.Logf("as %s:\n%s", other.name, out)
}

// startCluster starts a cluster that is stopped at the end of the test.
func startCluster(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	c, err := Start(t.Context(), cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatalf("start the cluster: %v", err)
	}
	t.Cleanup(func() { _ = c.Stop(context.Background()) }) // a test that cares has stopped it
	return c
}

// clusterDir returns a directory that the server's account can enter and whose sockets' paths are
// short, unlike t.TempDir.
func clusterDir(t *testing.T) string {
	t.Helper()
	dir, err := makeClusterDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func makeClusterDir() (string, error) {
	dir, err := os.MkdirTemp("", "oei-ms-cluster-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711)
}

func executable(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func query(t *testing.T, c *Cluster, q string) {
	t.Helper()
	if _, err := open(t, c.DSN(Database)).ExecContext(t.Context(), q); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
}

func text(t *testing.T, c *Cluster, q string) string {
	t.Helper()
	db := open(t, c.DSN(Database))
	defer db.Close()
	var s string
	if err := db.QueryRowContext(t.Context(), q).Scan(&s); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return s
}

func number(t *testing.T, c *Cluster, q string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(text(t, c, q), &n); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return n
}

func kill(pids ...int) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL) // one may have ended of another's kill
	}
}
