package auth

import (
	"fmt"
	"time"
)

// Limit is what is left of a limit after it has counted a request or an attempt.
type Limit struct {
	Name             string // api-key, username or address
	Quota, Remaining int    // in Window
	Window, Reset    time.Duration
}

// TooManyAttemptsError reports a login, or a use of a wrong API key, that was not tried after too
// many failed ones.
type TooManyAttemptsError struct {
	Wait   time.Duration
	Limits []Limit
}

func (e *TooManyAttemptsError) Error() string {
	return fmt.Sprintf("too many failed logins; wait %v", e.Wait.Round(time.Second))
}

// TooManyRequestsError reports a request beyond the limit of its API key.
type TooManyRequestsError struct {
	Wait  time.Duration
	Limit Limit
}

func (e *TooManyRequestsError) Error() string {
	return fmt.Sprintf("API key is over its limit of %d requests per minute; wait %v",
		e.Limit.Quota, e.Wait.Round(time.Second))
}
