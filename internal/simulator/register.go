package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
)

// registrar makes the plant known to the server, as a person with the role engineer would.
type registrar struct {
	api      *client.ClientWithResponses
	url      string
	username string
	password string

	mu      sync.Mutex
	tokens  client.Tokens
	expires time.Time // when a new access token is due, a little before the server says so
}

func newRegistrar(cfg Config) (*registrar, error) {
	r := &registrar{url: cfg.API, username: cfg.Username, password: cfg.Password}
	api, err := client.NewClientWithResponses(cfg.API,
		client.WithHTTPClient(&http.Client{Timeout: 30 * time.Second}),
		client.WithRequestEditorFn(r.authorize))
	r.api = api
	return r, err
}

// login begins a session.
func (r *registrar) login(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.renew(ctx)
}

// authorize adds the access token to a request, after renewing it when it is about to expire.
func (r *registrar) authorize(ctx context.Context, req *http.Request) error {
	if strings.HasSuffix(req.URL.Path, "/api/auth/login") ||
		strings.HasSuffix(req.URL.Path, "/api/auth/refresh") {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().After(r.expires) {
		if err := r.renew(ctx); err != nil {
			return err
		}
	}
	req.Header.Set("Authorization", "Bearer "+r.tokens.AccessToken)
	return nil
}

// renew takes a new pair of tokens for the refresh token, and when that is no longer good, for the
// password.
func (r *registrar) renew(ctx context.Context) error {
	if r.tokens.RefreshToken != "" {
		asked := time.Now()
		resp, err := r.api.RefreshSessionWithResponse(ctx,
			client.RefreshRequest{RefreshToken: r.tokens.RefreshToken})
		if err != nil {
			return r.failed("renew the session", nil, err)
		}
		if resp.JSON200 != nil {
			r.keep(*resp.JSON200, asked)
			return nil
		}
	}
	asked := time.Now()
	resp, err := r.api.LoginWithResponse(ctx,
		client.LoginRequest{Username: r.username, Password: r.password})
	switch {
	case err != nil:
		return r.failed("log in", nil, err)
	case resp.StatusCode() == http.StatusUnauthorized:
		return fmt.Errorf("log in at %s: user %q was refused; check username and password", r.url,
			r.username)
	case resp.JSON200 == nil:
		return r.failed("log in", resp, nil)
	}
	r.keep(*resp.JSON200, asked)
	return nil
}

func (r *registrar) keep(tokens client.Tokens, asked time.Time) {
	life := time.Duration(tokens.ExpiresIn) * time.Second
	r.tokens, r.expires = tokens, asked.Add(life-min(life/4, 30*time.Second))
}

// logout ends the session, so that it does not linger until it expires.
func (r *registrar) logout(ctx context.Context) error {
	resp, err := r.api.LogoutWithResponse(ctx)
	if err != nil || resp.StatusCode() != http.StatusNoContent {
		return r.failed("log out", resp, err)
	}
	return nil
}

// register makes each gateway and its sensors known where they are not yet, and gives each gateway
// a fresh secret. It goes through them in order, so that an empty server gives them ids in order.
func (r *registrar) register(ctx context.Context, gateways []*gateway) error {
	for _, g := range gateways {
		id, err := r.gateway(ctx, g)
		if err != nil {
			return err
		}
		if err := r.sensors(ctx, id, g); err != nil {
			return err
		}
		resp, err := r.api.CreateCredentialWithResponse(ctx, id)
		if err != nil || resp.JSON201 == nil {
			return r.failed("make a secret for gateway "+g.key, resp, err)
		}
		g.secret = resp.JSON201.Secret
	}
	return nil
}

// gateway answers the id of g, registering it first when nobody has.
func (r *registrar) gateway(ctx context.Context, g *gateway) (int64, error) {
	for range 2 { // a second time when another plant registers the same gateway just now
		list, err := r.api.ListGatewaysWithResponse(ctx, &client.ListGatewaysParams{Key: &g.key})
		if err != nil || list.JSON200 == nil {
			return 0, r.failed("look for gateway "+g.key, list, err)
		}
		for _, found := range *list.JSON200 {
			if !found.IsActive {
				return 0, fmt.Errorf("gateway %s is registered but not in use; set its is_active "+
					"to true, or choose another prefix", g.key)
			}
			return found.ID, nil
		}
		location := "Simulated plant"
		made, err := r.api.CreateGatewayWithResponse(ctx, client.GatewayCreate{
			Key:      &g.key,
			Name:     g.name,
			Location: &location,
			Metadata: &client.Metadata{"simulated": true},
		})
		if err == nil && made.JSON201 != nil {
			return made.JSON201.ID, nil
		}
		if err != nil || made.StatusCode() != http.StatusConflict {
			return 0, r.failed("register gateway "+g.key, made, err)
		}
	}
	return 0, fmt.Errorf("register gateway %s: it can neither be found nor made", g.key)
}

func (r *registrar) sensors(ctx context.Context, id int64, g *gateway) error {
	known, err := r.knownSensors(ctx, id, g.key)
	if err != nil {
		return err
	}
	for _, s := range g.sensors {
		if known[s.key] {
			continue
		}
		body := client.SensorCreate{
			Key:       &s.key,
			Name:      s.name,
			Type:      s.kind.typ,
			Unit:      &s.kind.unit,
			GatewayID: id,
		}
		body.MinValue.Set(s.kind.min)
		body.MaxValue.Set(s.kind.max)
		resp, err := r.api.CreateSensorWithResponse(ctx, body)
		if err != nil || (resp.JSON201 == nil && resp.StatusCode() != http.StatusConflict) {
			return r.failed("register sensor "+s.key+" of gateway "+g.key, resp, err)
		}
	}
	return nil
}

// knownSensors are the keys of the sensors that the gateway has already.
func (r *registrar) knownSensors(
	ctx context.Context, id int64, key string,
) (map[string]bool, error) {
	known := map[string]bool{}
	limit := 1000
	params := client.ListSensorsParams{GatewayID: &id, Limit: &limit}
	for {
		resp, err := r.api.ListSensorsWithResponse(ctx, &params)
		if err != nil || resp.JSON200 == nil {
			return nil, r.failed("list the sensors of gateway "+key, resp, err)
		}
		for _, s := range *resp.JSON200 {
			known[s.Key] = true
		}
		cursor := nextCursor(resp.HTTPResponse.Header.Get("Link"))
		if cursor == "" {
			return known, nil
		}
		params.Cursor = &cursor
	}
}

// nextCursor finds the cursor in a Link header with rel="next"; "" when there is no next page.
func nextCursor(link string) string {
	address, rest, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || !strings.Contains(rest, `rel="next"`) {
		return ""
	}
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Query().Get("cursor")
}

// answer is what every response of the generated client can tell.
type answer interface {
	StatusCode() int
	GetBody() []byte
}

// failed says what could not be done and why, in words that help. Either err is set or the answer
// is not the one hoped for.
func (r *registrar) failed(what string, resp answer, err error) error {
	var unreachable *url.Error
	switch {
	case errors.As(err, &unreachable):
		return fmt.Errorf("%s: the server is not reachable at %s (%w); is it running?", what, r.url,
			unreachable.Err)
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	case resp.StatusCode() == http.StatusForbidden:
		return fmt.Errorf("%s: user %q may not do this; it needs the role engineer", what,
			r.username)
	}
	var problem client.Problem
	if json.Unmarshal(resp.GetBody(), &problem) != nil || problem.Title == "" {
		return fmt.Errorf("%s: %s answered %d, which is not an answer of OEI-MS; check the address",
			what, r.url, resp.StatusCode())
	}
	text := fmt.Sprintf("%s: %d %s: %s", what, resp.StatusCode(), problem.Title, problem.Detail)
	for _, f := range problem.Errors {
		text += fmt.Sprintf("; %s: %s", f.Field, f.Reason)
	}
	return errors.New(text)
}
