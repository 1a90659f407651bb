package push

// Close codes. The hub ends every connection with one of them and a reason in words.
const (
	// CloseGoingAway: the server is stopping. Reconnect, after a random delay of some seconds.
	CloseGoingAway = 1001
	// CloseTooBig: a message was larger than the server reads. Do not reconnect to send it again.
	CloseTooBig = 1009
	// CloseTryLater: the client cannot keep up, has gone silent, or could not be served just now.
	// Reconnect later.
	CloseTryLater = 1013
	// CloseProtocol: the client does not speak this protocol. Do not reconnect.
	CloseProtocol = 4400
	// CloseNotAuthenticated: the token was refused or has expired, or its session has ended.
	// Reconnect with a new token.
	CloseNotAuthenticated = 4401
	// CloseForbidden: the user may not subscribe to the topics of the connection. Do not reconnect.
	CloseForbidden = 4403
	// CloseAuthTimeout: no auth frame came in time. Reconnect and authenticate at once.
	CloseAuthTimeout = 4408
	// CloseBehind: alarm events came faster than the client took them. Reconnect at once and resume
	// from the last offset.
	CloseBehind = 4413
	// CloseOverLimit: too many connections or too many frames. Reconnect later.
	CloseOverLimit = 4429
)
