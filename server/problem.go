package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/store"
)

// problem is an error with its answer.
type problem struct {
	status int
	detail string // for people; must not show internals
	errors []api.FieldError
	header map[string]string
	retry  retryAfter // zero: that of the status
}

func (p *problem) Error() string { return p.detail }

// kinds holds the type and title of the problems of each status.
var kinds = map[int]struct{ name, title string }{
	http.StatusBadRequest:            {"invalid-request", "The request is not valid"},
	http.StatusUnauthorized:          {"not-authenticated", "Not authenticated"},
	http.StatusForbidden:             {"forbidden", "Not allowed"},
	http.StatusNotFound:              {"not-found", "Not found"},
	http.StatusMethodNotAllowed:      {"method-not-allowed", "Method not allowed"},
	http.StatusRequestTimeout:        {"timeout", "The request took too long"},
	http.StatusConflict:              {"conflict", "Conflict with the current state"},
	http.StatusPreconditionFailed:    {"changed", "Changed by another request"},
	http.StatusRequestEntityTooLarge: {"too-large", "The request is too large"},
	http.StatusUnsupportedMediaType: {
		"unsupported-media-type", "The content type is not supported",
	},
	http.StatusUnprocessableEntity: {"unprocessable", "The request cannot be processed"},
	http.StatusUpgradeRequired:     {"upgrade-required", "This address is for WebSockets"},
	http.StatusTooManyRequests:     {"too-many-requests", "Too many requests"},
	http.StatusExpectationFailed:   {"expectation-failed", "The expectation cannot be met"},
	http.StatusNotImplemented:      {"not-implemented", "Not implemented"},
	http.StatusInternalServerError: {"internal", "Internal error"},
	http.StatusServiceUnavailable:  {"unavailable", "Temporarily not available"},

	http.StatusRequestHeaderFieldsTooLarge: {
		"head-too-large", "The head of the request is too large",
	},
	http.StatusHTTPVersionNotSupported: {
		"version-not-supported", "The HTTP version is not supported",
	},
}

// sentinels holds the answer to each error; the first match is used, any other error is a 500.
var sentinels = []struct {
	err    error
	status int
	detail string
}{
	{
		store.ErrNotFound, http.StatusNotFound,
		"The resource does not exist; check the ids in the address and the body.",
	},
	{
		store.ErrConflict, http.StatusConflict,
		"A resource with the same key exists; use another key.",
	},
	{
		store.ErrInUse, http.StatusConflict,
		"The resource is in use by others; change or delete those first.",
	},
	{
		store.ErrStale, http.StatusPreconditionFailed,
		"The resource has changed since it was read; read it again.",
	},
	{
		store.ErrInvalid, http.StatusBadRequest,
		"The database does not accept these values; check their ranges.",
	},
	{
		store.ErrUnavailable, http.StatusServiceUnavailable,
		"The database does not answer; try again.",
	},
	{
		context.DeadlineExceeded, http.StatusServiceUnavailable,
		"There was no answer in time; try again.",
	},
}

// invalid is a 400 that names one field.
func invalid(field, reason string) *problem {
	return invalidFields([]api.FieldError{{Field: field, Reason: reason}})
}

func invalidFields(errs []api.FieldError) *problem {
	detail := fmt.Sprintf("%s: %s", errs[0].Field, errs[0].Reason)
	if len(errs) > 1 {
		detail = fmt.Sprintf("%d fields are not valid.", len(errs))
	}
	return &problem{status: http.StatusBadRequest, detail: detail, errors: errs}
}

// alreadyTaken is a 409 for a key that another resource has.
func alreadyTaken(field, value string) *problem {
	return &problem{
		status: http.StatusConflict,
		detail: fmt.Sprintf("The %s %q is taken; use another.", field, value),
		errors: []api.FieldError{{Field: field, Reason: "is taken"}},
	}
}

// tooManyAlarms is a 409 that names the sensor and the limit.
func tooManyAlarms(e *store.AlarmLimitError) *problem {
	detail := fmt.Sprintf("Sensor %d has %d alarms, including those that only refer to it, "+
		"which is the limit for one sensor (OEI_STORE_ALARMS_PER_SENSOR). "+
		"Use several limits in one rule, or delete an alarm.",
		e.SensorID, e.Limit)
	return &problem{status: http.StatusConflict, detail: detail}
}

// unauthorized is a 401; presented says whether the request had a token.
func unauthorized(detail string, presented bool) *problem {
	challenge := `Bearer realm="oei-ms"`
	if presented {
		challenge += `, error="invalid_token"`
	}
	return &problem{
		status: http.StatusUnauthorized,
		detail: detail,
		header: map[string]string{"WWW-Authenticate": challenge},
	}
}

