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

// serverLogLimit bounds the server's log; as much again is kept of what came before.
const serverLogLimit = 8 << 20

// serverLog is the file the server writes to. It is a file and not a pipe so that a server that
// outlives this process still says why it ended.
type serverLog struct {
	*os.File
}

// openServerLog opens the log for appending, cut when it is over its limit.
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

// bound moves a log that is over limit to <name>.1. The server goes on writing to the same file,
// which is why it is copied and cut and not renamed.
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

// size returns how long the log is now.
func (l *serverLog) size() int64 {
	info, err := l.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

var grievance = regexp.MustCompile(`(?m)(FATAL|PANIC|HINT|DETAIL): .*$`)

// since returns on one line what the server complained of after the log was from bytes long.
func (l *serverLog) since(from int64) string {
	text, err := io.ReadAll(io.NewSectionReader(l, from, 64<<10))
	if err != nil {
		return err.Error()
	}
	return complaint(text)
}

// complaint gathers the fatal lines and hints of output, else its last lines, into one.
func complaint(output []byte) string {
	lines := grievance.FindAll(output, 4)
	if lines == nil {
		lines = bytes.Split(bytes.TrimSpace(output), []byte("\n"))
		lines = lines[max(0, len(lines)-3):]
	}
	for i, line := range lines {
		lines[i] = bytes.Join(bytes.Fields(line), []byte(" "))
	}
	return string(bytes.Join(lines, []byte("; ")))
}
