package server_test

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/cache"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// startKeepingAnswers starts two servers on one database, of which only the first keeps answers.
func startKeepingAnswers(t *testing.T) (keeping, other *system, counters *prometheus.Registry) {
	t.Helper()
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	keeping = startOn(t, dsn, func(_ *config, d *server.Deps) {
		counters = d.Registry
		var err error
		if d.Cache, err = cache.New(cache.DefaultConfig(), "", d.Store.Changes,
			slog.New(slog.DiscardHandler), d.Registry); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Store.PrepareRollups(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Store.RollUp(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		var running sync.WaitGroup
		running.Go(func() { _ = d.Cache.Run(ctx) })
		t.Cleanup(func() { stop(); running.Wait() })
	})
	return keeping, startOn(t, dsn), counters
}

// counted is the sum of a family of counters.
func counted(t *testing.T, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// kept asks path again and again until the answer comes from the cache, and returns it.
func kept(s *system, counters *prometheus.Registry, path string, header ...string) answer {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		before := counted(s.t, counters, "oei_cache_hits_total")
		res := s.send("GET", path, s.token(s.users[store.Viewer]), "", header...)
		if counted(s.t, counters, "oei_cache_hits_total") > before {
			return res
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s: got %d, and never one from the cache", path, res.StatusCode)
		}
	}
}

func TestCachedAnswer_EqualsAComputedOne(t *testing.T) {
	s, other, counters := startKeepingAnswers(t)
	g := s.addGateway()
	a := s.addSensor(g.ID).ID
	s.addSensor(g.ID)
	var rs []store.Reading
	for i := range 200 {
		if at := at3.Add(time.Duration(i) * 3 * time.Minute); at.Hour() != 5 && at.Hour() != 8 {
			rs = append(rs, store.Reading{SensorID: a, Timestamp: at, Value: float64(i % 7 * i)})
		}
	}
	must(s.write(t.Context(), rs))
	const day, half = "sensor_id=1&sensor_id=2&start=2026-03-04T00:00:00Z&" +
		"end=2026-03-05T00:00:00Z", "sensor_id=1&start=2026-03-04T00:00:00Z&" +
		"end=2026-03-04T12:00:00Z"
	seen := map[string]string{}
	for _, query := range []string{
		"history?interval=1h&" + day, "history?interval=1h&" + half,
		"history?interval=1h&format=columns&" + day, "history?interval=2h&" + day,
		"history?interval=1h&agg=min&agg=max&" + day, "history?interval=1h&agg=max&agg=min&" + day,
		"history?interval=1h&fill=null&" + day,
		"history?interval=1h&fill=linear&" + day, "history?interval=1h&limit=5&" + day,
		"history?points=5&" + day,
		"history?interval=1d&timezone=Europe/Berlin&" + day,
		"history?interval=1d&timezone=Asia/Kolkata&" + day, "history?interval=1d&" + day,
		"history?interval=1h&agg=time_weighted_avg&" + day,
		"history?interval=1h&sensor_id=2&start=2026-03-04T00:00:00Z&end=2026-03-04T12:00:00Z",
		"downsampled?method=lttb&points=20&" + day, "downsampled?points=20&" + day,
		"downsampled?points=10&" + day,
		"history?interval=1h&include=sensor&" + day,
		"downsampled?method=lttb&points=20&include=sensor&" + day,
		"statistics?" + day, "statistics?interval=1d&" + day, "statistics?percentiles=p10&" + day,
		"statistics?gap_seconds=60&" + day,
	} {
		path := "/api/data/" + query
		got, want := kept(s, counters, path), other.send("GET", path,
			other.token(other.users[store.Viewer]), "")
		if got.StatusCode != 200 || string(got.body) != string(want.body) {
			t.Errorf("%s: got %d %s, want %s", query, got.StatusCode, got.body, want.body)
		}
		for _, name := range []string{
			"ETag", "Cache-Control", "Content-Type", "Vary", "Content-Encoding",
		} {
			if got.Header.Get(name) != want.Header.Get(name) {
				t.Errorf("%s: %s: got %q, want %q", query, name, got.Header.Get(name),
					want.Header.Get(name))
			}
		}
		if before, ok := seen[string(got.body)]; ok {
			t.Errorf("%s and %s have the same answer: %s", query, before, got.body)
		}
		seen[string(got.body)] = query
		if tag := got.Header.Get("ETag"); tag != "" {
			if again := kept(s, counters, path, "If-None-Match",
				tag); again.StatusCode != http.StatusNotModified || len(again.body) > 0 {
				t.Errorf("%s, which the client has: got %d", query, again.StatusCode)
			}
		}
	}
	for _, path := range []string{
		"/api/data/history?interval=1h&" + day, "/api/data/statistics?" + day,
	} {
		if res := s.send("GET", path, "", ""); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a login: got %d", path, res.StatusCode)
		}
	}
}

func TestCachedAnswer_IsDroppedWhenReadingsChange(t *testing.T) {
	s, _, counters := startKeepingAnswers(t)
	g := s.addGateway()
	s.addSensor(g.ID)
	must(s.write(t.Context(), []store.Reading{{SensorID: 1, Timestamp: at3, Value: 1}}))
	token := s.token(s.users[store.Viewer])
	const span = "sensor_id=1&start=2026-03-04T00:00:00Z&end=2026-03-05T00:00:00Z"
	const weighted = "/api/data/history?interval=1d&agg=time_weighted_avg&" + span
	paths := []string{
		weighted, "/api/data/history?interval=1d&agg=count&" + span, "/api/data/statistics?" + span,
		"/api/data/downsampled?" + span,
	}
	before := map[string]string{}
	for _, path := range paths {
		before[path] = string(kept(s, counters, path).body)
	}
	// holds for a day
	must(s.write(t.Context(),
		[]store.Reading{{SensorID: 1, Timestamp: at3.Add(-26 * time.Hour), Value: 100}}))
	time.Sleep(time.Second)
	if got := s.send("GET", weighted, token, ""); string(got.body) == before[weighted] {
		t.Errorf("a second after a reading from before the range, whose value holds in it: got "+
			"what was kept: %s", got.body)
	}
	must(s.write(t.Context(),
		[]store.Reading{{SensorID: 1, Timestamp: at3.Add(time.Minute), Value: 2}}))
	time.Sleep(time.Second)
	for _, path := range paths {
		if got := s.send("GET", path, token, ""); got.StatusCode != 200 ||
			string(got.body) == before[path] {
			t.Errorf("%s: a second after a late reading: got %d %s", path, got.StatusCode, got.body)
		}
		kept(s, counters, path)
	}
	if res, err := s.as(store.Engineer).DeleteSensorWithResponse(t.Context(), 1,
		&client.DeleteSensorParams{}); err != nil || res.StatusCode() != 200 {
		t.Fatalf("delete: %v %s", err, res.Body)
	}
	time.Sleep(time.Second)
	for _, path := range paths {
		if got := s.send("GET", path, token, ""); got.StatusCode != 400 {
			t.Errorf("%s: a second after the sensor was deleted: got %d %s", path, got.StatusCode,
				got.body)
		}
	}
}
