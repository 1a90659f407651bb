package server_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// direct hands the server a request whose body counts how much of it is read.
func (s *system) direct(
	method, path, token string, length int64, body io.ReadCloser,
) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(s.t.Context(), method, path, nil)
	r.Body, r.ContentLength = body, length
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	s.server.Handler().ServeHTTP(w, r)
	return w
}

func TestBodies_AreBoundedBeforeAndAfterLogin(t *testing.T) {
	s := start(t)
	s.addSensor(s.addGateway().ID)
	admin := s.token(s.users[store.Admin])
	blank := func() *endless { return list(" ", strings.Repeat(" ", 512)) }
	eachOperation(t, func(_, method string, _ *openapi3.PathItem, op *openapi3.Operation) {
		r := rows[op.OperationID]
		if r.least == anonymous {
			return // a WebSocket: nothing reads a body
		}
		limit, before, after := 0, http.StatusUnauthorized, http.StatusRequestEntityTooLarge
		if r.least == public {
			limit, before = 4096, after
		}
		if op.RequestBody == nil {
			limit, after = min(limit, 2), http.StatusBadRequest
			if r.least == public {
				before = after
			}
		}
		body := blank()
		if res := s.direct(method, r.path(s), "", -1, body); res.Code != before ||
			body.read > limit+1 {
			t.Errorf("%s without a login: got %d after %d bytes, want %d after %d", op.OperationID,
				res.Code, body.read, before, limit)
		}
		if r.least == public || op.RequestBody == nil {
			limit = min(limit+2, 4096)
		} else {
			limit = int(s.cfg.BodyLimit)
		}
		body = blank()
		if res := s.direct(method, r.path(s), admin, -1, body); res.Code != after ||
			body.read > limit+1 {
			t.Errorf("%s with a login: got %d after %d bytes, want %d after %d", op.OperationID,
				res.Code, body.read, after, limit)
		}
		body = blank()
		if res := s.direct(method, r.path(s), admin, 1<<30, body); res.Code != after ||
			body.read > 3 {
			t.Errorf("%s with a long body announced: got %d after %d bytes", op.OperationID,
				res.Code, body.read)
		}
	})
}

// TestBodies_InvalidOnesAreRefused holds operations without a body to refusing one, but for an
// empty object.
func TestBodies_InvalidOnesAreRefused(t *testing.T) {
	s := start(t)
	s.addSensor(s.addGateway().ID)
	eachOperation(t, func(_, method string, _ *openapi3.PathItem, op *openapi3.Operation) {
		r := rows[op.OperationID]
		if op.RequestBody != nil {
			return
		}
		for body, want := range map[string]int{`{"dry_run":true}`: 400, "x": 400, "{}": r.status} {
			token := s.token(s.users[store.Admin]) // logout ends it
			if res := s.send(method, r.path(s), token, body); res.StatusCode != want ||
				want == 400 && !names(res, "body") {
				t.Errorf("%s with %s: got %d, want %d: %s", op.OperationID, body, res.StatusCode,
					want, res.body)
			}
		}
	})
}

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	z.Close()
	return b.String()
}

