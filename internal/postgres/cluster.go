//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Cluster is a private PostgreSQL server and its data. Only this user and root can reach it, by a
// unix socket. A server that ends by itself is restarted until Stop is called. It is safe for
// concurrent use.
type Cluster struct {
	cfg  Config
	log  *slog.Logger
	dir  *dataDir
	bin  binaries
	args []string

	stopOnce sync.Once
	stopCtx  context.Context // of the first Stop; read after cancel
	cancel   context.CancelFunc
	done     chan struct{} // closed when the server has ended and is not restarted
	err      error         // of the end; read after done
}

// Start starts a private cluster, makes it first when cfg.DataDir is empty, and returns when it
// answers. ctx bounds the start only: the cluster runs until Stop. ErrNoPostgres when the programs
// are missing.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (*Cluster, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	dir, err := openDataDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{cfg: cfg, log: log, dir: dir, done: make(chan struct{})}
	start := time.Now()
	p, err := c.open(ctx)
	if err != nil {
		dir.close()
		return nil, err
	}
	log.InfoContext(ctx, "private postgres started", "version", c.bin.major, "took",
		time.Since(start).Round(time.Millisecond),
		"psql", fmt.Sprintf("psql -h %s -U %s %s", dir.socket, Database, Database))
	ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go c.supervise(ctx, p)
	return c, nil
}

// DSN returns the connection string of database for lib/pq. It stays the same until Stop.
func (c *Cluster) DSN(database string) string { return socketDSN(c.dir.socket, database) }

// socketDSN is the DSN of database on the server whose unix socket is in dir.
func socketDSN(dir, database string) string {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	return fmt.Sprintf("host='%s' port=5432 user=%s dbname='%s' sslmode=disable "+
		"binary_parameters=yes",
		quote.Replace(dir), Database, quote.Replace(database))
}

// Pids returns all processes of the server at this moment, in ascending order; outside Linux only
// the first of them.
func (c *Cluster) Pids() []int { return serversOn(c.dir.pgdata()) }

// Stop ends the server and releases its directory. Clients are disconnected; nothing committed is
// lost. When ctx ends first the shutdown is an immediate one, from which the next start recovers. A
// second call waits for the first.
func (c *Cluster) Stop(ctx context.Context) error {
	c.stopOnce.Do(func() {
		c.stopCtx = ctx
		c.cancel()
	})
	<-c.done
	return c.err
}

