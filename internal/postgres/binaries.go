//go:build unix

package postgres

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// minMajor is the lowest PostgreSQL version that the SQL of store supports.
const minMajor = 13

// usualPlaces are where the packages of each operating system put postgres and initdb.
var usualPlaces = map[string][]string{
	"linux": {
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/usr/local/pgsql*/bin",
		"/usr/libexec/postgresql*",
		"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
	},
	"darwin": {
		"/opt/homebrew/opt/postgresql*/bin",
		"/usr/local/opt/postgresql*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
		"/usr/local/pgsql*/bin",
	},
}

// binaries is a directory with postgres and initdb of one version.
type binaries struct {
	dir   string
	major int
}

func (b binaries) postgres() string { return filepath.Join(b.dir, "postgres") }
func (b binaries) initdb() string   { return filepath.Join(b.dir, "initdb") }

// findBinaries returns the programs of version major (0: the newest, with those on PATH first) that
// server can run. It looks in dir alone, or when that is "" on PATH and in places.
func findBinaries(
	ctx context.Context, dir string, places []string, major int, server account,
) (binaries, error) {
	var searched, seen []string
	var found []binaries
	try := func(dirs ...string) {
		var usable []binaries
		for _, d := range dirs {
			if slices.Contains(seen, d) {
				continue
			}
			seen = append(seen, d)
			b, err := probe(ctx, d, server)
			if err != nil {
				searched = append(searched, fmt.Sprintf("%s (%v)", d, err))
				continue
			}
			usable = append(usable, b)
		}
		slices.SortStableFunc(usable, func(a, b binaries) int { return b.major - a.major })
		found = append(found, usable...)
	}
	if dir != "" {
		try(dir)
	} else {
		searched = append(searched, "PATH")
		if program, err := exec.LookPath("postgres"); err == nil {
			if program, err = filepath.EvalSymlinks(program); err == nil {
				try(filepath.Dir(program))
			}
		}
		for _, place := range places {
			dirs, _ := filepath.Glob(place)
			searched = append(searched, place)
			try(dirs...)
		}
	}
	for _, b := range found {
		if b.major == major || major == 0 && b.major >= minMajor {
			return b, nil
		}
	}
	var others []string
	for _, b := range found {
		others = append(others, fmt.Sprintf("%s (is PostgreSQL %d)", b.dir, b.major))
	}
	if major != 0 && len(found) > 0 {
		return binaries{}, fmt.Errorf("the data was created by PostgreSQL %d, but only %s is "+
			"installed: "+
			"install version %[1]d, "+
			"or move the data to a newer one with pg_upgrade, or set DATABASE_URL to a server "+
			"that has it", major, strings.Join(others, ", "))
	}
	searched = append(searched, others...)
	return binaries{}, fmt.Errorf("%w (version %d or newer; searched in %s): install them with "+
		"`%s`, or set DATABASE_URL to a server, "+
		"e.g. postgres://user:password@localhost:5432/%s", ErrNoPostgres, minMajor,
		strings.Join(searched, ", "), installCommand(), Database)
}

var versionNumber = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// probe tells the version of the programs in dir, and fails when server cannot run them.
func probe(ctx context.Context, dir string, server account) (binaries, error) {
	b := binaries{dir: dir}
	for _, program := range []string{b.postgres(), b.initdb()} {
		if _, err := os.Stat(program); err != nil {
			return b, fmt.Errorf("has no %s", filepath.Base(program))
		}
	}
	if err := server.enter(dir); err != nil {
		return b, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := run(ctx, server, b.postgres(), "--version")
	if err != nil {
		return b, fmt.Errorf("postgres --version: %w", err)
	}
	number := versionNumber.FindSubmatch(out)
	if number == nil {
		return b, fmt.Errorf("postgres --version says %q", bytes.TrimSpace(out))
	}
	b.major, err = strconv.Atoi(string(number[1]))
	return b, err
}

// run runs a program of PostgreSQL as server and returns what it printed. It ends with this
// process.
func run(ctx context.Context, server account, program string, args ...string) ([]byte, error) {
	runtime.LockOSThread() // see childAttributes
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, program, args...)
	prepare(cmd, server)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return out, err
}

// prepare sets the environment of a PostgreSQL program: without the secrets of this process, and
// with messages in English.
func prepare(cmd *exec.Cmd, server account) {
	cmd.Dir = "/" // the working directory of this process may be closed to server
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC"}
	for _, name := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = childAttributes(server)
}

// installCommand returns the command that installs PostgreSQL on this operating system.
func installCommand() string {
	if runtime.GOOS == "darwin" {
		return "brew install postgresql@17"
	}
	release, _ := os.ReadFile("/etc/os-release")
	return installCommandFor(release)
}

// installCommandFor returns the command for the Linux distribution that an os-release file names,
// apt-get when unsure.
func installCommandFor(release []byte) string {
	lines := bufio.NewScanner(bytes.NewReader(release))
	var ids []string
	for lines.Scan() {
		if key, value, _ := strings.Cut(lines.Text(), "="); key == "ID" || key == "ID_LIKE" {
			ids = append(ids, strings.Fields(strings.Trim(value, `"'`))...)
		}
	}
	for _, family := range []struct{ id, command string }{
		{"debian", "apt-get install postgresql"},
		{"fedora", "dnf install postgresql-server"},
		{"rhel", "dnf install postgresql-server"},
		{"suse", "zypper install postgresql-server"},
		{"opensuse", "zypper install postgresql-server"},
		{"alpine", "apk add postgresql"},
		{"arch", "pacman -S postgresql"},
	} {
		if slices.Contains(ids, family.id) {
			return family.command
		}
	}
	return "apt-get install postgresql"
}
