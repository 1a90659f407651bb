package server_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/server"
)

func checks(cs ...server.Check) option {
	return func(_ *config, d *server.Deps) { d.Checks = cs }
}

func TestHealth_IsThatOfTheDependencies(t *testing.T) {
	well := func(context.Context) (string, error) { return "fine", nil }
	ill := func(context.Context) (string, error) {
		return "", errors.New(
			"password of db01 is wrong",
		)
	}
	refused := func(context.Context) (string, error) {
		return "it refuses the user", errors.New("password of mq01 is wrong")
	}
	released := make(chan struct{})
	t.Cleanup(func() { close(released) })
	hangs := func(context.Context) (string, error) { <-released; return "late", nil }
	check := func(name string, required bool, f func(context.Context) (string,
		error),
	) server.Check {
		return server.Check{Name: name, Kind: "external", Required: required, Func: f}
	}
	tests := map[string]struct {
		checks     []server.Check
		health     int
		status     client.HealthStatus
		ready      int
		lastDetail string
	}{
		"all dependencies are well": {
			[]server.Check{check("database", true, well), check("redis", false, well)},
			200,
			"healthy", 200, "fine",
		},
		"an optional dependency fails": {
			[]server.Check{check("database", true, well), check("redis", false, ill)},
			200,
			"degraded", 200, "does not answer as it should",
		},
		"a required dependency fails": {
			[]server.Check{check("redis", false, ill), check("database", true, ill)},
			503, "down",
			503, "does not answer as it should",
		},
		"a dependency says why": {
			[]server.Check{check("database", true, well), check("mqtt", true, refused)},
			503,
			"down", 503, "it refuses the user",
		},
		"a check hangs": {
			[]server.Check{check("redis", false, well), check("database", true, hangs)},
			503,
			"down", 503, "does not answer",
		},
		"there are no dependencies": {nil, 200, "healthy", 200, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, checks(test.checks...))
			c := s.client("")
			health := must(c.GetHealthWithResponse(t.Context()))
			h := health.JSON200
			if h == nil {
				h = health.JSON503
			}
			if h == nil || health.StatusCode() != test.health || h.Status != test.status {
				t.Fatalf("health: got %d %s, want %d %s", health.StatusCode(), health.Body,
					test.health, test.status)
			}
			inWords := map[client.DependencyName]client.ConnectionStatus{
				"database": h.Database, "redis": h.Redis, "mqtt": h.Mqtt,
			}
			for _, d := range h.Dependencies {
				want := client.ConnectionStatusConnected
				if d.State == client.DependencyStateDown {
					want = client.ConnectionStatusDisconnected
				}
				if inWords[d.Name] != want {
					t.Errorf("%s: got %s, want %s", d.Name, inWords[d.Name], want)
				}
				delete(inWords, d.Name)
			}
			for name, word := range inWords { // what is not there is in this process
				if word != client.ConnectionStatusConnected {
					t.Errorf("%s: got %s, want connected", name, word)
				}
			}
			if h.Version != "0.0.1" || time.Since(h.Timestamp).Abs() > time.Minute {
				t.Errorf("got version %q and timestamp %v", h.Version, h.Timestamp)
			}
			if n := len(h.Dependencies); n > 0 &&
				h.Dependencies[n-1].Detail != test.lastDetail {
				t.Errorf("detail: got %q, want %q", h.Dependencies[n-1].Detail,
					test.lastDetail)
			}
			ready := must(c.GetReadinessWithResponse(t.Context()))
			if ready.StatusCode() != test.ready {
				t.Errorf("ready: got %d, want %d", ready.StatusCode(), test.ready)
			}
			if test.ready == 503 &&
				!strings.Contains(ready.JSON503.Detail, ": "+test.lastDetail+".") {
				t.Errorf("ready: got %q, want %q in it", ready.JSON503.Detail,
					test.lastDetail)
			}
			if live := must(c.GetLivenessWithResponse(t.Context())); live.StatusCode() != 200 {
				t.Errorf("live: got %d", live.StatusCode())
			}
		})
	}
}

func TestSystem_SpecificationMetricsAndVersion(t *testing.T) {
	s := start(t)
	spec := s.send("GET", "/openapi.json", "", "")
	if !strings.Contains(string(spec.body), `"openSensorWebSocket"`) ||
		spec.Header.Get("ETag") == "" {
		t.Errorf("openapi.json: got %d, ETag %q, %d bytes", spec.StatusCode,
			spec.Header.Get("ETag"), len(spec.body))
	}
	if res := s.send("GET", "/openapi.json", "", "", "If-None-Match",
		spec.Header.Get("ETag")); res.StatusCode != 304 || len(res.body) != 0 {
		t.Errorf("openapi.json again: got %d", res.StatusCode)
	}
	s.send("GET", "/api/nothing", "", "")
	s.tryLogin("viewer", "wrong")
	metrics := string(s.send("GET", "/metrics", "", "").body)
	for _, want := range []string{
		`http_requests_total{endpoint="/api/auth/login",method="POST",operation="login",` +
			`status="401"} 1`,
		`http_requests_total{endpoint="none",method="none",operation="none",status="401"} 1`,
		`http_request_duration_seconds_count{endpoint="/openapi.json",method="GET",` +
			`operation="getOpenAPI"} 2`,
		"websocket_connections_active 0", "oei_password_checks_total 1",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	for path, want := range map[string]string{
		"/docs": "swagger", "/redoc": "redoc", "/docs/assets/redoc-init.js": "Redoc",
		"/asyncapi": "MQTT", "/docs/assets/asyncapi-init.js": "Redoc",
	} {
		res := s.send("GET", path, "", "")
		if res.StatusCode != 200 || !strings.Contains(string(res.body), want) {
			t.Errorf("%s: got %d", path, res.StatusCode)
		}
	}
	if v := must(s.client("").GetVersionWithResponse(t.Context())).JSON200; v == nil ||
		v.Version != "0.0.1" || v.Go == "" {
		t.Errorf("version: got %+v", v)
	}
}
