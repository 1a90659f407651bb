package server_test

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// expectRetryAfter fails for a 429 or 503 that does not say when to try again. Every answer that a
// test of this package receives passes through it.
func expectRetryAfter(t *testing.T, request string, res *http.Response) {
	t.Helper()
	busy := res.StatusCode == http.StatusTooManyRequests ||
		res.StatusCode == http.StatusServiceUnavailable
	values := res.Header.Values("Retry-After")
	if !busy {
		if len(values) > 0 && res.StatusCode != http.StatusConflict {
			t.Errorf("%s: %d has Retry-After %q", request, res.StatusCode, values)
		}
		return
	}
	seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if len(values) != 1 || err != nil || seconds < 1 || seconds > 15*60+1 {
		t.Errorf("%s: %d has Retry-After %q, want one number of seconds", request,
			res.StatusCode, values)
	}
}

// Every 429 and 503 of the contract has the header, and so has every default answer, which may be
// either.
func TestContract_SaysWhenToTryAgain(t *testing.T) {
	found := 0
	eachOperation(t, func(_, _ string, _ *openapi3.PathItem, op *openapi3.Operation) {
		for status, res := range op.Responses.Map() {
			header := res.Value.Headers["Retry-After"]
			switch status {
			case "429", "503":
				found++
				if header == nil || header.Ref != "#/components/headers/RetryAfter" {
					t.Errorf("%s: %s has no RetryAfter", op.OperationID, status)
				}
			case "default":
				if header == nil || header.Ref != "#/components/headers/RetryAfterOfDefault" {
					t.Errorf("%s: its default has no RetryAfterOfDefault", op.OperationID)
				}
			}
		}
		if op.Responses.Default() == nil {
			t.Errorf("%s has no default answer", op.OperationID)
		}
	})
	if found == 0 {
		t.Error("the contract has no 429 or 503")
	}
}

// The database hangs while every operation of the contract is called.
func TestOperations_SayWhenToTryAgainWhileTheDatabaseHangs(t *testing.T) {
	db := pgtest.Server(t)
	s := startOn(t, db.DSN(), func(c *config, _ *server.Deps) {
		c.RequestTimeout = 500 * time.Millisecond
	})
	s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Admin])
	calls := map[string]func() answer{}
	eachOperation(t, func(_, method string, _ *openapi3.PathItem, op *openapi3.Operation) {
		r := rows[op.OperationID]
		path, body := r.path(s), strings.ReplaceAll(r.body, "NEW", "n-"+op.OperationID)
		calls[op.OperationID] = func() answer { return s.send(method, path, token, body) }
	})
	db.Pause()
	defer db.Resume()
	var all sync.WaitGroup
	for operation, call := range calls {
		all.Go(func() {
			r, res := rows[operation], call() // checked as all answers are
			if r.least.Valid() && res.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s: got %d %s, want 503", operation, res.StatusCode, res.body)
			}
			if res.StatusCode >= 500 && res.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s: got %d %s", operation, res.StatusCode, res.body)
			}
		})
	}
	all.Wait()
}

// Clients that are refused together are told different times, a client that is refused alone the
// one that remains.
func TestRetryAfter_SpreadsClients(t *testing.T) {
	s := start(t, func(c *config, _ *server.Deps) {
		c.Push.HandshakesPerSecond, c.Push.HandshakeBurst = 1, 1
	})
	token := "Bearer " + s.token(s.users[store.Viewer])
	times := map[string]int{}
	for range 100 {
		if conn, res := s.dial("/ws", "Authorization", token); conn == nil {
			expectRetryAfter(t, "GET /ws", res)
			times[res.Header.Get("Retry-After")]++
		}
	}
	if len(times) < 3 {
		t.Errorf("WebSockets: got %v, want several numbers", times)
	}
	for range 10 {
		s.tryLogin("viewer", "wrong")
	}
	seconds, _ := strconv.Atoi(s.tryLogin("viewer", "wrong").Header.Get("Retry-After"))
	if seconds < 800 || seconds > 901 {
		t.Errorf("after 10 wrong passwords: got %d, want about 900", seconds)
	}
}
