//go:build unix

package postgres

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// postmaster is one run of the server process.
type postmaster struct {
	cmd     *exec.Cmd
	started time.Time
	exited  chan struct{} // closed when it has ended; cmd.ProcessState then says how
}

// startPostmaster starts program without waiting until it answers. unrelated is the pid of a
// process that is not a server although postmaster.pid names it, or 0.
func startPostmaster(
	program string, args []string, server account, log *serverLog, unrelated int,
) (*postmaster, error) {
	cmd := exec.CommandContext(context.Background(), program, args...) // ended by stop alone
	p := &postmaster{cmd: cmd, started: time.Now(), exited: make(chan struct{})}
	prepare(p.cmd, server)
	if unrelated != 0 {
		// Meant for pg_ctl: the server does not take this pid for a running server, and still
		// checks the shared memory.
		p.cmd.Env = append(p.cmd.Env, "PG_GRANDPARENT_PID="+strconv.Itoa(unrelated))
	}
	p.cmd.Stdout, p.cmd.Stderr = log.File, log.File
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // see childAttributes
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // ProcessState says it
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s as %s: %w", program, server.name, err)
	}
	return p, nil
}

func (p *postmaster) pid() int { return p.cmd.Process.Pid }

// stop ends the server by a fast shutdown; when that takes over 15 s or ctx ends, by an immediate
// one, then by a kill.
func (p *postmaster) stop(ctx context.Context) error {
	for _, s := range fastShutdown {
		_ = p.cmd.Process.Signal(s.signal) // fails only when it has ended
		timer := time.NewTimer(s.timeout)
		select {
		case <-p.exited:
			timer.Stop()
			if s.signal == syscall.SIGINT || p.cmd.ProcessState.Success() {
				return nil
			}
			return fmt.Errorf("postgres did not shut down in time and was ended by %v; it will "+
				"recover at the next start", s.signal)
		case <-ctx.Done():
			timer.Stop()
			ctx = context.WithoutCancel(ctx) // skips one wait only
		case <-timer.C:
		}
	}
	return fmt.Errorf("postgres (pid %d) does not end even when killed", p.pid())
}

// shutdownStep is a signal and how long to wait for its effect.
type shutdownStep struct {
	signal  syscall.Signal
	timeout time.Duration
}

var (
	fastShutdown = []shutdownStep{
		{syscall.SIGINT, 15 * time.Second},
		{syscall.SIGQUIT, 3 * time.Second},
		{syscall.SIGKILL, 3 * time.Second},
	}
	immediate = fastShutdown[1:]
)

// endLeftovers ends the processes of an earlier server on the data: the server itself when this
// program was killed and the server has not noticed yet, or its children when the server was
// killed. It returns the pid of an unrelated process that has the pid in postmaster.pid now, or 0.
func (d *dataDir) endLeftovers(ctx context.Context) (unrelated int, err error) {
	old := d.recordedPid()
	postmaster := func() []int {
		if slices.Contains(serversOn(d.pgdata()), old) {
			return []int{old}
		}
		return nil
	}
	if err := end(ctx, postmaster, fastShutdown); err != nil {
		return 0, err
	}
	if err := end(ctx, func() []int { return serversOn(d.pgdata()) }, immediate); err != nil {
		return 0, err
	}
	if old != 0 && syscall.Kill(old, 0) == nil {
		return old, nil
	}
	return 0, nil // the old postmaster.pid stays: the server finds orphans by it
}

// end applies the steps until running returns no pid.
func end(ctx context.Context, running func() []int, steps []shutdownStep) error {
	for _, s := range steps {
		for _, pid := range running() {
			_ = syscall.Kill(pid, s.signal)
		}
		for deadline := time.Now().Add(s.timeout); time.Now().Before(deadline); {
			if len(running()) == 0 {
				return nil
			}
			if err := sleep(ctx, 20*time.Millisecond); err != nil {
				return err
			}
		}
	}
	if pids := running(); len(pids) > 0 {
		return fmt.Errorf("PostgreSQL processes %v of an earlier run do not end even when killed",
			pids)
	}
	return nil
}

// sleep waits for d, or fails when ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