// authProblem returns the answer to an error of package auth; nil for other errors.
func authProblem(err error) *problem {
	if e, ok := errors.AsType[*auth.TooManyAttemptsError](err); ok {
		return tooMany("Too many failed logins", e.Wait, e.Limits...)
	}
	if e, ok := errors.AsType[*auth.TooManyRequestsError](err); ok {
		return tooMany(fmt.Sprintf("The API key is over its limit of %d requests per minute",
			e.Limit.Quota), e.Wait, e.Limit)
	}
	if _, ok := errors.AsType[*auth.ReusedTokenError](err); ok {
		return unauthorized("The refresh token was used before; its session has been ended.", false)
	}
	switch {
	case errors.Is(err, auth.ErrInvalidToken):
		return unauthorized("The access token is not valid.", true)
	case errors.Is(err, auth.ErrSessionEnded):
		return unauthorized("The session has ended.", true)
	case errors.Is(err, auth.ErrInvalidAPIKey):
		return unauthorized("The API key is not valid.", true)
	case errors.Is(err, auth.ErrExpiredAPIKey):
		return unauthorized("The API key has expired.", true)
	case errors.Is(err, auth.ErrInvalidTicket):
		return unauthorized("The ticket is not valid, or was used.", true)
	case errors.Is(err, auth.ErrInvalidRefreshToken):
		return unauthorized("The refresh token is not valid.", false)
	case errors.Is(err, auth.ErrWrongCredentials):
		return unauthorized("Username or password is wrong.", false)
	}
	return nil
}

// sentence returns the text of an error as a sentence.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// asProblem returns the answer to err; nil when err is internal, which is a 500.
func asProblem(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if p := authProblem(err); p != nil {
		return p
	}
	if e, ok := errors.AsType[*store.InUseError](err); ok {
		return inUse(e)
	}
	if e, ok := errors.AsType[*store.SystemOwnedError](err); ok {
		return systemOwned(e)
	}
	if e, ok := errors.AsType[*store.AlarmLimitError](err); ok {
		return tooManyAlarms(e)
	}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			return &problem{status: s.status, detail: s.detail}
		}
	}
	// a value that the contract allows and Go does not
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return invalid(e.Field, "has another type in the contract")
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok &&
		e.Code < http.StatusInternalServerError &&
		kinds[e.Code].name != "" {
		return &problem{status: e.Code, detail: http.StatusText(e.Code) + "."}
	}
	return nil
}

// fail answers err, and logs it when it is a fault of the server. When the client has disconnected,
// it does neither.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	ctx := r.Context()
	// also after a read deadline
	gone := errors.Is(context.Cause(ctx), context.Canceled) && !errors.Is(err, errSlowBody)
	if gone {
		if res, ok := w.(*echo.Response); ok && !res.Committed {
			res.Status = statusClientGone
		}
		return
	}
	p := asProblem(err)
	if text := notFoundDetail(callOf(ctx).url.Path); text != "" &&
		errors.Is(err, store.ErrNotFound) &&
		p.status == http.StatusNotFound {
		p.detail = text
	}
	_, meant := errors.AsType[*problem](err) // and counted where it was made
	switch {
	case p == nil:
		s.log.LogAttrs(ctx, slog.LevelError, "request failed",
			slog.String("request_id", callOf(ctx).id),
			slog.String("operation", callOf(ctx).operation), slog.Any("error", err))
		p = &problem{
			status: http.StatusInternalServerError,
			detail: "The request failed; the log of the server has the reason under this instance.",
		}
	case p.status == http.StatusServiceUnavailable && !meant:
		s.log.LogAttrs(ctx, slog.LevelWarn, "request not answered",
			slog.String("request_id", callOf(ctx).id),
			slog.String("operation", callOf(ctx).operation), slog.Any("error", err))
	}
	if res, ok := w.(*echo.Response); ok && res.Committed {
		return
	}
	p.write(w, callOf(ctx).id)
}

// statusClientGone is for logs and metrics only.
const statusClientGone = 499

func (p *problem) write(w http.ResponseWriter, instance string) {
	kind := kinds[p.status]
	h := w.Header()
	if retry := p.retryAfter(); retry != "" {
		h.Set("Retry-After", retry)
	}
	for k, v := range p.header {
		h.Set(k, v)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Del("Content-Length")
	h.Del("ETag")
	h.Del("Content-Disposition")
	h.Del("Content-Encoding")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(p.status)
	_ = json.NewEncoder(w).Encode(api.Problem{ // fails when the client has disconnected
		Type:     "/problems/" + kind.name,
		Title:    kind.title,
		Status:   p.status,
		Detail:   p.detail,
		Instance: instance,
		Errors:   p.errors,
	})
}
