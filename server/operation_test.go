package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

func checks(cs ...server.Check) option {
	return func(_ *config, d *server.Deps) { d.Checks = cs }
}

func TestHealthIsThatOfTheDependencies(t *testing.T) {
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
	defer close(released)
	hangs := func(context.Context) (string, error) { <-released; return "late", nil }
	check := func(name string, required bool, f func(context.Context) (string, error)) server.Check {
		return server.Check{Name: name, Kind: "external", Required: required, Func: f}
	}
	tests := map[string]struct {
		checks              []server.Check
		health              int
		status              client.HealthStatus
		ready               int
		detailOfTheLastOnes string
	}{
		"all well": {
			[]server.Check{check("database", true, well), check("redis", false, well)},
			200,
			"healthy", 200, "fine",
		},
		"what it can do without": {
			[]server.Check{check("database", true, well), check("redis", false, ill)},
			200,
			"degraded", 200, "does not answer as it should",
		},
		"what it cannot": {
			[]server.Check{check("redis", false, ill), check("database", true, ill)},
			503, "down",
			503, "does not answer as it should",
		},
		"what says why": {
			[]server.Check{check("database", true, well), check("mqtt", true, refused)},
			503,
			"down", 503, "it refuses the user",
		},
		"what hangs": {
			[]server.Check{check("redis", false, well), check("database", true, hangs)},
			503,
			"down", 503, "does not answer",
		},
		"nothing to depend on yet": {nil, 200, "healthy", 200, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
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
				h.Dependencies[n-1].Detail != test.detailOfTheLastOnes {
				t.Errorf("detail: got %q, want %q", h.Dependencies[n-1].Detail,
					test.detailOfTheLastOnes)
			}
			ready := must(c.GetReadinessWithResponse(t.Context()))
			if ready.StatusCode() != test.ready {
				t.Errorf("ready: got %d, want %d", ready.StatusCode(), test.ready)
			}
			if test.ready == 503 &&
				!strings.Contains(ready.JSON503.Detail, ": "+test.detailOfTheLastOnes+".") {
				t.Errorf("ready: got %q, want %q in it", ready.JSON503.Detail,
					test.detailOfTheLastOnes)
			}
			if live := must(c.GetLivenessWithResponse(t.Context())); live.StatusCode() != 200 {
				t.Errorf("live: got %d", live.StatusCode())
			}
		})
	}
}

func TestStopLetsRunningRequestsEnd(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, func(_ *config, d *server.Deps) {
		d.Write = func(context.Context, []store.Reading) ([]store.Result, error) {
			close(entered)
			<-leave
			return []store.Result{{Outcome: store.Stored}}, nil
		}
	})
	token := s.token(s.users[store.Engineer])
	answered := make(chan answer, 1)
	go func() {
		answered <- s.send("POST", "/api/data", token,
			`{"readings":[{"sensor_id":1,"value":1}]}`)
	}()
	<-entered
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	within(t, 2*time.Second, "nobody else gets in", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	select {
	case <-stopped:
		t.Error("it stopped with a request running")
	default:
	}
	close(leave)
	if res := <-answered; res.StatusCode != 200 {
		t.Errorf("the running request: got %d: %s", res.StatusCode, res.body)
	}
	<-stopped
}

func TestStopDoesNotWaitForever(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, func(c *config, d *server.Deps) {
		c.DrainTimeout = 200 * time.Millisecond
		d.Write = func(context.Context, []store.Reading) ([]store.Result, error) {
			close(entered)
			<-leave
			return nil, nil
		}
	})
	defer close(leave)
	token := s.token(s.users[store.Engineer])
	req, _ := http.NewRequest("POST", s.url+"/api/data",
		strings.NewReader(`{"readings":[{"sensor_id":1,"value":1}]}`))
	req.Header = http.Header{
		"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"},
	}
	cut := make(chan error, 1)
	go func() {
		res, err := s.http.Do(req)
		if err == nil {
			res.Body.Close()
		}
		cut <- err
	}()
	<-entered
	s.stop() // while it hangs
	if err := <-cut; err == nil {
		t.Error("the request that hangs was answered")
	}
}

