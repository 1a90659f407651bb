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

// registrar registers the plant at the server, as a user with the role engineer.
type registrar struct {
	api      *client.ClientWithResponses
	url      string
	username string
	password string

	mu      sync.Mutex
	tokens  client.Tokens
	expires time.Time // when to refresh the access token, some time before it expires
}

func newRegistrar(cfg Config) (*registrar, error) {
	r := &registrar{url: cfg.API, username: cfg.Username, password: cfg.Password}
	api, err := client.NewClientWithResponses(cfg.API,
		client.WithHTTPClient(&http.Client{Timeout: 30 * time.Second}),
		client.WithRequestEditorFn(r.authorize))
	r.api = api
	return r, err
}

// login starts a login session.
func (r *registrar) login(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refresh(ctx)
}

// authorize adds the access token to a request, refreshed when it is about to expire.
func (r *registrar) authorize(ctx context.Context, req *http.Request) error {
	if strings.HasSuffix(req.URL.Path, "/api/auth/login") ||
		strings.HasSuffix(req.URL.Path, "/api/auth/refresh") {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().After(r.expires) {
		if err := r.refresh(ctx); err != nil {
			return err
		}
	}
	req.Header.Set("Authorization", "Bearer "+r.tokens.AccessToken)
	return nil
}

// refresh gets new tokens by the refresh token, or by the password when that is not valid any more.
func (r *registrar) refresh(ctx context.Context) error {
	if r.tokens.RefreshToken != "" {
		asked := time.Now()
		resp, err := r.api.RefreshSessionWithResponse(ctx,
			client.RefreshRequest{RefreshToken: r.tokens.RefreshToken})
		if err != nil {
			return r.failed("refresh the session", nil, err)
		}
		if resp.JSON200 != nil {
			r.store(*resp.JSON200, asked)
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
		return fmt.Errorf("log in at %s: wrong username or password of user %q", r.url,
			r.username)
	case resp.JSON200 == nil:
		return r.failed("log in", resp, nil)
	}
	r.store(*resp.JSON200, asked)
	return nil
}

// store keeps tokens that were requested at asked.
func (r *registrar) store(tokens client.Tokens, asked time.Time) {
	life := time.Duration(tokens.ExpiresIn) * time.Second
	r.tokens, r.expires = tokens, asked.Add(life-min(life/4, 30*time.Second))
}

// logout ends the login session, which would otherwise last until it expires.
func (r *registrar) logout(ctx context.Context) error {
	resp, err := r.api.LogoutWithResponse(ctx)
	if err != nil || resp.StatusCode() != http.StatusNoContent {
		return r.failed("log out", resp, err)
	}
	return nil
}

// register creates each gateway and its sensors where they are missing, and a new secret for each
// gateway. It does so in order, so that ids on an empty server are in order.
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
			return r.failed("create a credential for gateway "+g.key, resp, err)
		}
		g.secret = resp.JSON201.Secret
	}
	return nil
}

// gateway returns the id of g, and creates it when it is missing.
func (r *registrar) gateway(ctx context.Context, g *gateway) (int64, error) {
	for range 2 { // again when another plant has created the same gateway meanwhile
		list, err := r.api.ListGatewaysWithResponse(ctx, &client.ListGatewaysParams{Key: &g.key})
		if err != nil || list.JSON200 == nil {
			return 0, r.failed("find gateway "+g.key, list, err)
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
	return 0, fmt.Errorf("register gateway %s: it conflicts with one that is not listed", g.key)
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

// knownSensors returns the keys of the sensors that the gateway has.
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

// response is implemented by every response of the generated client.
type response interface {
	StatusCode() int
	GetBody() []byte
}

// failed explains why an operation failed: by err, or by an unexpected response.
func (r *registrar) failed(operation string, resp response, err error) error {
	var unreachable *url.Error
	switch {
	case errors.As(err, &unreachable):
		return fmt.Errorf("%s: the server is not reachable at %s (%w); is it running?", operation,
			r.url,
			unreachable.Err)
	case err != nil:
		return fmt.Errorf("%s: %w", operation, err)
	case resp.StatusCode() == http.StatusForbidden:
		return fmt.Errorf("%s: user %q needs the role engineer", operation,
			r.username)
	}
	var problem client.Problem
	if json.Unmarshal(resp.GetBody(), &problem) != nil || problem.Title == "" {
		return fmt.Errorf("%s: %s answered %d, which is not an answer of OEI-MS; check the address",
			operation, r.url, resp.StatusCode())
	}
	text := fmt.Sprintf("%s: %d %s: %s", operation, resp.StatusCode(), problem.Title,
		problem.Detail)
	for _, f := range problem.Errors {
		text += fmt.Sprintf("; %s: %s", f.Field, f.Reason)
	}
	return errors.New(text)
}
