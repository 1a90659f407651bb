package server

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// retryAfter says when a client may send a refused request again: after a random number of seconds
// from min to max. The range is wide where many clients are refused together, so that they do not
// come back together.
type retryAfter struct{ min, max int }

// retrySoon is for all refusals that have no time of their own.
var retrySoon = retryAfter{min: 2, max: 5}

// retryIn is for a client that is refused alone, until wait has passed.
func retryIn(wait time.Duration) retryAfter {
	seconds := int(wait.Seconds()) + 1
	return retryAfter{min: seconds, max: seconds}
}

// seconds returns a random number of the range.
func (a retryAfter) seconds() int { return a.min + rand.IntN(a.max-a.min+1) }

// retryAfter returns the Retry-After of the problem, or "". Every 429 and 503 has one.
func (p *problem) retryAfter() string {
	retry := p.retry
	switch {
	case retry.min > 0:
	case p.status == http.StatusTooManyRequests, p.status == http.StatusServiceUnavailable:
		retry = retrySoon
	default:
		return ""
	}
	return strconv.Itoa(retry.seconds())
}
