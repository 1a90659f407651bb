//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// dataDir is the directory of one cluster, locked by this process:
//
//	lock           locked while the cluster is in use; holds the pid of its user
//	pgdata/        PostgreSQL's own data directory
//	postgres.log   the server's log; postgres.log.1 is the part before it
//	run/           the unix socket, unless its path would be too long
//
// Started as root, pgdata and run belong to the server's account, the rest to root.
type dataDir struct {
	path      string // absolute, without symbolic links
	lock      *os.File
	server    account
	log       *serverLog
	socket    string // directory of the unix socket
	temporary bool   // socket is to be removed at the end
}

// openDataDir creates path when it is missing, and locks it until close.
func openDataDir(path string) (_ *dataDir, err error) {
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711 // the server's account passes through
	}
	if err := os.MkdirAll(path, mode); err != nil {
		return nil, unusable(path, err)
	}
	if path, err = filepath.Abs(path); err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return nil, unusable(path, err)
	}
	d := &dataDir{path: path}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.lock, err = lockFile(filepath.Join(path, "lock")); err != nil {
		return nil, unusable(path, err)
	}
	if d.server, err = accountFor(d.pgdata()); err != nil {
		return nil, unusable(path, err)
	}
	if err := d.server.enter(filepath.Dir(d.pgdata())); err != nil {
		return nil, fmt.Errorf(
			"data directory %s: %w: chmod o+x it, or set DATA_DIR to a place like /var/lib/oei-ms",
			path, err,
		)
	}
	if d.log, err = openServerLog(filepath.Join(path, "postgres.log")); err != nil {
		return nil, unusable(path, err)
	}
	if err := d.makeSocketDir(); err != nil {
		return nil, unusable(path, err)
	}
	return d, nil
}

// close unlocks the directory; the server must have ended.
func (d *dataDir) close() {
	if d.temporary {
		os.RemoveAll(d.socket)
	}
	if d.log != nil {
		d.log.Close()
	}
	if d.lock != nil {
		d.lock.Close() // which unlocks it
	}
}

// pgdata returns the server's directory as the server itself sees it: it may be a link to another
// disk.
func (d *dataDir) pgdata() string {
	pgdata := filepath.Join(d.path, "pgdata")
	if target, err := filepath.EvalSymlinks(pgdata); err == nil {
		return target
	}
	return pgdata
}

// major returns the PostgreSQL major version that created the data, 0 when there is no data yet.
func (d *dataDir) major() (int, error) {
	name := filepath.Join(d.pgdata(), "PG_VERSION")
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(d.pgdata()); err == nil {
			return 0, fmt.Errorf("%s is not a PostgreSQL data directory, it has no PG_VERSION: "+
				"move it away, or set DATA_DIR to another directory", d.pgdata())
		}
		return 0, nil
	}
	if err != nil {
		return 0, unusable(d.path, err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s says %q, which is not a version: restore the directory from a "+
			"backup",
			name, text)
	}
	return major, nil
}

// create creates pgdata under another name first, so that an interrupted initdb leaves no
// incomplete cluster.
func (d *dataDir) create(ctx context.Context, bin binaries, ephemeral bool) error {
	fresh := d.pgdata() + ".init"
	if err := os.RemoveAll(fresh); err != nil {
		return unusable(d.path, err)
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return unusable(d.path, err)
	}
	if err := d.server.give(fresh); err != nil {
		return unusable(d.path, err)
	}
	args := []string{"-D", fresh, "-U", Database, "-E", "UTF8", "--locale=C", "-A", "trust"}
	if ephemeral {
		args = append(args, "--no-sync")
	}
	if out, err := run(ctx, d.server, bin.initdb(), args...); err != nil {
		os.RemoveAll(fresh)
		if strings.Contains(string(out), "could not look up effective user ID") {
			return fmt.Errorf("initdb: user id %d has no name: add it to /etc/passwd, or set "+
				"DATABASE_URL", d.server.uid)
		}
		return fmt.Errorf("initdb: %w: %s", err, errorsIn(out))
	}
	if err := os.Rename(fresh, d.pgdata()); err != nil {
		return unusable(d.path, err)
	}
	if ephemeral {
		return nil
	}
	return syncDir(d.path)
}

// recordedPid returns the pid in postmaster.pid, 0 when there is none.
func (d *dataDir) recordedPid() int {
	text, _ := os.ReadFile(filepath.Join(d.pgdata(), "postmaster.pid"))
	first, _, _ := strings.Cut(string(text), "\n")
	pid, _ := strconv.Atoi(strings.TrimSpace(first))
	return max(pid, -pid) // negative: a single-user server
}

// ready reports whether postmaster.pid says that the server pid takes connections.
func (d *dataDir) ready(pid int) bool {
	text, _ := os.ReadFile(filepath.Join(d.pgdata(), "postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	return len(lines) > 7 && lines[0] == strconv.Itoa(pid) && strings.TrimSpace(lines[7]) == "ready"
}

// makeSocketDir creates run/, or a short temporary directory when the socket's path would not fit a
// socket address.
func (d *dataDir) makeSocketDir() error {
	maxPath := 107
	if runtime.GOOS != "linux" {
		maxPath = 103
	}
	d.socket = filepath.Join(d.path, "run")
	if len(d.socket)+len("/.s.PGSQL.5432") > maxPath {
		dir, err := os.MkdirTemp("/tmp", "oei-ms-")
		if err != nil {
			return err
		}
		d.socket, d.temporary = dir, true
	} else if err := os.Mkdir(d.socket, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.server.give(d.socket)
}

// lockFile opens and locks path. The lock ends with this process, however that ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 16)
		n, _ := f.Read(holder)
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another instance uses it (pid %s): stop it, or set "+
				"DATA_DIR to another directory",
				strings.TrimSpace(string(holder[:n])))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unusable names the directory that cannot be used and, for missing permissions, the remedy.
func unusable(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("data directory %s: %w: give it to user %s (sudo chown -R), or set "+
			"DATA_DIR to another directory",
			path, err, userName(uint32(os.Geteuid())))
	}
	return fmt.Errorf("data directory %s: %w", path, err)
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
