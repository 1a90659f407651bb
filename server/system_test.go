package server_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/argon2"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/syncbuf"
	"github.com/oei-ms/oei-ms/notify"
	"github.com/oei-ms/oei-ms/push"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

var quiet = slog.New(slog.DiscardHandler)

const password = "a password of tests"

// passwordHash is a hash of password that is cheaper to check than those of auth.HashPassword.
var passwordHash = sync.OnceValue(func() string {
	const salt = "salt of the tests"
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=64,t=1,p=1$%s$%s", argon2.Version, b64([]byte(salt)),
		b64(argon2.IDKey([]byte(password), []byte(salt), 1, 64, 1, 32)))
})

// system is a server with everything behind it, on a port of its own.
type system struct {
	t        *testing.T
	cfg      config
	store    *store.Store
	auth     *auth.Auth
	hub      *push.Hub
	notifier *notify.Notifier
	url      string
	server   *server.Server
	http     *http.Client
	log      *syncbuf.Buffer
	stop     func() // waits until the server has stopped
	users    map[store.Role]store.User
	made     int
}

// config holds the settings of a server, its queries and its logins.
type config struct {
	server.Config
	Query server.QueryConfig
	Auth  auth.Config
	Push  push.Config
}

type option func(*config, *server.Deps)

// start starts a server on a fresh database with a user of each role.
func start(t *testing.T, options ...option) *system {
	t.Helper()
	return startOn(t, pgtest.DSN(t)+" synchronous_commit=on", options...) // the store insists on it
}

// startOn is start on a database that may have users.
func startOn(t *testing.T, dsn string, options ...option) *system {
	t.Helper()
	s := &system{t: t, log: &syncbuf.Buffer{}, users: map[store.Role]store.User{}}
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if s.store, err = store.Open(t.Context(), dsn, store.DefaultConfig(), log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	s.cfg = config{
		Config: server.DefaultConfig(),
		Query:  server.DefaultQueryConfig(),
		Auth:   auth.DefaultConfig(),
		Push:   push.DefaultConfig(),
	}
	s.cfg.Auth.SecretKey = strings.Repeat("secret of tests ", 4)
	deps := server.Deps{
		Store: s.store, Log: log, Registry: prometheus.NewRegistry(), Write: s.write,
		Version: server.Version{Version: "0.0.1", Go: "go1"},
		Checks: []server.Check{
			{Name: "database", Kind: "external", Required: true, Func: s.store.Ping},
		},
	}
	if s.notifier, err = notify.New(notify.DefaultConfig(), s.store, nil, log,
		deps.Registry); err != nil {
		t.Fatal(err)
	}
	deps.Notifications = server.Notifications{
		TestChannel:   s.notifier.TestChannel,
		CheckChannel:  s.notifier.CheckChannel,
		CheckTemplate: notify.CheckTemplate,
	}
	for _, o := range options {
		o(&s.cfg, &deps)
	}
	if err := errors.Join(s.cfg.Validate(), s.cfg.Auth.Validate()); err != nil {
		t.Fatal(err)
	}
	if s.auth, err = auth.New(s.cfg.Auth, s.store, log, deps.Registry); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.auth.Close)
	s.hub = push.New(s.cfg.Push, push.Deps{Auth: server.PushAuth(s.auth, s.store)},
		log, deps.Registry)
	deps.Auth, deps.Hub = s.auth, s.hub
	srv, err := server.New(s.cfg.Config, s.cfg.Query, deps)
	if err != nil {
		t.Fatal(err)
	}
	s.run(srv)
	s.addUsers()
	return s
}

func (s *system) run(srv *server.Server) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.url, s.server = "http://"+ln.Addr().String(), srv
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = s.hub.Run(ctx) })
	running.Go(func() {
		if err := srv.Run(ctx, ln); err != nil {
			s.t.Errorf("run: %v", err)
		}
	})
	s.stop = func() { cancel(); running.Wait() }
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	s.http = &http.Client{
		Transport: checked(s.t, transport),
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	s.t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.stop()
	})
}

