//go:build unix

package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFindBinaries(t *testing.T) {
	dir := clusterDir(t)
	for name, version := range map[string]string{
		"on-path": "14.2", "pg/12": "12.20", "pg/9": "9.6.1", "pg/15": "15.18 (Debian 15.18-0)",
		"pg/18": "18beta1", "else/17": "17.0",
	} {
		install(t, filepath.Join(dir, name), version)
	}
	if err := os.Remove(filepath.Join(dir, "else/17/bin/initdb")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Join(dir, "link")+":/usr/bin:/bin")
	if err := os.MkdirAll(filepath.Join(dir, "link"), 0o755); err != nil {
		t.Fatal(err)
	}
	server, err := accountFor(filepath.Join(dir, "none"))
	if err != nil {
		t.Fatal(err)
	}
	places := []string{filepath.Join(dir, "pg/*/bin"), filepath.Join(dir, "else/*/bin")}
	find := func(bin string, places []string, major int) string {
		b, err := findBinaries(t.Context(), bin, places, major, server)
		if err != nil {
			return err.Error()
		}
		if rel, err := filepath.Rel(dir, b.dir); err == nil {
			return fmt.Sprintf("%s is %d", rel, b.major)
		}
		return b.dir
	}
	check := func(name, got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	check("nothing on PATH, the newest", find("", places, 0), "pg/18/bin is 18")
	if err := os.Symlink(filepath.Join(dir, "on-path/bin/postgres"),
		filepath.Join(dir, "link/postgres")); err != nil {
		t.Fatal(err)
	}
	check("PATH first, through a link", find("", places, 0), "on-path/bin is 14")
	check("the version of the data", find("", places, 15), "pg/15/bin is 15")
	check("an old version of the data", find("", places, 12), "pg/12/bin is 12")
	check("a version that is not installed", find("", places, 16), "created by PostgreSQL 16")
	check("the directory named", find(filepath.Join(dir, "pg/15/bin"), places, 0),
		"pg/15/bin is 15")
	check("the directory named is too old", find(filepath.Join(dir, "pg/12/bin"), places, 0),
		"12/bin (is PostgreSQL 12)")
	check("the directory named has one program", find(filepath.Join(dir, "else/17/bin"), places, 0),
		"else/17/bin (has no initdb)")

	t.Setenv("PATH", "/nowhere")
	_, err = findBinaries(t.Context(), "", []string{filepath.Join(dir, "empty/*/bin")}, 0, server)
	if !errors.Is(err, ErrNoPostgres) {
		t.Fatalf("nothing anywhere: got %v, want ErrNoPostgres", err)
	}
	for _, part := range []string{
		"searched in PATH", "empty/*/bin", "install", "DATABASE_URL", "version 13 or newer",
	} {
		check("nothing anywhere", err.Error(), part)
	}
	if os.Geteuid() == 0 {
		if err := os.Chmod(filepath.Join(dir, "pg/18"), 0o700); err != nil {
			t.Fatal(err)
		}
		check("a place closed to the server's account",
			find(filepath.Join(dir, "pg/18/bin"), nil, 0), "may not enter")
	}
}

func TestStart_WithoutProgramsNamesTheRemedy(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	err := refused(t, Config{DataDir: dir, BinDir: dir}, dir, "has no postgres", installCommand(),
		"DATABASE_URL")
	if !errors.Is(err, ErrNoPostgres) {
		t.Errorf("got %v, want ErrNoPostgres", err)
	}
}

func TestInstallCommand_SuitsTheDistribution(t *testing.T) {
	for release, want := range map[string]string{
		"ID=debian\n":                              "apt-get install postgresql",
		"NAME=x\nID=ubuntu\nID_LIKE=debian\n":      "apt-get install postgresql",
		"ID=fedora\n":                              "dnf install postgresql-server",
		"ID=\"rocky\"\nID_LIKE=\"rhel centos\"\n":  "dnf install postgresql-server",
		"ID=\"opensuse-leap\"\nID_LIKE=\"suse x\"": "zypper install postgresql-server",
		"ID=alpine":                                "apk add postgresql",
		"ID=manjaro\nID_LIKE=arch\n":               "pacman -S postgresql",
		"":                                         "apt-get install postgresql",
	} {
		if got := installCommandFor([]byte(release)); got != want {
			t.Errorf("%q: got %s, want %s", release, got, want)
		}
	}
}

func TestRun_PassesNoSecrets(t *testing.T) {
	t.Setenv("SECRET_KEY", "hidden")
	t.Setenv("PGPORT", "1")
	cmd := exec.Command("true")
	prepare(cmd, account{})
	if i := slices.IndexFunc(cmd.Env, func(v string) bool {
		return strings.HasPrefix(v, "SECRET_KEY=") || strings.HasPrefix(v, "PG")
	}); i >= 0 {
		t.Errorf("environment: got %s, want it left out", cmd.Env[i])
	}
}

// install makes programs below dir/bin that say they are of version.
func install(t *testing.T, dir, version string) {
	t.Helper()
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "initdb"} {
		script := fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s'\n", name, version)
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