// open finds the programs, creates the data directory and the database when they are missing, and
// starts the server.
func (c *Cluster) open(ctx context.Context) (*postmaster, error) {
	major, err := c.dir.major()
	if err != nil {
		return nil, err
	}
	if c.bin, err = findBinaries(ctx, c.cfg.BinDir, usualPlaces[runtime.GOOS], major,
		c.dir.server); err != nil {
		return nil, err
	}
	if major == 0 {
		c.log.InfoContext(ctx, "creating private postgres", "data_dir", c.dir.path, "bin_dir",
			c.bin.dir, "user", c.dir.server.name)
		if err := c.dir.create(ctx, c.bin, c.cfg.Ephemeral); err != nil {
			return nil, err
		}
	}
	base := []string{"-D", c.dir.pgdata()}
	c.args = append(base, "-k", c.dir.socket, "-p", "5432", "-c", "listen_addresses=", "-c",
		"unix_socket_permissions=0700")
	c.args = append(c.args, options(serverSettings(c.cfg, memory(), c.hasLZ4(ctx)))...)
	p, err := c.launch(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.createDatabase(ctx); err != nil {
		_ = p.stop(context.WithoutCancel(ctx)) // the first error matters
		return nil, err
	}
	return p, nil
}

// hasLZ4 asks the server's program whether it was built to compress its log with lz4.
func (c *Cluster) hasLZ4(ctx context.Context) bool {
	if c.cfg.Ephemeral || c.bin.major < 15 {
		return false
	}
	_, err := run(ctx, c.dir.server, c.bin.postgres(), "-D", c.dir.pgdata(), "-C",
		"wal_compression", "-c", "wal_compression=lz4")
	return err == nil
}

// launch starts the server and returns when it answers. It first ends processes that an earlier run
// left on the same data.
func (c *Cluster) launch(ctx context.Context) (*postmaster, error) {
	for deadline := time.Now().Add(15 * time.Second); ; {
		unrelated, err := c.dir.endLeftovers(ctx)
		if err != nil {
			return nil, err
		}
		from := c.dir.log.size()
		p, err := startPostmaster(c.bin.postgres(), c.args, c.dir.server, c.dir.log, unrelated)
		if err != nil {
			return nil, err
		}
		if c.answers(ctx, p) {
			return p, nil
		}
		if ctx.Err() != nil {
			_ = p.stop(ctx) // at once: it was not up yet
			_, _ = c.dir.endLeftovers(context.WithoutCancel(ctx))
			return nil, fmt.Errorf("start postgres: %w", context.Cause(ctx))
		}
		reason := c.dir.log.errorsSince(from)
		orphans := strings.Contains(reason, "pre-existing shared memory block")
		if !orphans || time.Now().After(deadline) {
			return nil, fmt.Errorf("postgres ended at once (%v): %s; its log is %s",
				p.cmd.ProcessState, reason, c.dir.log.Name())
		}
		if err := sleep(ctx, 250*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// answers waits until the server takes connections; false when it ends or ctx does.
func (c *Cluster) answers(ctx context.Context, p *postmaster) bool {
	db, err := c.connect(2 * time.Second)
	if err != nil {
		return false // not with our own DSN
	}
	defer db.Close()
	poll, report := time.NewTicker(10*time.Millisecond), time.NewTicker(10*time.Second)
	defer poll.Stop()
	defer report.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-p.exited:
			return false
		case <-report.C:
			c.log.InfoContext(ctx, "postgres still starting", "hint",
				"it may be recovering from a crash",
				"log", c.dir.log.Name())
		case <-poll.C:
			if c.dir.ready(p.pid()) && db.PingContext(ctx) == nil {
				return true
			}
		}
	}
}

// createDatabase creates Database unless it exists.
func (c *Cluster) createDatabase(ctx context.Context) error {
	db, err := c.connect(time.Minute)
	if err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	defer db.Close()
	var exists bool
	const q = `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`
	if err := db.QueryRowContext(ctx, q, Database).Scan(&exists); err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	if exists {
		return nil
	}
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+Database); err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	return nil
}

// supervise keeps a server running until ctx ends, then stops it.
func (c *Cluster) supervise(ctx context.Context, p *postmaster) {
	defer close(c.done)
	defer c.dir.close()
	defer func() { // a killed server leaves processes
		if _, err := c.dir.endLeftovers(context.WithoutCancel(ctx)); err != nil {
			c.err = errors.Join(c.err, err)
		}
	}()
	bound := time.NewTicker(time.Minute)
	defer bound.Stop()
	for pause := minPause; p != nil; {
		select {
		case <-ctx.Done():
			c.err = p.stop(c.stopCtx)
			return
		case <-bound.C:
			if err := c.dir.log.bound(serverLogLimit); err != nil {
				c.log.WarnContext(ctx, "postgres log not truncated", "error", err)
			}
		case <-p.exited:
			if time.Since(p.started) > time.Minute {
				pause = minPause
			}
			c.log.ErrorContext(ctx, "postgres ended unexpectedly, restarting", "state",
				p.cmd.ProcessState.String(), "log", c.dir.log.Name())
			p, pause = c.relaunch(ctx, pause)
		}
	}
}

// The pause before a restart doubles from minPause to maxPause, and begins again with minPause when
// the server has run for a minute.
const (
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
)

// relaunch tries to restart the server until it succeeds, and returns the pause for the next time;
// nil when ctx ends first.
func (c *Cluster) relaunch(ctx context.Context, pause time.Duration) (*postmaster, time.Duration) {
	for down := time.Now(); sleep(ctx, pause) == nil; {
		pause = min(2*pause, maxPause)
		p, err := c.launch(ctx)
		if err == nil {
			c.log.InfoContext(ctx, "postgres restarted", "down",
				time.Since(down).Round(time.Millisecond))
			return p, pause
		}
		if ctx.Err() == nil {
			c.log.ErrorContext(ctx, "postgres restart failed, retrying", "error", err, "pause",
				pause)
		}
	}
	return nil, pause
}
