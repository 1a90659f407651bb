package auth

import (
	"errors"
	"fmt"
)

// Errors of proofs that were refused. Any other error means that the proof could not be checked.
var (
	ErrInvalidToken        = errors.New("access token is not valid")
	ErrSessionEnded        = errors.New("session has ended")
	ErrInvalidTicket       = errors.New("ticket is not valid or was used")
	ErrInvalidRefreshToken = errors.New("refresh token is not valid")
	ErrWrongCredentials    = errors.New("username or password is wrong")
	ErrInvalidAPIKey       = errors.New("API key is not valid")
	ErrExpiredAPIKey       = errors.New("API key has expired")
)

// ReusedTokenError reports a refresh token that was used twice, which has ended its session.
type ReusedTokenError struct{ SessionID string }

func (e *ReusedTokenError) Error() string {
	return fmt.Sprintf("refresh token was used twice; session %s has ended", e.SessionID)
}
