package oei_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	oei "github.com/oei-ms/oei-ms/client"
)

// transport passes requests through f, which may change them, lose them or their answers.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func send(r *http.Request) (*http.Response, error) { return http.DefaultTransport.RoundTrip(r) }

var errLost = errors.New("the connection was cut")

// lose sends a request and loses its answer.
func lose(r *http.Request) (*http.Response, error) {
	res, err := send(r)
	if err != nil {
		return nil, err
	}
	res.Body.Close()
	return nil, errLost
}

func through(f transport) oei.Option { return oei.HTTPClient(&http.Client{Transport: f}) }

func TestSession_IsRefreshedOnceForManyCallsThoughAnswersAreLost(t *testing.T) {
	var refreshes, logins atomic.Int32
	var expired sync.Map // the first token, which the server sees as an invalid one
	c := shared.dial(t, through(func(r *http.Request) (*http.Response, error) {
		switch r.URL.Path {
		case "/api/auth/login":
			logins.Add(1)
		case "/api/auth/refresh":
			if refreshes.Add(1) <= 2 {
				return lose(r)
			}
		case "/api/auth/me":
			token := r.Header.Get("Authorization")
			if refreshes.Load() == 0 {
				expired.Store(token, true)
			}
			if _, ok := expired.Load(token); ok {
				r.Header.Set("Authorization", "Bearer expired")
			}
		}
		return send(r)
	}))
	var calls sync.WaitGroup
	for range 50 {
		calls.Go(func() {
			if _, err := c.CurrentUser(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if refreshes.Load() != 3 || logins.Load() != 1 {
		t.Errorf("got %d refreshes and %d logins, want 3 for two lost answers, and 1",
			refreshes.Load(), logins.Load())
	}
}

func TestSession_RefusesWrongPasswordsAtOnce(t *testing.T) {
	_, err := oei.Dial(t.Context(), address, oei.Password("admin", "wrong"))
	wantIs(t, err, oei.ErrNotAuthenticated)
	_, err = oei.Dial(t.Context(), address, oei.APIKey("oei_wrong"))
	wantIs(t, err, oei.ErrNotAuthenticated)
}

func TestRetry_SendsAWriteAgainWithTheSameKey(t *testing.T) {
	var keys []string
	c := shared.dial(t, through(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/api/data" {
			keys = append(keys, r.Header.Get("Idempotency-Key"))
			if len(keys) == 1 {
				return lose(r)
			}
		}
		return send(r)
	}))
	s := newSensor(t, c, "retry")
	result, err := c.WriteReadings(t.Context(), nil, oei.ReadingsWriteRequest{
		Readings: []oei.ReadingCreate{{SensorID: s.ID, Value: oei.Value(1.0)}},
	})
	if err != nil || result.Stored != 1 {
		t.Errorf("got %+v, %v; want it stored once", result, err)
	}
	if len(keys) != 2 || keys[0] == "" || keys[0] != keys[1] {
		t.Errorf("got keys %q, want the same twice", keys)
	}
}

func TestRetry_DoesNotRepeatWhatMayHaveHappened(t *testing.T) {
	sent := 0
	c := shared.dial(t, through(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPost && r.URL.Path == "/api/gateways" {
			sent++
			return lose(r)
		}
		return send(r)
	}))
	_, err := c.CreateGateway(t.Context(), oei.GatewayCreate{Name: "Lost"})
	wantIs(t, err, errLost)
	if sent != 1 {
		t.Errorf("sent %d times, want once", sent)
	}
}

// answers returns an answer that a proxy gives.
func answers(r *http.Request, status int, header http.Header, body string) *http.Response {
	return &http.Response{
		StatusCode: status,
		Header:     header,
		Body:       io.NopCloser(strings.NewReader(body)),
		Request:    r,
	}
}

func TestRetry_WaitsAsLongAsTheServerSaysButNotBeyondTheContext(t *testing.T) {
	for name, test := range map[string]struct {
		status, retryAfter, want int
	}{
		"a busy server is asked again":             {503, 1, 2},
		"a limited client waits":                   {429, 1, 2},
		"a wait beyond the deadline is not begun":  {429, 50, 1},
		"a wait of minutes is left to the program": {429, 900, 1},
		"a fault of the server is told":            {500, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			sent := 0
			c := shared.dial(t, through(func(r *http.Request) (*http.Response, error) {
				if r.URL.Path != "/api/auth/me" {
					return send(r)
				}
				if sent++; sent > 1 {
					return send(r)
				}
				header := http.Header{"Retry-After": {strconv.Itoa(test.retryAfter)}}
				return answers(r, test.status, header, "<html>"), nil
			}))
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, err := c.CurrentUser(ctx)
			if sent != test.want || (err == nil) != (test.want == 2) {
				t.Errorf("sent %d times, %v; want %d times", sent, err, test.want)
			}
			if p, ok := errors.AsType[*oei.Problem](err); ok && p.Status != test.status {
				t.Errorf("got %+v, want status %d", p, test.status)
			}
		})
	}
}

