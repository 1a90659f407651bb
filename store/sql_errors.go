package store

import (
	"errors"
	"slices"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// hasCode reports whether PostgreSQL answered with one of codes.
func hasCode(err error, codes ...pqerror.Code) bool {
	var pqErr *pq.Error
	return errors.As(err, &pqErr) && slices.Contains(codes, pqErr.Code)
}

// isBlocked reports whether a statement failed because it would have waited for others, or taken,
// too long.
func isBlocked(err error) bool {
	return hasCode(err,
		pqerror.LockNotAvailable, pqerror.TRDeadlockDetected, pqerror.QueryCanceled)
}

// isGone reports whether a statement failed because another instance had dropped the partition and
// its key.
func isGone(err error) bool {
	return hasCode(err, pqerror.UndefinedTable, pqerror.UndefinedObject)
}
