package store

import (
	"errors"
	"slices"

	"github.com/lib/pq"
)

// SQLSTATEs of maintenance, whose statements give way to others.
const (
	lockNotAvailable pq.ErrorCode = "55P03"
	deadlockDetected pq.ErrorCode = "40P01"
	queryCanceled    pq.ErrorCode = "57014"
	undefinedTable   pq.ErrorCode = "42P01"
	undefinedObject  pq.ErrorCode = "42704"
)

// hasCode reports whether PostgreSQL answered with one of codes.
func hasCode(err error, codes ...pq.ErrorCode) bool {
	var pqErr *pq.Error
	return errors.As(err, &pqErr) && slices.Contains(codes, pqErr.Code)
}

// isBlocked reports whether a statement failed because it would have waited for others, or taken,
// too long.
func isBlocked(err error) bool {
	return hasCode(err, lockNotAvailable, deadlockDetected, queryCanceled)
}

// isGone reports whether a statement failed because another instance had dropped the partition and
// its key.
func isGone(err error) bool { return hasCode(err, undefinedTable, undefinedObject) }
