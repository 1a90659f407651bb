package oei

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	logoutTimeout = 5 * time.Second
	maxRedirects  = 10
)

// Client calls a server. It may be used by several goroutines.
type Client struct {
	base      string // address of the server, with a slash at the end
	origin    *url.URL
	login     tokens
	isKey     bool // login is an API key
	logins    int  // options that set login
	http      *http.Client
	userAgent string
	log       *slog.Logger
	retries   int
	timeout   time.Duration

	deprecated sync.Map // operations whose deprecation was logged
	ctx        context.Context
	cancel     context.CancelFunc
}

// tokens is how a client logs in.
type tokens interface {
	// token returns a token; refused is one that the server has not accepted.
	token(ctx context.Context, refused string) (string, error)
	// end ends the login.
	end(ctx context.Context) error
}

// fixedToken is a token that cannot be renewed; an empty one is no login.
type fixedToken string

// errRefused says that the server does not accept the only token there is.
var errRefused = errors.New("the token was refused")

func (t fixedToken) token(_ context.Context, refused string) (string, error) {
	if t != "" && refused == string(t) {
		return "", errRefused
	}
	return string(t), nil
}

func (t fixedToken) end(context.Context) error { return nil }

// Dial returns a client of the server at address, such as "https://oei.example" or, below a path,
// "https://example.com/oei". It asks the server for its version and logs in, so that a wrong
// address, password or API key fails here; a token is first used by the first call. Without one of
// these it may call what needs no login. Close the client in the end.
func Dial(ctx context.Context, address string, options ...Option) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("oei: not an address of a server, which begins with http:// or "+
			"https://: %w", err)
	}
	if u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("oei: %s: not an address of a server; it begins with http:// "+
			"or https://", u.Redacted())
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("oei: %s: give the login as an option, and no query", u.Redacted())
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/"
	c := &Client{
		base:      u.String(),
		origin:    u,
		login:     fixedToken(""),
		http:      http.DefaultClient,
		userAgent: "oei-go/" + contractVersion,
		log:       slog.New(slog.DiscardHandler),
		retries:   defaultRetries,
		timeout:   defaultTimeout,
	}
	for _, option := range options {
		option(c)
	}
	if c.logins > 1 {
		return nil, errors.New("oei: give one of Password, APIKey and Token")
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.http = c.withinOrigin(c.http)
	if err := c.greet(ctx); err != nil {
		c.cancel()
		return nil, err
	}
	return c, nil
}

// withinOrigin returns a copy of h that follows redirects within the origin alone.
func (c *Client) withinOrigin(h *http.Client) *http.Client {
	limited := *h
	limited.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if !c.owns(req.URL) {
			return fmt.Errorf("redirected to %s://%s; dial that address",
				req.URL.Scheme, req.URL.Host)
		}
		if h.CheckRedirect != nil {
			return h.CheckRedirect(req, via)
		}
		if len(via) >= maxRedirects {
			return errors.New("redirected too often")
		}
		return nil
	}
	return &limited
}

// greet warns when the server has another contract, and logs in.
func (c *Client) greet(ctx context.Context) error {
	v, err := c.Version(ctx)
	if err != nil {
		return err
	}
	if server := series(v.Version); server != "" && server != series(contractVersion) {
		c.log.WarnContext(ctx, "server has another version",
			"server_version", v.Version,
			"client_version", contractVersion,
			"hint", "use the client of the server's version; unknown members are ignored")
	}
	if c.isKey {
		_, err = c.CurrentAPIKey(ctx)
		return err
	}
	_, err = c.login.token(ctx, "")
	return err
}

// series returns the part of a version that changes with breaking changes: "0.1" of "0.1.2-dev",
// "2" of "v2.3.4"; "" when it is none.
func series(version string) string {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) < 3 {
		return ""
	}
	if parts[0] == "0" {
		return parts[0] + "." + parts[1]
	}
	return parts[0]
}

// Close ends the session that Password began, and with it the tokens of calls that still run. It
// returns an error when the server was not told; the session then ends by itself.
func (c *Client) Close() error {
	ctx, cancel := context.WithTimeout(c.ctx, logoutTimeout)
	defer cancel()
	defer c.cancel()
	return c.login.end(ctx)
}

// Do sends a request to an address of the server that has no method, such as a page: with login and
// retries, and errors as [*Problem]. The address may be a path, which is appended to the server's
// address. The caller closes the body.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	u := req.URL
	if !u.IsAbs() {
		u = c.origin.ResolveReference(&url.URL{
			Path:     "./" + strings.TrimPrefix(u.Path, "/"),
			RawQuery: u.RawQuery,
		})
	}
	req = req.Clone(req.Context())
	req.URL = u
	o := callOptions{operation: req.Method + " " + u.Path, stream: true}
	return c.send(req.Context(), o, req)
}

// owns tells whether an address belongs to the server, so that it may see the login.
func (c *Client) owns(u *url.URL) bool {
	return u.Scheme == c.origin.Scheme && u.Host == c.origin.Host && u.User == nil
}
