package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/lib/pq"
)

// Errors that callers test for with errors.Is.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("already exists")
	ErrInUse       = errors.New("in use")
	ErrStale       = errors.New("changed since it was read")
	ErrInvalid     = errors.New("not valid")
	ErrTooMuch     = errors.New("more than can be read in time")
	ErrUnavailable = errors.New("database is not available")
)

// ConflictError is an ErrConflict that names the property whose value another row has.
type ConflictError struct{ Field string } // empty: it is not one property alone

func (e *ConflictError) Error() string {
	return strings.TrimSpace(ErrConflict.Error() + " " + e.Field)
}

// Unwrap returns ErrConflict.
func (e *ConflictError) Unwrap() error { return ErrConflict }

// InUseError is an ErrInUse that says what depends on the rows to be deleted.
type InUseError struct {
	Sensors    int         // of the gateway
	Alarms     []AlarmName // of these sensors
	Suppressed []AlarmName // alarms that stay, and that an alarm to be deleted suppresses
	Reading    []AlarmName // alarms that stay, and that a sensor to be deleted is an input of
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("%v: by %d sensors and %d alarms", ErrInUse, e.Sensors,
		len(e.Alarms)+len(e.Suppressed)+len(e.Reading))
}

// Unwrap returns ErrInUse.
func (e *InUseError) Unwrap() error { return ErrInUse }

// AlarmName identifies an alarm for people.
type AlarmName struct {
	ID   int64  `db:"id"`
	Name string `db:"name"`
}

// SystemOwnedError refuses a change of the server's own gateway or sensors.
type SystemOwnedError struct{ Kind string } // gateway or sensor

func (e *SystemOwnedError) Error() string { return "the server's own " + e.Kind }

// uniqueFields names the property that each unique constraint is about.
var uniqueFields = map[string]string{
	"users_username_key":             "username",
	"users_email_key":                "email",
	"api_keys_name_key":              "name",
	"gateways_key_key":               "key",
	"sensors_gateway_id_key_key":     "key",
	"notification_channels_name_key": "name",
	"notification_routes_name_key":   "name",
}

// explain puts the operation before err and adds the sentinel that err stands for. It keeps nil.
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
			return nil // err has it already
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
		return &ConflictError{Field: uniqueFields[pqErr.Constraint]}
	case "23503": // foreign_key_violation
		return ErrInUse
	}
	if class := pqErr.Code.Class(); class == "22" || class == "23" {
		return ErrInvalid
	}
	return nil
}

// NeedsRepair reports whether err means that an operator has to repair the database, and no value
// that was to be written is at fault: a privilege, a table or the schema is missing, a setting is
// wrong, or a file is damaged.
func NeedsRepair(err error) bool {
	var pqErr *pq.Error
	if !errors.As(err, &pqErr) {
		return false
	}
	switch pqErr.Code.Class() {
	case "25", "28", "3D", "3F", "42", "F0":
		return true
	}
	return pqErr.Code == "XX001" || pqErr.Code == "XX002" // data or index corrupted
}

// Transient reports whether the same statement may succeed later, because the database or the
// connection failed or a partition is missing. If COMMIT fails so, its result is unknown.
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
