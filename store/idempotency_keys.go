package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"time"
)

// answerRetention is how long the answer to a request with an idempotency key is kept.
const answerRetention = 24 * time.Hour

// Owner is the user or API key to whom an idempotency key belongs.
type Owner struct {
	column string // constant
	id     int64
}

// UserOwner is the user with this id.
func UserOwner(id int64) Owner { return Owner{"user_id", id} }

// APIKeyOwner is the API key with this id.
func APIKeyOwner(id int64) Owner { return Owner{"api_key_id", id} }

// ClaimIdempotencyKey claims the request that owner has named key. A nil answer means that the
// caller is to run it, and to call AnswerIdempotencyKey or ReleaseIdempotencyKey before lease is
// over. If the request was answered before, ClaimIdempotencyKey returns that answer. ErrInUse means
// that the request is running, ErrConflict that key names another request.
func (s *Store) ClaimIdempotencyKey(
	ctx context.Context, owner Owner, key string, request [sha256.Size]byte, lease time.Duration,
) (answer []byte, err error) {
	claim := `
		INSERT INTO idempotency_keys AS k (` + owner.column + `, key, request, claimed_until)
		VALUES ($1, $2, $3, now() + make_interval(secs => $4))
		ON CONFLICT (` + owner.column + `, key) DO UPDATE
		SET request = excluded.request, answer = NULL, claimed_until = excluded.claimed_until,
			created_at = now()
		WHERE k.created_at < now() - make_interval(secs => $5)
			OR k.answer IS NULL AND k.claimed_until < now() AND k.request = excluded.request`
	res, err := s.api.ExecContext(ctx, claim, owner.id, key, request[:], lease.Seconds(),
		answerRetention.Seconds())
	if err != nil {
		return nil, explain("idempotency key", err)
	}
	if claimed, err := res.RowsAffected(); err != nil || claimed == 1 {
		return nil, explain("idempotency key", err)
	}
	var same bool
	q := `
		SELECT answer, request = $3
		FROM idempotency_keys
		WHERE ` + owner.column + ` = $1 AND key = $2`
	err = s.api.QueryRowContext(ctx, q, owner.id, key, request[:]).Scan(&answer, &same)
	switch {
	case errors.Is(err, sql.ErrNoRows): // released meanwhile
		err = ErrInUse
	case err == nil && !same:
		err = ErrConflict
	case err == nil && answer == nil:
		err = ErrInUse
	}
	if err != nil {
		return nil, explain("idempotency key", err)
	}
	return answer, nil
}

// AnswerIdempotencyKey stores the answer to the request that owner has named key.
func (s *Store) AnswerIdempotencyKey(
	ctx context.Context, owner Owner, key string, answer []byte,
) error {
	q := `
		UPDATE idempotency_keys
		SET answer = $3
		WHERE ` + owner.column + ` = $1 AND key = $2`
	_, err := s.api.ExecContext(ctx, q, owner.id, key, answer)
	return explain("idempotency key", err)
}

// ReleaseIdempotencyKey gives up a claim, so that the request can be repeated at once.
func (s *Store) ReleaseIdempotencyKey(ctx context.Context, owner Owner, key string) error {
	q := `
		DELETE FROM idempotency_keys
		WHERE ` + owner.column + ` = $1 AND key = $2 AND answer IS NULL`
	_, err := s.api.ExecContext(ctx, q, owner.id, key)
	return explain("idempotency key", err)
}

// DeleteExpiredIdempotencyKeys deletes keys, with their answers, a day after they were claimed.
func (s *Store) DeleteExpiredIdempotencyKeys(ctx context.Context) error {
	const q = `DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(secs => $1)`
	_, err := s.api.ExecContext(ctx, q, answerRetention.Seconds())
	return explain("idempotency keys", err)
}
