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

	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// writes makes POST /api/data fail with err, or panic with it.
func writes(f func(context.Context) error) option {
	return func(c *config, d *server.Deps) {
		c.RequestTimeout = 300 * time.Millisecond
		d.Write = func(ctx context.Context, _ []store.Reading) ([]store.ReadingResult,
			error,
		) {
			return nil, f(ctx)
		}
	}
}

func TestInternalErrors_AreNotShown(t *testing.T) {
	const inside = `pq: relation "secrets" at db01:5432`
	tests := map[string]struct {
		f      func(context.Context) error
		want   int
		logged string
	}{
		"an unknown error": {
			func(context.Context) error { return errors.New(inside) }, 500, "request failed",
		},
		"a panic": {
			func(context.Context) error { panic(inside) }, 500, "request failed",
		},
		"no database": {
			func(context.Context) error {
				return fmt.Errorf("%w: %s", store.ErrUnavailable,
					inside)
			},
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

func TestClientThatDisconnects_IsNotLogged(t *testing.T) {
	entered := make(chan struct{})
	s := start(t, func(_ *config, d *server.Deps) {
		d.Write = func(ctx context.Context, _ []store.Reading) ([]store.ReadingResult, error) {
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

func TestCORS_AllowedOriginsOnly(t *testing.T) {
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

func TestLog_HasNoSecretsAndQueries(t *testing.T) {
	s := start(t)
	tokens := s.login("admin")
	c := s.client(tokens.AccessToken)
	ticket := must(c.CreateWebSocketTicketWithResponse(t.Context())).JSON201.Ticket
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

func TestSlowClients_AreCutOff(t *testing.T) {
	s := start(t, func(c *config, _ *server.Deps) {
		c.ReadHeaderTimeout, c.ReadTimeout = 300*time.Millisecond, 600*time.Millisecond
	})
	for name, sent := range map[string]string{
		"in the head": "GET /version HTTP/1.1\r\nHost: x\r\n",
		"in the body": "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: " +
			"application/json\r\nContent-Length: 100\r\n\r\n{",
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
