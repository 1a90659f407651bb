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

// accountFor returns the user as whom a server on pgdata must run: the owner of pgdata, or for a
// new directory the user of this process. PostgreSQL refuses to run as root, so for root it is the
// user "postgres", or else "nobody".
func accountFor(pgdata string) (account, error) {
	self := uint32(os.Geteuid())
	info, err := os.Stat(pgdata)
	if errors.Is(err, fs.ErrNotExist) {
		if self == 0 {
			return substitute()
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
			"%s belongs to root, and PostgreSQL refuses to run as root: chown -R postgres %[1]s",
			pgdata,
		)
	case self != 0 && st.Uid != self:
		return account{}, fmt.Errorf("%s belongs to user %s and this is %s: run as that user, or "+
			"sudo chown -R %[3]s %s",
			pgdata, userName(st.Uid), userName(self), filepath.Dir(pgdata))
	}
	return account{name: userName(st.Uid), uid: st.Uid, gid: st.Gid, change: self == 0}, nil
}

// substitute returns the user as whom the server runs when this process is root.
func substitute() (account, error) {
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

// credential returns the credential to start a child with, nil when it inherits that of this
// process.
func (a account) credential() *syscall.Credential {
	if !a.change {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// give changes the owner of path to the account; of a symbolic link, that of the link itself.
func (a account) give(path string) error {
	if !a.change {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// enter fails if the account may not enter dir or a directory above it.
func (a account) enter(dir string) error {
	if !a.change {
		return nil // this process has opened it itself
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
