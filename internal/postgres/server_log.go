//go:build unix

package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"syscall"
)

// serverLogLimit bounds the server's log, and the part before it that is kept.
const serverLogLimit = 8 << 20

// serverLog is the file that the server writes to: not a pipe, so that a server that outlives this
// process can still log.
type serverLog struct {
	*os.File
}

// openServerLog opens the log for appending, truncated when it exceeds its limit.
func openServerLog(path string) (*serverLog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	l := &serverLog{f}
	if err := l.bound(serverLogLimit); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// bound moves a log that exceeds limit to <name>.1. The server keeps writing to the same file, so
// the log is copied and truncated, not renamed.
func (l *serverLog) bound(limit int64) error {
	size := l.size()
	if size <= limit {
		return nil
	}
	old, err := os.OpenFile(l.Name()+".1", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW,
		0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(old, io.NewSectionReader(l, max(0, size-limit), limit))
	if err := errors.Join(err, old.Close(), l.Truncate(0)); err != nil {
		return fmt.Errorf("bound %s: %w", l.Name(), err)
	}
	return nil
}

// size returns the size of the log in bytes.
func (l *serverLog) size() int64 {
	info, err := l.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

var errorLine = regexp.MustCompile(`(?m)(FATAL|PANIC|HINT|DETAIL): .*$`)

// errorsSince returns the errors that the server logged after offset from, in one line.
func (l *serverLog) errorsSince(from int64) string {
	text, err := io.ReadAll(io.NewSectionReader(l, from, 64<<10))
	if err != nil {
		return err.Error()
	}
	return errorsIn(text)
}

// errorsIn joins the fatal lines and hints of output, or else its last lines.
func errorsIn(output []byte) string {
	lines := errorLine.FindAll(output, 4)
	if lines == nil {
		lines = bytes.Split(bytes.TrimSpace(output), []byte("\n"))
		lines = lines[max(0, len(lines)-3):]
	}
	for i, line := range lines {
		lines[i] = bytes.Join(bytes.Fields(line), []byte(" "))
	}
	return string(bytes.Join(lines, []byte("; ")))
}
