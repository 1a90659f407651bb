package server_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// documentedProblems returns the types of problems that the contract lists, with their statuses.
func documentedProblems(t *testing.T) map[string]int {
	t.Helper()
	described := contract(t).Components.Schemas["ProblemType"].Value.
		Extensions["x-enum-descriptions"].(map[string]any)
	statuses := make(map[string]int, len(described))
	for name, text := range described {
		var status int
		if _, err := fmt.Sscanf(text.(string), "%d.", &status); err != nil {
			t.Errorf("%s: %q does not begin with a status", name, text)
		}
		statuses[name] = status
	}
	return statuses
}

// Every type of problem that the contract lists is the answer to a request in this table, which is
// sent to a server with a database.
func TestProblems_EachDocumentedTypeIsProduced(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	s := startOn(t, dsn, func(c *config, _ *server.Deps) {
		c.RequestTimeout, c.ReadTimeout = 2*time.Second, 300*time.Millisecond
	})
	db := must(sql.Open("postgres", dsn))
	defer db.Close()
	sensor := s.addSensor(s.addGateway().ID)
	viewer, engineer := s.token(s.users[store.Viewer]), s.token(s.users[store.Engineer])

	type producer = func() client.Problem
	sends := func(method, path, token, body string, header ...string) producer {
		return func() client.Problem {
			return s.send(method, path, token, body, header...).problem()
		}
	}
	exchanges := func(sent string) producer {
		return func() (p client.Problem) {
			_, body := s.exchange(sent)
			_ = json.Unmarshal([]byte(body), &p)
			return p
		}
	}
	withDatabase := func(damage, repair string, request producer) producer {
		return func() client.Problem {
			must(db.ExecContext(t.Context(), damage))
			defer func() { must(db.ExecContext(t.Context(), repair)) }()
			return request()
		}
	}
	const gateway = `{"key":"press","name":"Press"}`
	reading := func(value int) string {
		return fmt.Sprintf(`{"readings":[{"sensor_id":%d,"value":%d}]}`, sensor.ID, value)
	}
	producers := map[string]producer{
		"invalid-request":    sends("GET", "/api/sensors?limit=0", viewer, ""),
		"not-authenticated":  sends("GET", "/api/sensors", "", ""),
		"forbidden":          sends("POST", "/api/gateways", viewer, gateway),
		"not-found":          sends("GET", "/api/sensors/999", viewer, ""),
		"method-not-allowed": sends("DELETE", "/version", "", ""),
		"timeout": exchanges("POST /api/auth/login HTTP/1.1\r\nHost: a\r\n" +
			"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"),
		"conflict": func() client.Problem {
			s.send("POST", "/api/gateways", engineer, gateway)
			return s.send("POST", "/api/gateways", engineer, gateway).problem()
		},
		"changed": sends("PUT", fmt.Sprint("/api/sensors/", sensor.ID), engineer,
			`{"name":"T"}`, "If-Match", `"99"`),
		"too-large": sends("POST", "/api/auth/login", "",
			`{"username":"`+strings.Repeat("x", 5000)+`"}`),
		"unsupported-media-type": sends("POST", "/api/auth/login", "", "{}",
			"Content-Type", "text/csv"),
		"expectation-failed": exchanges(
			"GET /version HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n"),
		"unprocessable": func() client.Problem {
			s.send("POST", "/api/data", engineer, reading(1), "Idempotency-Key", "the-key-of-it")
			return s.send("POST", "/api/data", engineer, reading(2),
				"Idempotency-Key", "the-key-of-it").problem()
		},
		"upgrade-required": sends("GET", "/ws", "", ""),
		"too-many-requests": func() client.Problem {
			for range 10 {
				s.tryLogin("operator", "wrong")
			}
			return s.tryLogin("operator", "wrong").problem()
		},
		"head-too-large": exchanges("GET /version HTTP/1.1\r\nHost: a\r\nX: " +
			strings.Repeat("x", 100<<10) + "\r\n\r\n"),
		"internal": withDatabase(
			`ALTER TABLE notification_silences RENAME TO lost`,
			`ALTER TABLE lost RENAME TO notification_silences`,
			sends("GET", "/api/notifications/silences", viewer, "")),
		"not-implemented": exchanges(
			"POST /version HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
		"unavailable": func() client.Problem {
			lock := must(db.BeginTx(t.Context(), nil))
			defer lock.Rollback()
			must(lock.ExecContext(t.Context(), `LOCK TABLE sensors`))
			return s.send("GET", "/api/sensors", viewer, "").problem()
		},
		"version-not-supported": exchanges("GET /version HTTP/3.0\r\nHost: a\r\n\r\n"),
	}
	documented := documentedProblems(t)
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		produce, ok := producers[strings.TrimPrefix(name, "/problems/")]
		if !ok {
			t.Errorf("no request of this test produces %s; add one", name)
			continue
		}
		if p := produce(); p.Type != name || p.Status != documented[name] || p.Detail == "" {
			t.Errorf("%s: got %+v, want status %d", name, p, documented[name])
		}
	}
	page := string(must(os.ReadFile("../docs/api.md")))
	for name, status := range documented {
		row := fmt.Sprintf("\n| %d | `%s` | ", status, strings.TrimPrefix(name, "/problems/"))
		if !strings.Contains(page, row) {
			t.Errorf("docs/api.md has no row %q", row)
		}
	}
	if len(producers) != len(documented) {
		t.Errorf("got %d types produced, want %d", len(producers), len(documented))
	}
}