func TestBodies_EncodingsAndCharsets(t *testing.T) {
	s := start(t)
	v := s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Engineer])
	good := fmt.Sprintf(`{"readings":[{"sensor_id":%d,"value":1}]}`, v.ID)
	login := rows["login"].body
	for name, test := range map[string]struct {
		path, body, header, value string
		want                      int
		detail                    string
	}{
		"gzip": {
			"/api/data", zipped(good), "Content-Encoding", "gzip", 200, "",
		},
		"gzip by its old name": {
			"/api/data", zipped(good), "Content-Encoding", "X-GZIP", 200, "",
		},
		"gzip in two parts": {
			"/api/data", zipped(good[:9]) + zipped(good[9:]), "Content-Encoding", "gzip", 200, "",
		},
		"identity": {"/api/data", good, "Content-Encoding", "identity", 200, ""},
		"gzip of too much": {
			"/api/data", zipped(strings.Repeat(" ", 3<<20)), "Content-Encoding", "gzip", 413,
			"at most 2097152 bytes",
		},
		"invalid gzip": {
			"/api/data", good, "Content-Encoding", "gzip", 400, "not valid gzip",
		},
		"gzip that is cut off": {
			"/api/data", zipped(good)[:30], "Content-Encoding", "gzip", 400, "not valid gzip",
		},
		"gzip of a fault": {
			"/api/data", zipped(`{"readings":[{}]}`), "Content-Encoding", "gzip", 400,
			"readings[0].value: is missing",
		},
		"brotli": {"/api/data", good, "Content-Encoding", "br", 415, "gzip"},
		"gzip twice": {
			"/api/data", zipped(zipped(good)), "Content-Encoding", "gzip, gzip", 415, "gzip",
		},
		"gzip before the login": {
			"/api/auth/login", zipped(login), "Content-Encoding", "gzip", 415, "need a login",
		},
		"UTF-8": {
			"/api/data", good, "Content-Type", `application/json; charset="UTF-8"`, 200, "",
		},
		"UTF-16": {
			"/api/data", good, "Content-Type", "application/json; charset=utf-16", 415, "UTF-8",
		},
		"no charset": {
			"/api/data", good, "Content-Type", "application/json; charset=", 415, "",
		},
		"a form in Latin 1": {
			"/api/auth/login", "username=x&password=x", "Content-Type",
			"application/x-www-form-urlencoded; charset=iso-8859-1", 415, "UTF-8",
		},
		"another type": {
			"/api/data", good, "Content-Type", "application/cbor", 415, "application/json",
		},
		"an unknown field of forms": {
			"/api/auth/login", "username=x&password=x&extra=1", "Content-Type",
			"application/x-www-form-urlencoded", 400, "extra",
		},
	} {
		res := s.send("POST", test.path, token, test.body, test.header, test.value)
		if p := res.problem(); res.StatusCode != test.want ||
			!strings.Contains(p.Detail, test.detail) {
			t.Errorf("%s: got %d %s, want %d", name, res.StatusCode, res.body, test.want)
		}
		if test.want == 415 && test.header == "Content-Encoding" &&
			res.Header.Get("Accept-Encoding") == "" {
			t.Errorf("%s: the answer has no Accept-Encoding", name)
		}
	}
}

// unfinished begins a login that does not end until the connection is closed.
func unfinished(t *testing.T, s *system) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp",
		strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprint(conn,
		"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: "+
			"application/json\r\nContent-Length: 4096\r\n\r\n{")
	return conn
}

func TestBodies_BeforeLoginAreCounted(t *testing.T) {
	s := start(t,
		func(c *config, _ *server.Deps) {
			c.RequestTimeout, c.WriteTimeout = time.Minute, time.Minute
		})
	const bound = 64 // of one address
	conns := make([]net.Conn, bound)
	for i := range conns {
		conns[i] = unfinished(t, s)
	}
	within(t, 10*time.Second, "all are being read", func() bool {
		return s.metric("oei_http_public_body_bytes") == fmt.Sprint(bound*4096)
	})
	if res := s.tryLogin("viewer", password); res.StatusCode != 503 ||
		res.Header.Get("Retry-After") == "" {
		t.Errorf("one more login: got %d: %s", res.StatusCode, res.body)
	}
	if got := s.me(s.token(s.users[store.Viewer])); got != 200 {
		t.Errorf("who is logged in: got %d", got)
	}
	for _, conn := range conns {
		conn.Close()
	}
	within(t, 10*time.Second, "the next login is let in",
		func() bool { return s.tryLogin("viewer", password).StatusCode == 200 })
}

func TestBodies_ThatDoNotArriveAre408(t *testing.T) {
	s := start(t,
		func(c *config, _ *server.Deps) { c.RequestTimeout = 200 * time.Millisecond })
	conn := unfinished(t, s)
	head := make([]byte, 1<<10)
	n, err := conn.Read(head)
	if err != nil || !strings.HasPrefix(string(head[:n]), "HTTP/1.1 408 ") ||
		!strings.Contains(string(head[:n]), "application/problem+json") {
		t.Errorf("got %v %q", err, head[:n])
	}
	_, _ = io.Copy(io.Discard, conn) // ends because the server closes it
}

// TestRequestTimeout_HoldsForTheCheckOfABody hands in a body of which the check would never end.
func TestRequestTimeout_HoldsForTheCheckOfABody(t *testing.T) {
	s := start(t,
		func(c *config, _ *server.Deps) {
			c.RequestTimeout, c.BodyLimit = 200*time.Millisecond, 64<<20
		})
	s.addGateway()
	token := s.token(s.users[store.Engineer])
	body := &slowly{list(`{"metadata":{"x":[`, `1,`)}
	if res := s.direct("PUT", "/api/gateways/1", token, -1,
		body); res.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d after %d bytes: %s", res.Code, body.read, res.Body)
	}
}

// slowly gives its bytes one read at a time, so that a time limit is over before they end.
type slowly struct{ *endless }

func (s *slowly) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return s.endless.Read(p)
}
