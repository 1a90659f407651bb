//go:build unix

package postgres

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/testutil"
)

func init() { children["writer"] = writer }

// writerDir tells the writer where its cluster is.
const writerDir = "OEI_MS_TEST_DIR"

// writer starts a cluster and commits the numbers 1, 2, 3… to it until it is killed, printing
// each.
func writer() int {
	ctx := context.Background()
	c, err := Start(ctx, Config{DataDir: os.Getenv(writerDir)}, slog.New(slog.DiscardHandler))
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

// runWriter starts a writer on dir and returns it when it has committed some; last kills it and
// returns the last number it told.
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

func TestCluster_RecoversFromKills(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		before func(pids []int) // what else is killed, just before the writer
		orphan bool             // whether to wait until nothing of it is left
	}{
		"the parent is killed: its server ends by itself": {orphan: true},
		"the parent is killed, and comes back at once":    {},
		"the parent and the postmaster are killed": {
			before: func(pids []int) { kill(pids[0]) },
		},
		"the parent and every server process are killed": {
			before: func(pids []int) { kill(pids...) },
		},
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
				testutil.Eventually(t, 5*time.Second, "no orphan",
					func() bool { return len(serversOn(pgdata)) == 0 })
			}
			began := time.Now()
			c := startCluster(t, Config{DataDir: dir})
			took := time.Since(began)
			got := number(t, c, "SELECT max(n) FROM numbers")
			// the last one may have been committed and not told
			if got < committed || got > committed+1 {
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

func TestCluster_RestartsTheServer(t *testing.T) {
	t.Parallel()
	c := startCluster(t, Config{DataDir: clusterDir(t)})
	query(t, c, "CREATE TABLE numbers (n int)")
	dsn := c.DSN(Database)
	for name, pids := range map[string]func() []int{
		"the postmaster is killed while a child is busy": func() []int {
			return []int{
				c.dir.recordedPid(),
			}
		},
		"every process is killed": c.Pids,
	} {
		t.Run(name, func(t *testing.T) {
			busy := open(t, dsn)
			broken := make(chan error, 1)
			go func() {
				_, err := busy.Exec("SELECT count(*) FROM generate_series(1, 1000000000000)")
				broken <- err
			}()
			testutil.Eventually(t, 5*time.Second, "a busy child", func() bool {
				return number(t, c,
					"SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT count(*) "+
						"FROM generate_series%'") == 1
			})
			query(t, c, "INSERT INTO numbers VALUES (1)")
			want := number(t, c, "SELECT count(*) FROM numbers")
			began := time.Now()
			kill(pids()...)
			select {
			case err := <-broken:
				if err == nil {
					t.Error("the query of the busy child: got no error")
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the busy child goes on after 10 s")
			}
			testutil.Eventually(t, 10*time.Second, "an answer",
				func() bool { return busy.PingContext(t.Context()) == nil })
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

func TestCluster_StopsAHangingServer(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	c := startCluster(t, Config{DataDir: dir})
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
	c = startCluster(t, Config{DataDir: dir})
	if got := number(t, c, "SELECT count(*) FROM numbers"); got != 0 {
		t.Errorf("rows: got %d, want 0", got)
	}
}

func TestCluster_EndsProcessesOfAnEarlierRun(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	c := startCluster(t, Config{DataDir: dir})
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
	testutil.Eventually(t, 5*time.Second, "the earlier run",
		func() bool { return c.dir.ready(left.pid()) })

	c = startCluster(t, Config{DataDir: dir})
	select {
	case <-left.exited:
	default:
		t.Error("the earlier server still runs")
	}
	number(t, c, "SELECT 1")
}

func TestCluster_StartsWhenAnotherProcessHasItsPid(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	c := startCluster(t, Config{DataDir: dir})
	unrelated := exec.CommandContext(t.Context(), "sleep", "60")
	unrelated.SysProcAttr = &syscall.SysProcAttr{Credential: c.dir.server.credential()}
	if err := unrelated.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Kill(unrelated.Process.Pid, 0); err != nil {
			t.Errorf("the unrelated was ended: %v", err)
		}
		_ = unrelated.Process.Kill()
		_ = unrelated.Wait()
	}()
	files := map[string]string{}
	for _, name := range []string{
		filepath.Join(c.dir.pgdata(), "postmaster.pid"),
		filepath.Join(c.dir.socket, ".s.PGSQL.5432.lock"),
	} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "\n")
		files[name] = fmt.Sprintf("%d\n%s", unrelated.Process.Pid, rest)
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
	number(t, startCluster(t, Config{DataDir: dir}), "SELECT 1")
}
