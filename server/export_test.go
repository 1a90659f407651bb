package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// NewQueryLimiter, Acquire and PerPiece are for tests of the query limiter.
var NewQueryLimiter = newQueryLimiter

// Acquire is acquire.
func (l *queryLimiter) Acquire(ctx context.Context, cost int64) (func(), error) {
	return l.acquire(ctx, cost)
}

// PerPiece is perPiece.
func (l *queryLimiter) PerPiece(cost int64) func(context.Context) (func(), error) {
	return l.perPiece(cost)
}

// Contract and its parts are what New refuses to start with.
var (
	NewContract = newContract
	CheckJSON   = checkJSON
	CanCheck    = canCheck
)

var theContract = sync.OnceValues(readContract)

// KeyFor is keyFor of the contract, and isKey whether the result is a key.
func KeyFor(name, noun string) (key string, isKey bool, err error) {
	c, err := theContract()
	if err != nil {
		return "", false, err
	}
	key = c.keyFor(name, noun)
	return key, c.isKey(key), nil
}

// HoldHeads takes all that the heads of requests may hold, until release.
func (s *Server) HoldHeads() (release func()) {
	s.connections.heads.Add(maxHeads)
	return func() { s.connections.heads.Add(-maxHeads) }
}

// AnnounceDeprecation announces a deprecation in the answer of c.
func AnnounceDeprecation(c echo.Context, since, sunset time.Time, guide string) {
	(&deprecation{since: since, sunset: sunset, guide: guide}).announce(c)
}

// FaultsOf returns the fields and reasons of a *problem.
func FaultsOf(err error) (texts []string) {
	if p, ok := errors.AsType[*problem](err); ok {
		for _, f := range p.errors {
			texts = append(texts, f.Field+": "+f.Reason)
		}
	}
	return texts
}
