package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/oei-ms/oei-ms/gen/api"
)

const (
	checkTimeout = 2 * time.Second // for a dependency to answer
	// GET /health needs no login, so the dependencies are not asked each time
	checkMaxAge = time.Second
)

// Check is the health check of a dependency. Name is database, mqtt or redis, Kind embedded or
// external. The detail is public, also with an error; the error is not.
type Check struct {
	Name, Kind string
	Required   bool // whether the service depends on it
	Func       func(ctx context.Context) (detail string, err error)
}

// health caches the state of the dependencies for a moment.
type health struct {
	checks  []Check
	started time.Time

	mu    sync.Mutex
	asked time.Time
	found []api.Dependency
}

func newHealth(checks []Check) *health { return &health{checks: checks, started: time.Now()} }

// dependencies runs all checks concurrently, unless it has done so within checkMaxAge.
func (h *health) dependencies(ctx context.Context) []api.Dependency {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.found != nil && time.Since(h.asked) < checkMaxAge {
		return h.found
	}
	// the result is for other requests, too
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	found := make([]api.Dependency, len(h.checks))
	var asking sync.WaitGroup
	for i, c := range h.checks {
		asking.Go(func() { found[i] = c.ask(ctx) })
	}
	asking.Wait()
	h.asked, h.found = time.Now(), found
	return found
}

// ask runs the check, and returns when ctx ends even if the check does not.
func (c Check) ask(ctx context.Context) api.Dependency {
	d := api.Dependency{
		Name:     api.DependencyName(c.Name),
		Kind:     api.DependencyKind(c.Kind),
		Required: c.Required,
		State:    api.DependencyStateUp,
	}
	type answer struct {
		detail string
		err    error
	}
	answered := make(chan answer, 1)
	started := time.Now()
	go func() {
		detail, err := c.Func(ctx)
		answered <- answer{detail, err}
	}()
	var a answer
	select {
	case a = <-answered:
	case <-ctx.Done():
		a.err = ctx.Err()
	}
	d.LatencyMs = float64(time.Since(started).Microseconds()) / 1000
	d.Detail = a.detail
	if a.err != nil {
		d.State = api.DependencyStateDown
		switch {
		case d.Detail != "":
		case errors.Is(a.err, context.DeadlineExceeded):
			d.Detail = "does not answer"
		default:
			d.Detail = "does not answer as it should"
		}
	}
	return d
}

// GetHealth answers GET /health.
func (s *Server) GetHealth(
	ctx context.Context, _ api.GetHealthRequestObject,
) (api.GetHealthResponseObject, error) {
	h := api.Health{
		Status:        api.HealthStatusHealthy,
		Timestamp:     time.Now().UTC(),
		Version:       s.version.Version,
		Database:      api.ConnectionStatusConnected,
		Redis:         api.ConnectionStatusConnected,
		Mqtt:          api.ConnectionStatusConnected,
		UptimeSeconds: int64(time.Since(s.health.started).Seconds()),
		Dependencies:  s.health.dependencies(ctx),
	}
	old := map[api.DependencyName]*api.ConnectionStatus{
		api.DependencyNameDatabase: &h.Database, api.DependencyNameRedis: &h.Redis,
		api.DependencyNameMqtt: &h.Mqtt,
	}
	for _, d := range h.Dependencies {
		if c := old[d.Name]; c != nil && d.State == api.DependencyStateDown {
			*c = api.ConnectionStatusDisconnected
		}
		switch {
		case d.State == api.DependencyStateDown && d.Required:
			h.Status = api.HealthStatusDown
		case d.State == api.DependencyStateDown && h.Status == api.HealthStatusHealthy:
			h.Status = api.HealthStatusDegraded
		}
	}
	if s.draining.Load() {
		h.Status = api.HealthStatusDown
	}
	if h.Status == api.HealthStatusDown {
		return api.GetHealth503JSONResponse{
			Body:    h,
			Headers: api.GetHealth503ResponseHeaders{RetryAfter: retrySoon.seconds()},
		}, nil
	}
	return api.GetHealth200JSONResponse(h), nil
}

// GetLiveness answers GET /health/live.
func (s *Server) GetLiveness(
	context.Context, api.GetLivenessRequestObject,
) (api.GetLivenessResponseObject, error) {
	return api.GetLiveness200JSONResponse{Status: api.LivenessStatusAlive}, nil
}

// GetReadiness answers GET /health/ready.
func (s *Server) GetReadiness(
	ctx context.Context, _ api.GetReadinessRequestObject,
) (api.GetReadinessResponseObject, error) {
	if s.draining.Load() {
		return notReady("The server is stopping."), nil
	}
	for _, d := range s.health.dependencies(ctx) {
		if d.Required && d.State == api.DependencyStateDown {
			return notReady("Waiting for " + string(d.Name) + ": " + d.Detail + "."), nil
		}
	}
	return api.GetReadiness200JSONResponse{Status: api.ReadinessStatusReady}, nil
}

func notReady(detail string) api.GetReadiness503JSONResponse {
	return api.GetReadiness503JSONResponse{
		Body:    api.Readiness{Status: api.ReadinessStatusNotReady, Detail: detail},
		Headers: api.GetReadiness503ResponseHeaders{RetryAfter: retrySoon.seconds()},
	}
}

// GetVersion answers GET /version.
func (s *Server) GetVersion(
	context.Context, api.GetVersionRequestObject,
) (api.GetVersionResponseObject, error) {
	return api.GetVersion200JSONResponse(s.version), nil
}
