//go:build unix

package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// account is the operating-system user that the server runs as.
type account struct {
	name     string
	uid, gid uint32
	change   bool // this process is root and must become it
}

// accountFor returns who must run a server on pgdata: its owner, or for a new one this process's
// user, of whom root stands in for postgres, else nobody, because PostgreSQL refuses to run as
// root.
func accountFor(pgdata string) (account, error) {
	self := uint32(os.Geteuid())
	info, err := os.Stat(pgdata)
	if errors.Is(err, fs.ErrNotExist) {
		if self == 0 {
			return stand()
		}
		return account{name: userName(self), uid: self, gid: uint32(os.Getegid())}, nil
	}
	if err != nil {
		return account{}, err
	}
	st := info.Sys().(*syscall.Stat_t)
	switch {
	case st.Uid == 0:
		return account{}, fmt.Errorf(
			"%s belongs to root, as whom PostgreSQL refuses to run: chown -R postgres %[1]s",
			pgdata,
		)
	case self != 0 && st.Uid != self:
		return account{}, fmt.Errorf("%s belongs to user %s and this is %s: run as that user, or "+
			"sudo chown -R %[3]s %s",
			pgdata, userName(st.Uid), userName(self), filepath.Dir(pgdata))
	}
	return account{name: userName(st.Uid), uid: st.Uid, gid: st.Gid, change: self == 0}, nil
}

// stand returns the user who runs the server in root's place.
func stand() (account, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return account{}, fmt.Errorf("user %s: %w", name, err)
		}
		return account{name: name, uid: uint32(uid), gid: uint32(gid), change: true}, nil
	}
	return account{}, errors.New("PostgreSQL refuses to run as root, and there is neither a user " +
		"postgres nor nobody: " +
		"useradd --system postgres, or start as an ordinary user")
}

// userName returns the name of uid, or its number when it has none.
func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// credential returns what a child must be started with, nil when it simply inherits.
func (a account) credential() *syscall.Credential {
	if !a.change {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// give makes path the account's. A symbolic link is given itself, never what it points to.
func (a account) give(path string) error {
	if !a.change {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// enter fails at the first directory on the way to dir, dir included, that the account may not
// enter.
func (a account) enter(dir string) error {
	if !a.change {
		return nil // this process has just been there itself
	}
	var way []string
	for d := dir; ; d = filepath.Dir(d) {
		way = append(way, d)
		if d == filepath.Dir(d) {
			break
		}
	}
	for _, d := range slices.Backward(way) {
		info, err := os.Stat(d)
		if err != nil {
			return err
		}
		st, bit := info.Sys().(*syscall.Stat_t), fs.FileMode(0o001)
		switch {
		case st.Uid == a.uid:
			bit = 0o100
		case st.Gid == a.gid:
			bit = 0o010
		}
		if info.Mode()&bit == 0 {
			return fmt.Errorf("user %s, who runs PostgreSQL for root, may not enter %s (mode %#o)",
				a.name, d, info.Mode().Perm())
		}
	}
	return nil
}