func (s *system) addUsers() {
	for _, role := range []store.Role{store.Viewer, store.Operator, store.Engineer, store.Admin} {
		u, err := s.store.UserByName(s.t.Context(), string(role))
		if err != nil {
			u = s.addUser(string(role), role, true)
		}
		s.users[role] = u
	}
}

func (s *system) addUser(name string, role store.Role, active bool) store.User {
	s.t.Helper()
	u, err := s.store.CreateUser(s.t.Context(), store.User{
		Username:     name,
		Email:        name + "@localhost",
		PasswordHash: passwordHash(),
		Role:         role,
		IsActive:     active,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return u
}

// write does what ingest does, without its checks.
func (s *system) write(ctx context.Context, rs []store.Reading) ([]store.ReadingResult, error) {
	res, err := s.store.Write(ctx, rs,
		store.SideWrites{})
	results := make([]store.ReadingResult, len(res.Outcomes))
	for i, o := range res.Outcomes {
		results[i].Outcome = o
	}
	return results, err
}

// token begins a session of u.
func (s *system) token(u store.User) string {
	s.t.Helper()
	tokens, err := s.auth.StartSession(s.t.Context(), u.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	return tokens.Access
}

// client returns the generated client, logged in with token unless that is empty.
func (s *system) client(token string) *client.ClientWithResponses {
	s.t.Helper()
	c, err := client.NewClientWithResponses(s.url, client.WithHTTPClient(s.http),
		client.WithRequestEditorFn(
			func(_ context.Context, r *http.Request) error {
				if token != "" {
					r.Header.Set("Authorization", "Bearer "+token)
				}
				return nil
			}))
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// as returns the generated client of a new session of the user with this role.
func (s *system) as(role store.Role) *client.ClientWithResponses {
	s.t.Helper()
	return s.client(s.token(s.users[role]))
}

// answer is a response read to its end.
type answer struct {
	*http.Response
	body []byte
}

func (a answer) problem() (p client.Problem) {
	_ = json.Unmarshal(a.body, &p)
	return p
}

// send sends a request as it is; header is pairs of name and value. A body that begins with a brace
// or bracket is JSON.
func (s *system) send(method, path, token, body string, header ...string) answer {
	s.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, r)
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.http.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{res, b}
}

// addGateway and addSensor add one with a key of its own.
func (s *system) addGateway() store.Gateway {
	s.t.Helper()
	s.made++
	g, err := s.store.CreateGateway(s.t.Context(),
		store.Gateway{
			Key:      fmt.Sprintf("g-%d", s.made),
			Name:     "Gateway",
			IsActive: true,
			Metadata: "{}",
		})
	if err != nil {
		s.t.Fatal(err)
	}
	return g
}

func (s *system) addSensor(gateway int64) store.Sensor {
	s.t.Helper()
	s.made++
	v, err := s.store.CreateSensor(s.t.Context(), store.Sensor{
		GatewayID: gateway,
		Key:       fmt.Sprintf("s-%d", s.made),
		Name:      "Sensor",
		Type:      "temperature",
		IsActive:  true,
		Tags:      "{}",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// addReadings stores n readings of sensor, a second apart, the last of them at end.
func (s *system) addReadings(sensor int64, n int, end time.Time) {
	s.t.Helper()
	rs := make([]store.Reading, n)
	for i := range rs {
		rs[i] = store.Reading{
			SensorID:  sensor,
			Timestamp: end.Add(time.Duration(i-n+1) * time.Second),
			Received:  end,
			Value:     float64(i),
		}
	}
	if _, err := s.write(s.t.Context(), rs); err != nil {
		s.t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// metric is the value of one that has no labels.
func (s *system) metric(name string) string {
	s.t.Helper()
	res := s.send(http.MethodGet, "/metrics", s.token(s.users[store.Viewer]), "")
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(res.body)
	if found == nil {
		s.t.Fatalf("there is no metric %s: %s", name, res.body[:min(len(res.body), 200)])
	}
	return string(found[1])
}

// raw sends a request line that no client library would, and returns the status.
func (s *system) raw(method, target, token string) int {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	auth := ""
	if token != "" {
		auth = "Authorization: Bearer " + token + "\r\n"
	}
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: test\r\n%sConnection: close\r\n\r\n", method, target,
		auth)
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer res.Body.Close()
	return res.StatusCode
}
