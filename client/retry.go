package oei

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	minBackoff    = 200 * time.Millisecond
	maxBackoff    = 20 * time.Second
	maxRetryAfter = time.Minute // a longer wait is left to the caller
)

// send sends a request with the login, again while that is harmless and of use. Error answers
// become problems.
func (c *Client) send(
	ctx context.Context, o callOptions, req *http.Request,
) (*http.Response, error) {
	if !c.owns(req.URL) {
		return nil, fmt.Errorf("oei: %s: %s is not an address of the server",
			o.operation, req.URL.Host)
	}
	if c.ctx.Err() != nil {
		return nil, errClosed
	}
	req = req.Clone(ctx)
	if o.keyed && req.Header.Get("Idempotency-Key") == "" {
		req.Header.Set("Idempotency-Key", rand.Text())
	}
	req.Header.Set("User-Agent", c.userAgent)
	refused, failures := "", 0
	for {
		token, err := c.authorize(ctx, o, req, refused)
		if err != nil {
			return nil, err
		}
		res, err := c.attempt(ctx, o, req)
		if err == nil && res.StatusCode < http.StatusBadRequest {
			return c.accept(ctx, o, res)
		}
		if err == nil {
			p := problemOf(o.operation, res)
			_ = res.Body.Close() // it was read
			if p.Status == http.StatusUnauthorized && !o.public && token != "" && refused == "" {
				refused = token
				continue
			}
			err = p
		} else {
			err = fmt.Errorf("oei: %s: %w", o.operation, err)
		}
		failures++
		if failures > c.retries || !mayRepeat(o, req, err) || !wait(ctx, delay(failures, err)) {
			return nil, err
		}
	}
}

// authorize adds the login to a request and returns its token.
func (c *Client) authorize(
	ctx context.Context, o callOptions, req *http.Request, refused string,
) (string, error) {
	if o.public {
		return "", nil
	}
	token, err := c.login.token(ctx, refused)
	if errors.Is(err, errRefused) {
		token, err = refused, nil // the answer says what is wrong with it
	}
	if err != nil {
		return "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return token, nil
}

// accept returns a good answer, after a warning when its operation is deprecated.
func (c *Client) accept(
	ctx context.Context, o callOptions, res *http.Response,
) (*http.Response, error) {
	if since := res.Header.Get("Deprecation"); since != "" {
		if _, logged := c.deprecated.LoadOrStore(o.operation, true); !logged {
			c.log.WarnContext(ctx, "operation is deprecated",
				"operation", o.operation,
				"since", since,
				"hint", strings.Join(res.Header.Values("Link"), ", "))
		}
	}
	if res.StatusCode == http.StatusNotModified {
		_ = res.Body.Close() // it is empty
		return nil, ErrNotModified
	}
	return res, nil
}

// ErrNotModified says that what was asked for still has the ETag given as IfNoneMatch.
var ErrNotModified = errors.New("oei: not modified")

// errClosed says that the client was closed.
var errClosed = errors.New("oei: the client is closed")

// mayRepeat tells whether a request that failed with err may be sent again: the server has not
// carried it out, or carrying it out twice is the same as once.
func mayRepeat(o callOptions, req *http.Request, err error) bool {
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return false // the body was consumed
	}
	keyed := req.Header.Get("Idempotency-Key") != ""
	harmless := keyed || o.repeat
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions:
		harmless = true
	}
	var p *Problem
	if !errors.As(err, &p) {
		return req.Context().Err() == nil && (harmless || isRefused(err))
	}
	switch p.Status {
	case http.StatusTooManyRequests:
		return true
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return harmless
	case http.StatusConflict: // the first request with the key is in progress
		return keyed && p.Header.Get("Retry-After") != ""
	}
	return false
}

// isRefused tells whether no connection was made, so that the request was not sent.
func isRefused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// delay returns the time to wait before the next attempt; negative when it is too long to wait.
func delay(failures int, err error) time.Duration {
	backoff := min(minBackoff<<min(failures-1, 10), maxBackoff)
	wait := backoff/2 + mathrand.N(backoff)
	var p *Problem
	if errors.As(err, &p) {
		if s, err := strconv.Atoi(p.Header.Get("Retry-After")); err == nil {
			after := time.Duration(s) * time.Second
			if after > maxRetryAfter {
				return -1
			}
			wait = max(after, wait)
		}
	}
	return wait
}

// wait sleeps, and tells whether the context is not done after that. It does not begin to wait for
// longer than the context lasts.
func wait(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); d < 0 || ok && time.Until(deadline) < d {
		return false
	}
	sleep(ctx, d)
	return ctx.Err() == nil
}

// sleep returns after d, or when ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
