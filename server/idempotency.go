package server

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// keepTimeout is how long storing an answer may take.
const keepTimeout = 2 * time.Second

const keyHeader = "Idempotency-Key"

var (
	errKeyInUse = &problem{
		status: http.StatusConflict,
		detail: "A request with this Idempotency-Key is running; try again.",
		retry:  retryAfter{min: 1, max: 1},
	}
	errKeyReused = &problem{
		status: http.StatusUnprocessableEntity,
		detail: "The Idempotency-Key was used with another body; use a new key.",
		errors: []api.FieldError{{Field: keyHeader, Reason: "was used with another body"}},
	}
)

// runOnce runs the request that its user or API key has named key. When it has run before, runOnce
// returns the answer of that time and replayed is true. Without a key the request always runs. A
// client that disconnects does not cancel a request with a key, because it will ask for the answer
// again. Errors are not kept.
func runOnce[A any](
	ctx context.Context, s *Server, key *string, body any, do func(context.Context) (A, error),
) (answer A, replayed bool, err error) {
	if key == nil {
		answer, err = do(ctx)
		return answer, false, err
	}
	call := callOf(ctx)
	owner := call.principal.Owner()
	request, err := json.Marshal(body)
	if err != nil {
		return answer, false, fmt.Errorf("encode request: %w", err)
	}
	lease := s.cfg.RequestTimeout + keepTimeout // longer than all of the following takes
	kept, err := s.store.ClaimIdempotencyKey(ctx, owner, *key,
		sha256.Sum256(append(request, call.operation...)), lease)
	switch {
	case errors.Is(err, store.ErrInUse):
		return answer, false, errKeyInUse
	case errors.Is(err, store.ErrConflict):
		return answer, false, errKeyReused
	case err != nil:
		return answer, false, err
	case kept != nil:
		return answer, true, json.Unmarshal(kept, &answer)
	}
	deadline, _ := ctx.Deadline()
	work, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	answer, err = do(work)
	// the next request runs again, which is harmless
	if keepErr := s.keep(context.WithoutCancel(ctx), owner, *key, answer, err); keepErr != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "an answer was not kept",
			slog.String("request_id", call.id), slog.Any("error", keepErr))
	}
	return answer, false, err
}

// keep stores the answer to the request named key, or releases the key when there is no answer.
func (s *Server) keep(
	ctx context.Context, owner store.Owner, key string, answer any, failed error,
) error {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	if failed != nil {
		return s.store.ReleaseIdempotencyKey(ctx, owner, key)
	}
	kept, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return s.store.AnswerIdempotencyKey(ctx, owner, key, kept)
}
