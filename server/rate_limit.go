package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oei-ms/oei-ms/internal/auth"
)

// setRateLimit sets the headers of draft-ietf-httpapi-ratelimit-headers-10: RateLimit-Policy lists
// limits, and RateLimit says what is left of the one that is nearest to its end. Both are lists of
// structured fields (RFC 9651).
func setRateLimit(h http.Header, limits ...auth.Limit) {
	if len(limits) == 0 {
		return
	}
	policies := make([]string, len(limits))
	for i, l := range limits {
		policies[i] = fmt.Sprintf("%q;q=%d;w=%d", l.Name, l.Quota, wholeSeconds(l.Window))
	}
	nearest := slices.MinFunc(limits,
		func(a, b auth.Limit) int { return a.Remaining - b.Remaining })
	h.Set("RateLimit-Policy", strings.Join(policies, ", "))
	h.Set("RateLimit",
		fmt.Sprintf("%q;r=%d;t=%d", nearest.Name, nearest.Remaining, wholeSeconds(nearest.Reset)))
}

// wholeSeconds rounds up: a client that waits as long is let in.
func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// tooMany is a 429 that says how long to wait, and what the limits are.
func tooMany(detail string, wait time.Duration, limits ...auth.Limit) *problem {
	retry := retryIn(wait)
	h := http.Header{}
	setRateLimit(h, limits...)
	return &problem{
		status: http.StatusTooManyRequests,
		detail: fmt.Sprintf("%s; wait %d seconds.", detail, retry.min),
		retry:  retry,
		header: map[string]string{
			"RateLimit":        h.Get("RateLimit"),
			"RateLimit-Policy": h.Get("RateLimit-Policy"),
		},
	}
}