func TestCall_ShowsTheErrorOfTheContext(t *testing.T) {
	hanging := func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/api/auth/me" {
			<-r.Context().Done()
			return nil, context.Cause(r.Context())
		}
		return send(r)
	}
	c := shared.dial(t, through(hanging))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err := c.CurrentUser(ctx)
	wantIs(t, err, context.Canceled)

	c, err = oei.Dial(t.Context(), address, oei.Token("one"), through(hanging),
		oei.Timeout(2*time.Second), oei.Retry(0))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.CurrentUser(t.Context())
	wantIs(t, err, context.DeadlineExceeded)
}

func TestList_NeverLeavesTheOrigin(t *testing.T) {
	c := shared.dial(t, through(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != strings.TrimPrefix(address, "http://") {
			t.Errorf("sent %q to %s", r.Header.Get("Authorization"), r.URL.Host)
		}
		header := http.Header{"Link": {`<http://evil.example/api/users>; rel="next"`}}
		switch r.URL.Path {
		case "/api/users":
			return answers(r, 200, header, `[{"id": 1}]`), nil
		case "/api/auth/me":
			header.Set("Location", "http://evil.example/")
			return answers(r, http.StatusTemporaryRedirect, header, ""), nil
		}
		return send(r)
	}))
	n := 0
	var last error
	for _, err := range c.Users(t.Context(), nil) {
		n, last = n+1, err
	}
	if n != 1 || last == nil {
		t.Errorf("got %d users, then %v; want an error alone", n, last)
	}
	if _, err := c.CurrentUser(t.Context()); err == nil {
		t.Error("a redirect to another origin was followed")
	}
	req, _ := http.NewRequest(http.MethodGet, "http://evil.example/", nil)
	if _, err := c.Do(req); err == nil {
		t.Error("a request to another origin was sent")
	}
}

func TestExport_ContinuesAfterLostConnections(t *testing.T) {
	parts := 0
	c := shared.dial(t, through(func(r *http.Request) (*http.Response, error) {
		res, err := send(r)
		if err == nil && r.URL.Path == "/api/data/export" {
			if parts++; parts < 5 {
				res.Body = &cutBody{ReadCloser: res.Body, left: 20_000}
			}
		}
		return res, err
	}))
	var last time.Time
	n := 0
	for row, err := range c.Export(t.Context(), oei.ExportReadingsParams{SensorID: []oei.ID{1}}) {
		if err != nil {
			t.Fatal(err)
		}
		if !row.Timestamp.After(last) {
			t.Fatalf("row %d: %v does not follow %v", n, row.Timestamp, last)
		}
		n, last = n+1, row.Timestamp
	}
	if n != 1000 || parts != 5 {
		t.Errorf("got %d rows in %d parts, want 1000 in 5", n, parts)
	}
}

// cutBody ends with an error after so many bytes.
type cutBody struct {
	io.ReadCloser
	left int
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errLost
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func TestUpdate_LosesNoChangeOfOthers(t *testing.T) {
	c := shared.dial(t)
	s := newSensor(t, c, "counter")
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			for j := range 3 {
				_, err := c.UpdateSensor(t.Context(), s.ID, func(s *oei.Sensor) {
					if s.Tags == nil {
						s.Tags = oei.Tags{}
					}
					s.Tags["w"+strconv.Itoa(i)+strconv.Itoa(j)] = "x"
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if s, err := c.Sensor(t.Context(), s.ID); err != nil || len(s.Tags) != 12 {
		t.Errorf("got %v, %v; want the tags of all 12 updates", s.Tags, err)
	}
}

// newSensor creates a gateway with a sensor.
func newSensor(t *testing.T, c *oei.Client, name string) oei.Sensor {
	t.Helper()
	g, err := c.CreateGateway(t.Context(), oei.GatewayCreate{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.CreateSensor(t.Context(), oei.SensorCreate{
		GatewayID: g.ID,
		Name:      name,
		Type:      "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
