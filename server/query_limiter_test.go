package server_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

const (
	cheapQuery     = 1000
	sharingQuery   = 100_000 // two of it run at once
	expensiveQuery = 1 << 30
)

func TestQueryLimiter_RunsQueriesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := server.NewQueryLimiter(server.QueryConfig{MaxConcurrent: 1, MaxWait: time.Minute},
			prometheus.NewRegistry())
		var mu sync.Mutex
		var order []string
		ask := func(name string, cost int64, d time.Duration) {
			go func() {
				release, err := l.Acquire(t.Context(), cost)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				time.Sleep(d)
				release()
			}()
			synctest.Wait()
		}
		ask("first", expensiveQuery, time.Second)
		ask("second", expensiveQuery, time.Second)
		ask("a half", sharingQuery, time.Second)
		ask("a half", sharingQuery, time.Second)
		ask("cheap", cheapQuery, time.Hour)
		for second, want := range []string{
			"first cheap", "first cheap second", "first cheap second a half a half",
		} {
			mu.Lock()
			if got := strings.Join(order, " "); got != want {
				t.Errorf("after %d seconds: got %s, want %s", second, got, want)
			}
			mu.Unlock()
			time.Sleep(time.Second)
			synctest.Wait()
		}
		time.Sleep(time.Hour)
	})
}

func TestQueryLimiter_WaitsForALimitedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := server.NewQueryLimiter(
			server.QueryConfig{MaxConcurrent: 1, MaxWait: 2 * time.Second},
			prometheus.NewRegistry())
		release, err := l.Acquire(t.Context(), expensiveQuery)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := l.Acquire(t.Context(), expensiveQuery); err == nil ||
			time.Since(began) != 2*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Acquire(gone, expensiveQuery); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a canceled query: got %v", err)
		}
		piece := l.PerPiece(expensiveQuery)
		if _, err := piece(t.Context()); err == nil {
			t.Error("the first piece waits for longer than the maximum")
		}
		release()
		piece = l.PerPiece(expensiveQuery)
		// how long another query runs before each piece
		for n, others := range []time.Duration{0, time.Second, time.Hour} {
			other := func() {}
			if others > 0 {
				if other, err = l.Acquire(t.Context(), expensiveQuery); err != nil {
					t.Fatal(err)
				}
			}
			go func() {
				time.Sleep(others)
				other()
			}()
			release, err := piece(t.Context())
			if err != nil {
				t.Fatalf("piece %d: %v", n, err)
			}
			release()
		}
		if release, err = l.Acquire(t.Context(), expensiveQuery); err != nil {
			t.Fatalf("afterwards: %v", err)
		}
		release()
	})
}

// While one expensive query runs, which is all that may, others of every kind are rejected and
// cheap ones pass.
func TestQueryLimiter_RejectsExpensiveQueriesAndPassesCheapOnes(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	s := startOn(t, dsn,
		func(c *config, _ *server.Deps) {
			c.Query.MaxConcurrent, c.Query.MaxWait = 1, 20*time.Millisecond
		})
	db := must(sql.Open("postgres", dsn))
	defer db.Close()
	sensor := s.addSensor(s.addGateway().ID).ID
	s.addReadings(sensor, 1, at3)
	for _, q := range []string{
		`INSERT INTO rollup_1h (sensor_id, bucket, count, usable, good, minutes)
			SELECT 1, h, 3600, 0, 0, true FROM
			generate_series('2026-02-28T03:00:00Z'::timestamptz, '2026-03-04T02:00:00Z', '1
			hour') h`,
		`UPDATE rollup_state SET through = '2026-03-04T03:00:00Z'`,
	} {
		must(db.ExecContext(t.Context(), q))
	}
	const days = "sensor_id=1&start=2026-02-28T03:00:00Z&end=2026-03-04T03:00:00Z"
	token := s.token(s.users[store.Engineer])
	expensive := map[string]string{
		"history":    "/api/data/history?interval=10s&" + days,
		"readings":   "/api/data/downsampled?points=5000&" + days,
		"statistics": "/api/data/statistics?interval=30m&" + days,
		"export":     "/api/data/export?" + days,
		"parquet":    "/api/data/export?format=parquet&" + days,
	}
	cheap := map[string]string{
		"latest":             "/api/data/latest",
		"days by the hour":   "/api/data/history?interval=1h&" + days,
		"sensors":            "/api/sensors",
		"statistics of them": "/api/data/statistics?" + days,
	}
	lock := must(db.BeginTx(t.Context(), nil))
	must(lock.ExecContext(t.Context(),
		`LOCK TABLE latest IN SHARE MODE; LOCK TABLE sensor_data IN ACCESS EXCLUSIVE MODE`))
	answered := make(chan int, 1)
	go func() { answered <- s.send("GET", expensive["history"], token, "").StatusCode }()
	within(t, 10*time.Second, "the first query runs",
		func() bool { return s.metric("oei_query_running") == "1" })
	for name, path := range expensive {
		res := s.send("GET", path, token, "", "Accept-Encoding", "gzip")
		if p := res.problem(); res.StatusCode != 503 ||
			p.Type != "/problems/unavailable" ||
			res.Header.Get("Content-Encoding") != "" ||
			res.Header.Get("Content-Disposition") != "" {
			t.Errorf("%s: got %d %v: %s", name, res.StatusCode, res.Header, res.body)
		}
	}
	const simulated = `{"sensor_id": 1, "rule": {"name": "Hot", "kind": "threshold", ` +
		`"severity": "major", "limits": {"high": {"value": 80}}},
		"start": "2026-02-28T03:00:00Z", "end": "2026-03-04T03:00:00Z"}`
	if res := s.send("POST", "/api/alarms/simulate", token, simulated); res.StatusCode != 503 {
		t.Errorf("simulate: got %d: %s", res.StatusCode, res.body)
	}
	if got := s.metric("oei_query_rejected_total"); got != "6" {
		t.Errorf("rejected: got %s, want 6", got)
	}
	if log := s.log.String(); strings.Contains(log, "not answered") {
		t.Errorf("a rejection is logged as a fault of the server:\n%s", log)
	}
	if res := s.send("GET", cheap["latest"], token, ""); res.StatusCode != 200 {
		t.Errorf("latest while the query runs: got %d", res.StatusCode)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if got := <-answered; got != 200 {
		t.Errorf("the first query: got %d", got)
	}
	for name, path := range cheap {
		if res := s.send("GET", path, token, ""); res.StatusCode != 200 {
			t.Errorf("%s: got %d: %s", name, res.StatusCode, res.body)
		}
	}
	for _, gauge := range []string{"oei_query_running", "oei_query_waiting"} {
		if got := s.metric(gauge); got != "0" {
			t.Errorf("%s afterwards: got %s", gauge, got)
		}
	}
}
