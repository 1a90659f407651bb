//go:build unix

package embedded

import (
	"bufio"
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

func init() { children["writer"] = writer }

// writerDir tells the writer where its cluster is.
const writerDir = "OEI_MS_TEST_DIR"

// writer starts a cluster and commits the numbers 1, 2, 3… to it until it is killed, telling each.
func writer() int {
	ctx := context.Background()
	c, err := StartCluster(ctx, ClusterConfig{DataDir: os.Getenv(writerDir)}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	db, err := sql.Open("postgres", c.DSN(Database))
	if err == nil {
		_, err = db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS numbers (n int PRIMARY KEY)")
	}
	for n := 1; err == nil; n++ {
		if _, err = db.ExecContext(ctx, "INSERT INTO numbers VALUES ($1)", n); err == nil {
			fmt.Println(n)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// runWriter starts a writer on dir and returns it when it has committed some; last kills it and returns the last number it told.
func runWriter(t *testing.T, dir string) (cmd *exec.Cmd, last func() int) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), executable(t))
	cmd.Env = append(os.Environ(), childVariable+"=writer", writerDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told, n := bufio.NewScanner(out), 0
	next := func() bool {
		if !told.Scan() {
			return false
		}
		_, err := fmt.Sscan(told.Text(), &n)
		return err == nil
	}
	for n < 50 {
		if !next() {
			t.Fatalf("the writer ended after %d numbers: %v", n, cmd.Wait())
		}
	}
	return cmd, func() int {
		if err := cmd.Process.Kill(); err != nil {
			t.Errorf("kill the writer: %v", err)
		}
		for next() {
		}
		_ = cmd.Wait() // was killed
		return n
	}
}

func TestClusterRecoversFromKills(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		before func(pids []int) // what else is killed, just before the writer
		orphan bool             // whether to wait until nothing of it is left
	}{
		"the parent is killed: its server ends by itself": {orphan: true},
		"the parent is killed, and comes back at once":    {},
		"the parent and the postmaster are killed":        {before: func(pids []int) { kill(pids[0]) }},
		"the parent and every server process are killed":  {before: func(pids []int) { kill(pids...) }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := clusterDir(t)
			_, last := runWriter(t, dir)
			pgdata := filepath.Join(dir, "pgdata")
			if pids := serversOn(pgdata); len(pids) < 2 {
				t.Fatalf("server processes: got %v, want several", pids)
			} else if tt.before != nil {
				tt.before(append([]int{(&dataDir{path: dir}).recordedPid()}, pids...))
			}
			committed := last()
			if tt.orphan {
				waitFor(t, 5*time.Second, "no orphan", func() bool { return len(serversOn(pgdata)) == 0 })
			}
			began := time.Now()
			c := startCluster(t, ClusterConfig{DataDir: dir})
			took := time.Since(began)
			got := number(t, c, "SELECT max(n) FROM numbers")
			if got < committed || got > committed+1 { // the last one may have been committed and not told
				t.Errorf("numbers after the kill: got %d, want %d", got, committed)
			}
			if rows := number(t, c, "SELECT count(*) FROM numbers"); rows != got {
				t.Errorf("rows: got %d, want %d", rows, got)
			}
			if took > 5*time.Second {
				t.Errorf("ready again after %v, want 5 s at most", took)
			}
			t.Logf("%d committed, ready again in %v", committed, took.Round(time.Millisecond))
		})
	}
}

func TestClusterKeepsItsData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(clusterDir(t), "made", "for it")
	for i, want := range []int{1, 2, 3} {
		began := time.Now()
		c := startCluster(t, ClusterConfig{DataDir: dir})
		t.Logf("start %d took %v", i, time.Since(began).Round(time.Millisecond))
		query(t, c, "CREATE TABLE IF NOT EXISTS numbers (n int)")
		query(t, c, "INSERT INTO numbers VALUES (1)")
		if got := number(t, c, "SELECT count(*) FROM numbers"); got != want {
			t.Errorf("rows at start %d: got %d, want %d", i, got, want)
		}
		for name, want := range map[string]string{"fsync": "on", "synchronous_commit": "on", "listen_addresses": "", "TimeZone": "UTC", "server_encoding": "UTF8"} {
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

func TestClusterHealsItself(t *testing.T) {
	t.Parallel()
	c := startCluster(t, ClusterConfig{DataDir: clusterDir(t)})
	query(t, c, "CREATE TABLE numbers (n int)")
	dsn := c.DSN(Database)
	for name, pids := range map[string]func() []int{
		"the postmaster is killed while a child is busy": func() []int { return []int{c.dir.recordedPid()} },
		"every process is killed":                        c.Pids,
	} {
		t.Run(name, func(t *testing.T) {
			busy := open(t, dsn)
			broken := make(chan error, 1)
			go func() {
				_, err := busy.Exec("SELECT count(*) FROM generate_series(1, 1000000000000)")
				broken <- err
			}()
			waitFor(t, 5*time.Second, "a busy child", func() bool {
				return number(t, c, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT count(*) FROM generate_series%'") == 1
			})
			query(t, c, "INSERT INTO numbers VALUES (1)")
			want := number(t, c, "SELECT count(*) FROM numbers")
			began := time.Now()
			kill(pids()...)
			if err := <-broken; err == nil {
				t.Error("the query of the killed child: got no error")
			}
			waitFor(t, 10*time.Second, "an answer", func() bool { return busy.PingContext(t.Context()) == nil })
			t.Logf("back after %v", time.Since(began).Round(time.Millisecond))
			if c.DSN(Database) != dsn {
				t.Errorf("DSN: got %s, want %s", c.DSN(Database), dsn)
			}
			if got := number(t, c, "SELECT count(*) FROM numbers"); got != want {
				t.Errorf("rows: got %d, want %d", got, want)
			}
		})
	}
}

func TestClusterStopsAServerThatHangs(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	c := startCluster(t, ClusterConfig{DataDir: dir})
	query(t, c, "CREATE TABLE numbers (n int)")
	for _, pid := range c.Pids() {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.Stop(ctx); err == nil || !strings.Contains(err.Error(), "recover") {
		t.Errorf("stop: got %v, want an error that says it will recover", err)
	}
	if pids := serversOn(filepath.Join(dir, "pgdata")); len(pids) > 0 {
		t.Errorf("processes after the stop: got %v, want none", pids)
	}
	c = startCluster(t, ClusterConfig{DataDir: dir})
	if got := number(t, c, "SELECT count(*) FROM numbers"); got != 0 {
		t.Errorf("rows: got %d, want 0", got)
	}
}

func TestClusterEndsWhatAnEarlierRunLeft(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	c := startCluster(t, ClusterConfig{DataDir: dir})
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	log, err := openServerLog(filepath.Join(dir, "postgres.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	left, err := startPostmaster(c.bin.postgres(), c.args, c.dir.server, log, 0)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, 5*time.Second, "the earlier run", func() bool { return c.dir.ready(left.pid()) })

	c = startCluster(t, ClusterConfig{DataDir: dir})
	select {
	case <-left.exited:
	default:
		t.Error("the earlier server still runs")
	}
	number(t, c, "SELECT 1")
}

func TestClusterStartsWhenAStrangerHasItsPid(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	c := startCluster(t, ClusterConfig{DataDir: dir})
	stranger := exec.CommandContext(t.Context(), "sleep", "60")
	stranger.SysProcAttr = &syscall.SysProcAttr{Credential: c.dir.server.credential()}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Kill(stranger.Process.Pid, 0); err != nil {
			t.Errorf("the stranger was ended: %v", err)
		}
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	}()
	files := map[string]string{}
	for _, name := range []string{filepath.Join(c.dir.pgdata(), "postmaster.pid"), filepath.Join(c.dir.socket, ".s.PGSQL.5432.lock")} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "\n")
		files[name] = fmt.Sprintf("%d\n%s", stranger.Process.Pid, rest)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.dir.server.give(name); err != nil {
			t.Fatal(err)
		}
	}
	number(t, startCluster(t, ClusterConfig{DataDir: dir}), "SELECT 1")
}

func TestClusterTakesAnyPath(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{"too long for a socket": strings.Repeat("long", 30), "with odd letters": `it's \ "odd" ü`} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, ClusterConfig{DataDir: filepath.Join(clusterDir(t), dir), Ephemeral: true})
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

func TestClusterStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	for _, patience := range []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond, 600 * time.Millisecond, 900 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		c, err := StartCluster(ctx, ClusterConfig{DataDir: dir, Ephemeral: true}, slog.New(slog.DiscardHandler))
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
	number(t, startCluster(t, ClusterConfig{DataDir: dir, Ephemeral: true}), "SELECT 1")
}

func TestClusterStartEndsWithItsContextThoughTheServerHangs(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	if err := startCluster(t, ClusterConfig{DataDir: dir}).Stop(t.Context()); err != nil {
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
	c, err := StartCluster(ctx, ClusterConfig{DataDir: dir}, slog.New(slog.DiscardHandler))
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

func TestConnectDoesNotWaitForAServerThatHangs(t *testing.T) {
	dir, err := os.MkdirTemp("", "oei-ms-") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
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

// TestClusterAsOrdinaryUser runs the tests of the cluster once more as somebody who is not root.
func TestClusterAsOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // they all run as one
	}
	nobody, err := stand()
	if err != nil {
		t.Fatal(err)
	}
	dir := clusterDir(t)
	if err := nobody.give(dir); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "embedded.test") // the original may be where only root can enter
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: nobody.credential()}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as %s: %v", nobody.name, err)
	}
	t.Logf("as %s:\n%s", nobody.name, out)
}

// startCluster starts a cluster that is stopped at the end of the test.
func startCluster(t *testing.T, cfg ClusterConfig) *Cluster {
	t.Helper()
	c, err := StartCluster(t.Context(), cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatalf("start the cluster: %v", err)
	}
	t.Cleanup(func() { _ = c.Stop(context.Background()) }) // a test that cares has stopped it
	return c
}

// clusterDir returns a directory that the server's account can enter, unlike t.TempDir.
func clusterDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "oei-ms-cluster-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
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

func waitFor(t *testing.T, patience time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
