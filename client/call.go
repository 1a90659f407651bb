package oei

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// callOptions are the properties of an operation that its call depends on.
type callOptions struct {
	operation string // id in the contract
	public    bool   // needs no login
	keyed     bool   // takes an Idempotency-Key
	repeat    bool   // may be sent again although its method is not idempotent
	stream    bool   // the body is read by the caller
}

// answer sends a request and decodes the JSON of the answer.
func answer[T any](
	ctx context.Context, c *Client, o callOptions, req *http.Request, err error,
) (T, error) {
	v, _, err := decode[T](ctx, c, o, req, err)
	return v, err
}

// decode is answer with the header of the answer.
func decode[T any](
	ctx context.Context, c *Client, o callOptions, req *http.Request, err error,
) (v T, header http.Header, _ error) {
	res, err := c.request(ctx, o, req, err)
	if err != nil {
		return v, nil, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&v); err != nil {
		return *new(T), nil, fmt.Errorf("oei: %s: answer: %w", o.operation, err)
	}
	return v, res.Header, nil
}

func noAnswer(ctx context.Context, c *Client, o callOptions, req *http.Request, err error) error {
	res, err := c.request(ctx, o, req, err)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func textAnswer(
	ctx context.Context, c *Client, o callOptions, req *http.Request, err error,
) (string, error) {
	res, err := c.request(ctx, o, req, err)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

func stream(
	ctx context.Context, c *Client, o callOptions, req *http.Request, err error,
) (io.ReadCloser, error) {
	o.stream = true
	res, err := c.request(ctx, o, req, err)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// request sends a request that was built unless err says that it could not.
func (c *Client) request(
	ctx context.Context, o callOptions, req *http.Request, err error,
) (*http.Response, error) {
	if err != nil {
		return nil, fmt.Errorf("oei: %s: %w", o.operation, err)
	}
	return c.send(ctx, o, req)
}

// attempt sends a request once, and reads the whole answer unless it is a stream.
func (c *Client) attempt(
	ctx context.Context, o callOptions, req *http.Request,
) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var timer *time.Timer
	if c.timeout > 0 {
		timer = time.AfterFunc(c.timeout, func() { cancel(&timeoutError{c.timeout}) })
		defer timer.Stop()
	}
	req = req.Clone(ctx)
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			cancel(nil)
			return nil, err
		}
		req.Body = body
	}
	res, err := c.http.Do(req)
	if err != nil {
		err = c.causeOf(ctx, err)
		cancel(nil)
		return nil, err
	}
	if o.stream && res.StatusCode < http.StatusBadRequest {
		res.Body = &streamBody{ReadCloser: res.Body, cancel: cancel}
		return res, nil
	}
	defer cancel(nil)
	text, err := io.ReadAll(res.Body)
	_ = res.Body.Close() // it was read
	if err != nil {
		return nil, c.causeOf(ctx, err)
	}
	res.Body = io.NopCloser(bytes.NewReader(text))
	return res, nil
}

// causeOf names the timeout of an attempt, whose context was canceled by it.
func (c *Client) causeOf(ctx context.Context, err error) error {
	if cause, ok := context.Cause(ctx).(*timeoutError); ok { //nolint:errorlint // set unwrapped
		return cause
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

// endOf returns why ctx, which is done, has ended: its cause, which also is ctx.Err().
func endOf(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, ctx.Err()) {
		return cause
	}
	return fmt.Errorf("%w: %w", ctx.Err(), cause)
}

// timeoutError says that an attempt took longer than Timeout allows.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("no answer within %v", e.after) }

// Timeout makes it a net.Error.
func (e *timeoutError) Timeout() bool { return true }

// Is makes it a context.DeadlineExceeded.
func (e *timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// streamBody releases the context of its request when it is closed.
type streamBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b *streamBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
