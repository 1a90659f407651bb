package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/lib/pq"
)

// What a method's error can be tested for with errors.Is.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("already there")
	ErrInUse       = errors.New("in use")
	ErrStale       = errors.New("changed by somebody else")
	ErrInvalid     = errors.New("not valid")
	ErrTooMuch     = errors.New("more than can be read in time")
	ErrUnavailable = errors.New("database is not available")
)

// InUseError is ErrInUse with what is in the way and the remedy, for people.
type InUseError struct{ Detail string }

func (e *InUseError) Error() string { return ErrInUse.Error() + ": " + e.Detail }

// Unwrap is ErrInUse.
func (e *InUseError) Unwrap() error { return ErrInUse }

func inUse(format string, args ...any) error { return &InUseError{fmt.Sprintf(format, args...)} }

// explain puts the operation in front of err and gives it the sentinel it stands for. It keeps nil.
func explain(op string, err error) error {
	if err == nil {
		return nil
	}
	if kind := sentinel(err); kind != nil {
		return fmt.Errorf("%s: %w: %w", op, kind, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

func sentinel(err error) error {
	for _, known := range []error{
		ErrNotFound, ErrConflict, ErrInUse, ErrStale, ErrInvalid, ErrTooMuch, ErrUnavailable,
		ErrOverload,
	} {
		if errors.Is(err, known) {
			return nil // it says so already
		}
	}
	var pqErr *pq.Error
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case Transient(err):
		return ErrUnavailable
	case !errors.As(err, &pqErr):
		return nil
	}
	switch pqErr.Code {
	case "23505": // unique_violation
		return ErrConflict
	case "23503": // foreign_key_violation
		return ErrInUse
	}
	if class := pqErr.Code.Class(); class == "22" || class == "23" {
		return ErrInvalid
	}
	return nil
}

// Transient reports whether the same statement may succeed later: the database or the way to it
// failed, or a partition is missing, not what was asked. The result of a COMMIT that fails so is
// unknown.
func Transient(err error) bool {
	var pqErr *pq.Error
	if errors.As(err, &pqErr) {
		switch pqErr.Code.Class() {
		case "08", "40", "53", "55", "57", "58":
			return true
		}
		// read-only after a failover; idle_in_transaction timeout
		return pqErr.Code == "25006" || pqErr.Code == "25P03" ||
			noPartition(err)
	}
	var netErr net.Error
	return errors.Is(err, ErrUnavailable) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, sql.ErrConnDone) ||
		errors.As(err, &netErr) || errors.Is(err, context.DeadlineExceeded) ||
		// the server died in the middle of an answer
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