// writes makes POST /api/data fail with err, or panic with it.
func writes(f func(context.Context) error) option {
	return func(c *config, d *server.Deps) {
		c.RequestTimeout = 300 * time.Millisecond
		d.Write = func(ctx context.Context, _ []store.Reading) ([]store.Result, error) { return nil, f(ctx) }
	}
}

func TestErrorsOfTheInsideStayInside(t *testing.T) {
	const inside = `pq: relation "secrets" at db01:5432`
	tests := map[string]struct {
		f      func(context.Context) error
		want   int
		logged string
	}{
		"an error nobody knows": {
			func(context.Context) error { return errors.New(inside) }, 500, "request failed",
		},
		"a panic": {
			func(context.Context) error { panic(inside) }, 500, "request failed",
		},
		"no database": {
			func(context.Context) error { return fmt.Errorf("%w: %s", store.ErrUnavailable, inside) },
			503, "request not answered",
		},
		"no answer in time": {
			func(ctx context.Context) error {
				<-ctx.Done()
				return fmt.Errorf("%s: %w", inside,
					ctx.Err())
			},
			503, "request not answered",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := start(t, writes(test.f))
			res := s.send("POST", "/api/data", s.token(s.users[store.Engineer]),
				`{"readings":[{"sensor_id":1,"value":1}]}`, "X-Request-ID", "the-id-of-it")
			p := res.problem()
			if res.StatusCode != test.want || p.Status != test.want ||
				p.Instance != "the-id-of-it" || strings.Contains(string(res.body), "db01") {
				t.Errorf("got %d: %s", res.StatusCode, res.body)
			}
			if (res.Header.Get("Retry-After") != "") != (test.want == 503) {
				t.Errorf("Retry-After: got %q", res.Header.Get("Retry-After"))
			}
			s.stop()
			found := 0
			for line := range strings.Lines(s.log.String()) {
				if strings.Contains(line, test.logged) && strings.Contains(line, "the-id-of-it") &&
					strings.Contains(line, "db01") {
					found++
				}
			}
			if found != 1 {
				t.Errorf("the log has it %d times, want once:\n%s", found, s.log)
			}
		})
	}
}

