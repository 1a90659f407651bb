package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"time"
)

// keptAnswers is for how long the answer to a request with a key is kept.
const keptAnswers = 24 * time.Hour

// ClaimIdempotencyKey gives the caller the work that user has named key: a nil answer means that it is theirs,
// for lease at most. Whoever has done it before lease is over says so by AnswerIdempotencyKey, whoever has not
// gives it back by ReleaseIdempotencyKey. If it was done before, its answer is returned. ErrInUse means that
// another one is at it, ErrConflict that the key was given to another request.
func (s *Store) ClaimIdempotencyKey(
	ctx context.Context, user int64, key string, request [sha256.Size]byte, lease time.Duration,
) (answer []byte, err error) {
	const claim = `
		INSERT INTO idempotency_keys AS k (user_id, key, request, claimed_until)
		VALUES ($1, $2, $3, now() + make_interval(secs => $4))
		ON CONFLICT (user_id, key) DO UPDATE
		SET request = excluded.request, answer = NULL, claimed_until = excluded.claimed_until, created_at = now()
		WHERE k.created_at < now() - make_interval(secs => $5)
			OR k.answer IS NULL AND k.claimed_until < now() AND k.request = excluded.request`
	res, err := s.api.ExecContext(ctx, claim, user, key, request[:], lease.Seconds(),
		keptAnswers.Seconds())
	if err != nil {
		return nil, explain("idempotency key", err)
	}
	if claimed, err := res.RowsAffected(); err != nil || claimed == 1 {
		return nil, explain("idempotency key", err)
	}
	var same bool
	const q = `SELECT answer, request = $3 FROM idempotency_keys WHERE user_id = $1 AND key = $2`
	err = s.api.QueryRowContext(ctx, q, user, key, request[:]).Scan(&answer, &same)
	switch {
	case errors.Is(err, sql.ErrNoRows): // given back in between
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

// AnswerIdempotencyKey keeps the answer to the request that user has named key.
func (s *Store) AnswerIdempotencyKey(ctx context.Context, user int64, key string, answer []byte) error {
	_, err := s.api.ExecContext(ctx,
		`UPDATE idempotency_keys SET answer = $3 WHERE user_id = $1 AND key = $2`, user, key,
		answer)
	return explain("idempotency key", err)
}

// ReleaseIdempotencyKey lets the request that user has named key be made again at once.
func (s *Store) ReleaseIdempotencyKey(ctx context.Context, user int64, key string) error {
	_, err := s.api.ExecContext(ctx,
		`DELETE FROM idempotency_keys WHERE user_id = $1 AND key = $2 AND answer IS NULL`, user,
		key)
	return explain("idempotency key", err)
}

// DeleteExpiredIdempotencyKeys removes answers that are no longer kept.
func (s *Store) DeleteExpiredIdempotencyKeys(ctx context.Context) error {
	const q = `DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(secs => $1)`
	_, err := s.api.ExecContext(ctx, q, keptAnswers.Seconds())
	return explain("idempotency keys", err)
}
