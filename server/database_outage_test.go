package server_test

import (
	"sync"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

func TestRequests_AreAnsweredWhileTheDatabaseHangs(t *testing.T) {
	db := pgtest.Server(t)
	s := startOn(t, db.DSN())
	token := s.token(s.users[store.Viewer])
	if got := s.me(token); got != 200 {
		t.Fatalf("before: got %d", got)
	}
	db.Pause()
	defer db.Resume()
	var requests sync.WaitGroup // at once, since each waits for its time limit
	for path, want := range map[string]int{
		"/api/gateways": 503, "/health": 503, "/health/ready": 503, "/health/live": 200,
		"/version": 200,
	} {
		requests.Go(func() {
			if res := s.send("GET", path, token, ""); res.StatusCode != want {
				t.Errorf("%s: got %d, want %d: %s", path, res.StatusCode, want, res.body)
			}
		})
	}
	requests.Wait()
	db.Resume()
	within(t, 10*time.Second, "it answers again", func() bool { return s.me(token) == 200 })
}
