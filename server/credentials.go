package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/oei-ms/oei-ms/internal/auth"
)

const apiKeyHeader = "X-API-Key"

// admit returns the principal of the request, or nil where op needs none. Errors are 401, 403 when
// the role is not sufficient, and 429 when an API key is over its limit.
func (s *Server) admit(r *http.Request, op *operation) (*auth.Principal, error) {
	if op.role == "" {
		return nil, nil
	}
	p, err := s.authenticate(r, op)
	if p == nil || err != nil {
		return nil, err
	}
	if p.Limit != nil {
		setRateLimit(callOf(r.Context()).header, *p.Limit)
	}
	if p.Key != nil && !op.apiKey && op.id != none {
		return nil, &problem{
			status: http.StatusForbidden,
			detail: "This operation is not for API keys; log in as a user.",
		}
	}
	if !p.Role().Includes(op.role) {
		return nil, &problem{
			status: http.StatusForbidden,
			detail: fmt.Sprintf("This operation needs the role %s.", op.role),
		}
	}
	return p, nil
}

// authenticate returns the principal of the credential or ticket of r, or nil when r has neither
// and op needs neither.
func (s *Server) authenticate(r *http.Request, op *operation) (*auth.Principal, error) {
	given, credential, err := credentialOf(r.Header)
	tickets := r.URL.Query()["ticket"]
	switch {
	case err != nil:
		return nil, err
	case given:
		return s.auth.Authenticate(r.Context(), callOf(r.Context()).addr, credential)
	case op.ticket && len(tickets) > 0:
		return s.auth.UseTicket(r.Context(), tickets[0])
	case op.anonymous:
		return nil, nil
	}
	detail := "Send an access token: Authorization: Bearer …."
	if op.apiKey {
		detail = "Send an access token, Authorization: Bearer …, or an API key, X-API-Key: …."
	}
	return nil, unauthorized(detail, false)
}

// credentialOf returns the access token or API key of a request, or "" for headers in another form.
// Both headers may have it, since some clients send what they have in each; two that differ are a
// problem. Next to an API key, an Authorization that is not Bearer is left to a proxy on the way.
func credentialOf(h http.Header) (given bool, credential string, err error) {
	authorization, keys := h.Values("Authorization"), h.Values(apiKeyHeader)
	token := ""
	if len(authorization) > 0 {
		token = bearer(authorization)
	}
	switch {
	case len(keys) == 0:
		return len(authorization) > 0, token, nil
	case len(keys) > 1:
		return true, "", invalid(apiKeyHeader, "is there several times; send one")
	case token == "" && auth.IsAPIKey(keys[0]):
		return true, keys[0], nil
	case token == "":
		return true, "", auth.ErrInvalidAPIKey
	case token != keys[0]:
		return true, "", invalid(apiKeyHeader,
			"is another credential than that of Authorization; send one")
	}
	return true, token, nil
}

// bearer returns the token of the one Authorization header, or "".
func bearer(headers []string) string {
	scheme, token, _ := strings.Cut(headers[0], " ")
	if len(headers) > 1 || !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// refuseKeyInAddress is a problem for an API key in the path or query of r, which proxies log and
// browsers keep.
func refuseKeyInAddress(r *http.Request) error {
	query, err := url.QueryUnescape(r.URL.RawQuery)
	if err != nil {
		query = r.URL.RawQuery
	}
	for _, text := range []string{r.URL.Path, query} {
		if _, found := auth.HideAPIKeys(text); found {
			return &problem{
				status: http.StatusBadRequest,
				detail: "An API key is in the address, which others may have logged: revoke it, " +
					"create another one, and send that as " + apiKeyHeader + ".",
			}
		}
	}
	return nil
}
