package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/gen/client"
)

// exchange sends what is not checked by any client, and returns the answer.
func (s *system) exchange(sent string) (*http.Response, string) {
	s.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp",
		strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	go io.WriteString(conn, sent) // the server may answer before it has read all
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatalf("%.60q: %v", sent, err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	expectRetryAfter(s.t, fmt.Sprintf("%.60q", sent), res)
	return res, string(body)
}

func TestRequestsThatNetHTTPRefuses_AreAnsweredAsTheContractSays(t *testing.T) {
	s := start(t)
	tests := map[string]struct {
		sent   string
		status int
	}{
		"no HTTP":                {"hello\r\n\r\n", 400},
		"no Host":                {"GET /version HTTP/1.1\r\n\r\n", 400},
		"two Hosts":              {"GET /version HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		"an invalid Host":        {"GET /version HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
		"a header without colon": {"GET /version HTTP/1.1\r\nHost: a\r\nx\r\n\r\n", 400},
		"a header with NUL":      {"GET /version HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", 400},
		"an invalid target":      {"GET %zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"two lengths": {
			"POST /version HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
			400,
		},
		"an expectation": {
			"GET /version HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n", 417,
		},
		"a long header": {
			"GET /version HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 100<<10) + "\r\n\r\n",
			431,
		},
		"an unknown coding": {
			"POST /version HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501,
		},
		// has reached a handler
		"HTTP/2 by prior knowledge": {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 401},
		"HTTP/3.0":                  {"GET /version HTTP/3.0\r\nHost: a\r\n\r\n", 505},
		"OPTIONS of everything": {
			"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 401,
		},
		"the second request": {"GET /version HTTP/1.1\r\nHost: a\r\n\r\nhello\r\n\r\n", 200},
	}
	for name, test := range tests {
		res, body := s.exchange(test.sent)
		if res.StatusCode != test.status {
			t.Errorf("%s: got %d %s, want %d", name, res.StatusCode, body, test.status)
		}
		if test.status == 200 {
			continue
		}
		var p client.Problem
		err := json.Unmarshal([]byte(body), &p)
		if err != nil || p.Status != test.status || p.Detail == "" || p.Title == "" ||
			p.Instance == "" || p.Instance != res.Header.Get("X-Request-ID") ||
			res.Header.Get("Content-Type") != "application/problem+json" ||
			res.ContentLength != int64(len(body)) {
			t.Errorf("%s: got %v, %v, %s", name, err, res.Header, body)
		}
		for _, word := range []string{
			"malformed", "net/http", "unsupported transfer encoding", "protocol version", "\\n",
		} {
			if strings.Contains(body, word) {
				t.Errorf("%s: the answer has words of the library: %s", name, body)
			}
		}
	}
	const refused = `http_requests_total{endpoint="none",method="none",operation="none",` +
		`status="417"}`
	if got := s.metric(refused); got != "1" {
		t.Errorf("%s: got %s, want 1", refused, got)
	}
}

// TestConnection_ReplacesNoAnswerOfAHandler sends a second request that net/http refuses after one
// that a handler has answered, on one connection.
func TestConnection_ReplacesNoAnswerOfAHandler(t *testing.T) {
	s := start(t)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp",
		strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for _, test := range []struct {
		sent, kind string
		status     int
	}{
		{"GET /api/nothing HTTP/1.1\r\nHost: a\r\n\r\n", "application/problem+json", 401},
		{"GET /version HTTP/1.1\r\nHost: a\r\n\r\n", "application/json", 200},
		{"hello\r\n\r\n", "application/problem+json", 400},
	} {
		fmt.Fprint(conn, test.sent)
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != test.status ||
			res.Header.Get("Content-Type") != test.kind ||
			len(res.Header.Values("X-Request-ID")) != 1 {
			t.Fatalf("%q: got %v, %v", test.sent, res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
}

// TestConnections_BoundHeads holds what all heads may, and a small request to be answered all the
// same.
func TestConnections_BoundHeads(t *testing.T) {
	s := start(t)
	release := s.server.HoldHeads()
	long := "GET /version HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n"
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp",
		strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go io.WriteString(conn, long)
	// The answer is lost where the client still sends when the server closes the connection.
	if got, _ := io.ReadAll(conn); len(got) > 0 &&
		!strings.HasPrefix(string(got), "HTTP/1.1 503 ") {
		t.Errorf("a long head: got %s", got)
	}
	if res, body := s.exchange("GET /version HTTP/1.1\r\nHost: a\r\n\r\n"); res.StatusCode != 200 {
		t.Errorf("a short head: got %d %s", res.StatusCode, body)
	}
	release()
	if res, body := s.exchange(long); res.StatusCode != 200 {
		t.Errorf("a long head afterwards: got %d %s", res.StatusCode, body)
	}
	if got := s.metric("oei_http_head_bytes"); got != "0" {
		t.Errorf("bytes of heads: got %s", got)
	}
}