func TestClientThatGoesAwayLeavesNoNoise(t *testing.T) {
	entered := make(chan struct{})
	s := start(t, func(_ *config, d *server.Deps) {
		d.Write = func(ctx context.Context, _ []store.Reading) ([]store.Result, error) {
			close(entered)
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "POST", s.url+"/api/data",
		strings.NewReader(`{"readings":[{"sensor_id":1,"value":1}]}`))
	req.Header = http.Header{
		"Authorization": {"Bearer " + s.token(s.users[store.Engineer])},
		"Content-Type":  {"application/json"},
	}
	go func() { <-entered; cancel() }()
	if res, err := s.http.Do(req); err == nil {
		res.Body.Close()
		t.Fatal("it was answered")
	}
	s.stop()
	if log := s.log.String(); strings.Contains(log, "request failed") ||
		strings.Contains(log, "not answered") || !strings.Contains(log, `"status":499`) {
		t.Errorf("log:\n%s", log)
	}
}

func TestRequestIDsAndHeaders(t *testing.T) {
	s := start(t)
	for sent, kept := range map[string]bool{
		"abc-123_x.y": true, "": false, "a b": false, strings.Repeat("x", 65): false,
		`"><script>`: false,
	} {
		got := s.send("GET", "/version", "", "", "X-Request-ID", sent).Header.Get("X-Request-ID")
		if got == "" || (got == sent) != kept {
			t.Errorf("X-Request-ID %q: got %q", sent, got)
		}
	}
	h := s.send("GET", "/version", "", "").Header
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store",
		"Server": "",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := s.send("GET", "/version", "", "", "Origin", "https://evil.example").Header.Get(
		"Access-Control-Allow-Origin",
	); got != "" {
		t.Errorf("another site's page may read the answers: %q", got)
	}
}

func TestPagesOfAllowedOriginsMayCall(t *testing.T) {
	s := start(t,
		func(c *config, _ *server.Deps) { c.AllowedOrigins = []string{"https://ui.example"} })
	for origin, want := range map[string]string{
		"https://ui.example":     "https://ui.example",
		"https://ui.example:443": "https://ui.example:443", "https://evil.example": "",
		"http://ui.example": "",
	} {
		res := s.send("OPTIONS", "/api/gateways", "", "", "Origin", origin,
			"Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers",
			"authorization")
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("preflight of %s: got %q, want %q", origin, got, want)
		}
		if got := s.send("GET", "/api/gateways", "", "", "Origin", origin).Header.Get(
			"Access-Control-Allow-Origin",
		); got != want {
			t.Errorf("%s: got %q, want %q", origin, got, want)
		}
	}
}

func TestSecretsAndQueriesStayOutOfTheLog(t *testing.T) {
	s := start(t)
	tokens := s.login("admin")
	ticket := must(s.client(tokens.AccessToken).CreateWebSocketTicketWithResponse(t.Context())).JSON201.Ticket
	s.send("GET", "/ws?ticket="+ticket, "", "")
	s.send("GET", "/api/sensors?key=very-private", tokens.AccessToken, "")
	s.refresh(tokens.RefreshToken)
	s.tryLogin("admin\r\nfake line", "a wrong secret")
	s.stop()
	for _, secret := range []string{
		password, "a wrong secret", tokens.AccessToken, tokens.RefreshToken, ticket, "very-private",
		s.cfg.Auth.SecretKey, "\r\nfake",
	} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestSystemPages(t *testing.T) {
	s := start(t)
	spec := s.send("GET", "/openapi.json", "", "")
	if !strings.Contains(string(spec.body), `"openSensorWebSocket"`) || spec.Header.Get("ETag") == "" {
		t.Errorf("openapi.json: got %d, ETag %q, %d bytes", spec.StatusCode,
			spec.Header.Get("ETag"), len(spec.body))
	}
	if res := s.send("GET", "/openapi.json", "", "", "If-None-Match", spec.Header.Get("ETag")); res.StatusCode != 304 || len(res.body) != 0 {
		t.Errorf("openapi.json again: got %d", res.StatusCode)
	}
	s.send("GET", "/api/nothing", "", "")
	s.tryLogin("viewer", "wrong")
	metrics := string(s.send("GET", "/metrics", "", "").body)
	for _, want := range []string{
		`http_requests_total{endpoint="/api/auth/login",method="POST",operation="login",status="401"} 1`,
		`http_requests_total{endpoint="none",method="none",operation="none",status="401"} 1`,
		`http_request_duration_seconds_count{endpoint="/openapi.json",method="GET",operation="getOpenAPI"} 2`,
		"websocket_connections_active 0", "oei_password_checks_total 1",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	for path, want := range map[string]string{
		"/docs": "swagger", "/redoc": "redoc", "/docs/assets/redoc-init.js": "Redoc",
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

func TestSlowClientsAreCutOff(t *testing.T) {
	s := start(t, func(c *config, _ *server.Deps) {
		c.ReadHeaderTimeout, c.ReadTimeout = 300*time.Millisecond, 600*time.Millisecond
	})
	for name, sent := range map[string]string{
		"in the head": "GET /version HTTP/1.1\r\nHost: x\r\n",
		"in the body": "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, sent)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, bufio.NewReader(conn)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfigNamesEveryFault(t *testing.T) {
	c := server.DefaultConfig()
	c.Port = 70000
	c.AllowedOrigins, c.TrustedProxies, c.RequestTimeout = []string{"https://x/"}, []string{
		"10.0.0.0/33",
	}, 0
	err := c.Validate()
	for _, want := range []string{
		"PORT: 70000 is not a port; use 1 to 65535",
		"OEI_SERVER_ALLOWED_ORIGINS",
		"OEI_SERVER_TRUSTED_PROXIES", "OEI_SERVER_REQUEST_TIMEOUT",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate: got %v, want %s in it", err, want)
		}
	}
	if err := server.DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
