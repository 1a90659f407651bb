package oei

import (
	"log/slog"
	"net/http"
	"time"
)

const (
	defaultRetries = 4
	defaultTimeout = time.Minute
)

// Option configures a [Client].
type Option func(*Client)

// Password logs in with a user name and password. The session is renewed in time; when it has
// ended, the client logs in again. Close ends it.
func Password(username, password string) Option {
	return func(c *Client) {
		c.logins++
		c.login = &session{
			client:   c,
			username: username,
			password: password,
		}
	}
}

// APIKey sends an API key with each call.
func APIKey(key string) Option {
	return func(c *Client) {
		c.logins++
		c.login, c.isKey = fixedToken(key), true
	}
}

// Token sends an access token with each call, until it expires.
func Token(token string) Option {
	return func(c *Client) {
		c.logins++
		c.login = fixedToken(token)
	}
}

// Retry sets how often a call is sent again, 4 times unless given; 0 is never.
func Retry(n int) Option {
	return func(c *Client) { c.retries = max(n, 0) }
}

// Timeout bounds each attempt of a call, a minute unless given; 0 is no bound. Of a stream it
// bounds the time until it begins. The context bounds the whole call.
func Timeout(d time.Duration) Option {
	return func(c *Client) { c.timeout = max(d, 0) }
}

// HTTPClient sends the calls by h. Its transport, if an [*http.Transport], gives WebSockets their
// proxy, TLS settings and dialer.
func HTTPClient(h *http.Client) Option {
	return func(c *Client) { c.http = h }
}

// UserAgent names the program to the server, such as "exporter/1.2".
func UserAgent(name string) Option {
	return func(c *Client) { c.userAgent = name }
}

// Logger logs warnings: deprecated operations, another version of the server, lost connections of
// live streams. Nothing is logged unless given.
func Logger(log *slog.Logger) Option {
	return func(c *Client) { c.log = log }
}
