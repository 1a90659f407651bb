package server_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// startWithReadings is start with two sensors: 1 has n readings, a second apart from at3 on, 2 one
// of each kind.
func startWithReadings(t *testing.T, n int, options ...option) *system {
	t.Helper()
	return fillReadings(start(t, options...), n)
}

func fillReadings(s *system, n int) *system {
	s.t.Helper()
	g := s.addGateway()
	a, b := s.addSensor(g.ID).ID, s.addSensor(g.ID).ID
	s.addReadings(a, n, at3.Add(time.Duration(n-1)*time.Second))
	must(s.write(s.t.Context(), []store.Reading{
		{SensorID: b, Timestamp: at3, Received: at3, Value: -1.5},
		{
			SensorID:  b,
			Timestamp: at3.Add(time.Microsecond),
			Received:  at3,
			Value:     math.NaN(),
			Quality:   store.Bad,
		},
		{
			SensorID:   b,
			Timestamp:  at3.Add(time.Second),
			Received:   at3,
			Value:      1e-7,
			Quality:    store.Uncertain,
			StatusCode: 0x40940000,
		},
	}))
	return s
}

const exported = "sensor_id,timestamp,value,quality,status_code\n" +
	"1,2026-03-04T03:00:00.000000Z,0,good,\n" +
	"1,2026-03-04T03:00:01.000000Z,1,good,\n" +
	"2,2026-03-04T03:00:00.000000Z,-1.5,good,\n" +
	"2,2026-03-04T03:00:00.000001Z,,bad,\n" +
	"2,2026-03-04T03:00:01.000000Z,1e-07,uncertain,1083441152\n"

func TestExport_HasTheReadingsInEachFormat(t *testing.T) {
	s := startWithReadings(t, 2)
	token := s.token(s.users[store.Viewer])
	get := func(query string, header ...string) answer {
		t.Helper()
		res := s.send("GET", "/api/data/export?sensor_id=2&sensor_id=1&sensor_id=2"+query, token,
			"", header...)
		if res.StatusCode != 200 {
			t.Fatalf("%s: got %d: %s", query, res.StatusCode, res.body)
		}
		return res
	}
	csv := get("")
	if got := string(csv.body); got != exported ||
		!strings.HasPrefix(csv.Header.Get("Content-Type"), "text/csv") ||
		!strings.Contains(csv.Header.Get("Content-Disposition"), ".csv") {
		t.Errorf("csv: got %q\n%s", csv.Header, got)
	}
	zipped := get("", "Accept-Encoding", "gzip")
	plain, err := gzip.NewReader(bytes.NewReader(zipped.body))
	if err != nil || zipped.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("gzip: got %v, %v", zipped.Header, err)
	}
	if got := must(io.ReadAll(plain)); string(got) != exported {
		t.Errorf("gzip: got %s", got)
	}
	var lines []client.Reading
	for d := json.NewDecoder(bytes.NewReader(get("&format=ndjson").body)); d.More(); {
		var r client.Reading
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, r)
	}
	order := client.SortOrderAsc
	for id, got := range map[int64][]client.Reading{1: lines[:2], 2: lines[2:]} {
		want := must(s.as(store.Viewer).ListReadingsWithResponse(t.Context(),
			&client.ListReadingsParams{SensorID: []int64{id}, Order: &order}))
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", *want.JSON200) {
			if string(must(json.Marshal(got))) != string(must(json.Marshal(*want.JSON200))) {
				t.Errorf("ndjson: got %+v, want %s", got, want.Body)
			}
		}
	}
	type row struct {
		SensorID   int32     `parquet:"sensor_id"`
		Timestamp  time.Time `parquet:"timestamp,timestamp(microsecond)"`
		Value      *float64  `parquet:"value,optional"`
		Quality    string    `parquet:"quality"`
		StatusCode *int64    `parquet:"status_code,optional"`
	}
	body := get("&format=parquet").body
	rows, err := parquet.Read[row](bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	got := "sensor_id,timestamp,value,quality,status_code\n"
	for _, r := range rows {
		value, code := "", ""
		if r.Value != nil {
			value = fmt.Sprint(*r.Value)
		}
		if r.StatusCode != nil {
			code = fmt.Sprint(*r.StatusCode)
		}
		got += fmt.Sprintf("%d,%s,%s,%s,%s\n", r.SensorID,
			r.Timestamp.UTC().Format("2006-01-02T15:04:05.000000Z"), value, r.Quality, code)
	}
	if got != exported {
		t.Errorf("parquet: got %s", got)
	}
}

func TestExport_ContinuesAfterTheLastReading(t *testing.T) {
	s := startWithReadings(t, 40000) // three pieces
	token := s.token(s.users[store.Viewer])
	const path = "/api/data/export?sensor_id=1&sensor_id=2"
	whole := string(s.send("GET", path, token, "").body)
	lines := strings.SplitAfter(strings.TrimSuffix(whole, "\n"), "\n")
	if len(lines) != 40004 {
		t.Fatalf("got %d lines", len(lines))
	}
	for _, n := range []int{2, 16385, 16386, 30000, 40001, 40002, 40004} {
		cells := strings.Split(lines[n-1], ",")
		rest := s.send("GET", path+"&after="+url.QueryEscape(cells[0]+"@"+cells[1]), token, "")
		if got := strings.Join(lines[:n], "") + string(rest.body); rest.StatusCode != 200 ||
			strings.TrimSpace(got) != strings.TrimSpace(whole) {
			t.Errorf("after line %d: got %d with %d bytes, want the rest of the whole", n,
				rest.StatusCode, len(rest.body))
		}
	}
}

func TestExport_FiltersAndFaults(t *testing.T) {
	s := startWithReadings(t, 2)
	token := s.token(s.users[store.Viewer])
	for query, want := range map[string]int{
		"sensor_id=2&quality=bad": 1, "sensor_id=1&start=2026-03-04T03:00:01Z": 1,
		"sensor_id=1&end=2026-03-04T03:00:01Z":          1,
		"sensor_id=1&start=2026-03-04T05:00:00%2B01:00": 0,
		"sensor_id=1&start=2026-03-04T04:00:00%2B01:00": 2,
	} {
		if res := s.send("GET", "/api/data/export?"+query, token, ""); strings.Count(
			string(res.body), "\n",
		) != want+1 {
			t.Errorf("%s: got %d: %s", query, res.StatusCode, res.body)
		}
	}
	for query, field := range map[string]string{
		"": "sensor_id", "sensor_id=99": "sensor_id",
		"sensor_id=1&start=2026-03-04T03:00:00Z&end=2026-03-04T02:00:00Z": "end",
		"sensor_id=1&format=xlsx": "format", "sensor_id=1&after=1": "after",
		"sensor_id=1&after=1@2026":                                "after",
		"sensor_id=1&format=parquet&after=1@2026-03-04T03:00:00Z": "after",
		"sensor_id=NaN": "sensor_id", "sensor_id=1&start=yesterday": "start",
		strings.Repeat("sensor_id=1&", 1001): "sensor_id",
	} {
		if res := s.send("GET", "/api/data/export?"+strings.TrimSuffix(query, "&"), token,
			""); res.StatusCode != 400 || !names(res, field) {
			t.Errorf("%.60s: got %d, want 400 and %s: %s", query, res.StatusCode, field, res.body)
		}
	}
}

func TestExport_HasNoTimeLimitAsAWhole(t *testing.T) {
	s := startWithReadings(t, 200000, func(c *config, _ *server.Deps) {
		c.ReadHeaderTimeout, c.ReadTimeout = 300*time.Millisecond, 300*time.Millisecond
		c.RequestTimeout, c.WriteTimeout = 200*time.Millisecond, 4*time.Second
	})
	res := s.slowly("/api/data/export?sensor_id=1")
	defer res.Body.Close()
	lines := 0
	buf := make([]byte, 64<<10)
	for {
		n, err := res.Body.Read(buf)
		lines += bytes.Count(buf[:n], []byte("\n"))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("after %d lines: %v", lines, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if lines != 200001 {
		t.Errorf("got %d lines", lines)
	}
}

// slowly returns the answer to a GET unread and unchecked; header is pairs of name and value that
// take the place of a login.
func (s *system) slowly(path string, header ...string) *http.Response {
	s.t.Helper()
	req := must(http.NewRequestWithContext(s.t.Context(), "GET", s.url+path, nil))
	if len(header) == 0 {
		header = []string{"Authorization", "Bearer " + s.token(s.users[store.Viewer])}
	}
	req.Header.Set("Accept-Encoding", "identity")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{ReadBufferSize: 4096}
	s.t.Cleanup(transport.CloseIdleConnections)
	res := must((&http.Client{Transport: transport}).Do(req))
	if res.StatusCode != 200 {
		s.t.Fatalf("%s: got %d", path, res.StatusCode)
	}
	return res
}

func TestExport_ThatFailsIsCutOff(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	s := fillReadings(startOn(t, dsn), 200000)
	res := s.slowly("/api/data/export?sensor_id=1")
	defer res.Body.Close()
	db := must(sql.Open("postgres", dsn))
	defer db.Close()
	must(db.ExecContext(t.Context(), `ALTER TABLE sensor_data RENAME COLUMN value TO was`))
	if n, err := io.Copy(io.Discard, res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %d bytes and %v, want an end that shows", n, err)
	}
}

func TestQueries_EndWhenTheClientDisconnects(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	s := fillReadings(startOn(t, dsn), 1)
	db := must(sql.Open("postgres", dsn))
	defer db.Close()
	lock := must(db.BeginTx(t.Context(), nil))
	defer func() { _ = lock.Rollback() }()
	must(lock.ExecContext(t.Context(), `LOCK TABLE sensor_data IN ACCESS EXCLUSIVE MODE`))
	waiting := func() (n int) {
		const q = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() ` +
			`AND application_name = 'oei-ms api' AND wait_event_type = 'Lock'`
		if err := db.QueryRowContext(t.Context(), q).Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	for _, path := range []string{"/api/data?sensor_id=1", "/api/data/export?sensor_id=1"} {
		ctx, cancel := context.WithCancel(t.Context())
		req := must(http.NewRequestWithContext(ctx, "GET", s.url+path, nil))
		req.Header.Set("Authorization", "Bearer "+s.token(s.users[store.Viewer]))
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if res, err := s.http.Do(req); err == nil {
				res.Body.Close()
			}
		}()
		within(t, 5*time.Second, path+" waits for the table", func() bool { return waiting() == 1 })
		cancel()
		<-gone
		within(t, 2*time.Second, path+" waits no longer", func() bool { return waiting() == 0 })
	}
}

func TestDeleteReadings_LatestIsTheNewestLeft(t *testing.T) {
	s := startWithReadings(t, 10)
	c := s.as(store.Admin)
	remove := func(from, to int, dryRun bool) client.ReadingsDeletionResult {
		t.Helper()
		res := must(c.DeleteReadingsWithResponse(t.Context(), &client.DeleteReadingsParams{
			SensorID: 1,
			Start:    at3.Add(time.Duration(from) * time.Second),
			End:      at3.Add(time.Duration(to) * time.Second),
			DryRun:   &dryRun,
		}))
		if res.JSON200 == nil {
			t.Fatalf("got %d: %s", res.StatusCode(), res.Body)
		}
		return *res.JSON200
	}
	latest := func() string {
		for _, l := range *must(c.ListLatestReadingsWithResponse(t.Context(), nil)).JSON200 {
			if l.SensorID == 1 {
				return fmt.Sprintf("%v at %v", l.Value.MustGet(), l.Timestamp.Sub(at3))
			}
		}
		return "none"
	}
	for _, step := range []struct {
		name     string
		from, to int
		dryRun   bool
		gone     int64
		left     int
		latest   string
	}{
		{"a dry run changes nothing", 0, 100, true, 10, 10, "9 at 9s"},
		{"what is in the middle", 3, 6, false, 3, 7, "9 at 9s"},
		{"the same again", 3, 6, false, 0, 7, "9 at 9s"},
		{"the newest", 8, 10, false, 2, 5, "7 at 7s"},
		{"an empty range", 0, 0, false, 0, 5, "7 at 7s"},
		{"all that is left", -1000000, 1000000, false, 5, 0, "none"},
	} {
		d := remove(step.from, step.to, step.dryRun)
		all := must(c.ListReadingsWithResponse(t.Context(),
			&client.ListReadingsParams{SensorID: []int64{1}}))
		if d.Readings != step.gone || d.DryRun != step.dryRun || len(*all.JSON200) != step.left ||
			latest() != step.latest || d.FirstReadingAt.IsNull() != (step.gone == 0) {
			t.Errorf("%s: got %+v, %d left, latest %s; want %+v", step.name, d, len(*all.JSON200),
				latest(), step)
		}
	}
	if n := len(*must(c.ListReadingsWithResponse(t.Context(),
		&client.ListReadingsParams{SensorID: []int64{2}})).JSON200); n != 3 {
		t.Errorf("the other sensor has %d readings, want 3", n)
	}
	for path, field := range map[string]string{
		"/api/data?sensor_id=99&start=2026-03-04T03:00:00Z&end=2026-03-04T03:00:01Z": "sensor_id",
		"/api/data?sensor_id=1&start=2026-03-04T03:00:00Z&end=2026-03-04T02:00:00Z":  "end",
		"/api/data?sensor_id=1&start=2026-03-04T03:00:00Z":                           "end",
	} {
		if res := s.send("DELETE", path, s.token(s.users[store.Admin]),
			""); res.StatusCode != 400 || !names(res, field) {
			t.Errorf("%s: got %d: %s", path, res.StatusCode, res.body)
		}
	}
}

func TestLatestReadings_HaveTheirAge(t *testing.T) {
	s := start(t)
	g := s.addGateway()
	old, fresh := s.addSensor(g.ID), s.addSensor(g.ID)
	s.addReadings(old.ID, 1, time.Now().Add(-time.Hour).UTC())
	s.addReadings(fresh.ID, 1, time.Now().Add(time.Minute).UTC())
	list := *must(s.as(store.Viewer).ListLatestReadingsWithResponse(t.Context(), nil)).JSON200
	if len(list) != 2 || !list[0].IsStale || list[0].AgeSeconds < 3600 ||
		list[0].AgeSeconds > 3700 || list[1].IsStale || list[1].AgeSeconds != 0 {
		t.Errorf("got %+v", list)
	}
	day := 86400
	if l := *must(s.as(store.Viewer).ListLatestReadingsWithResponse(t.Context(),
		&client.ListLatestReadingsParams{StaleAfterSeconds: &day})).JSON200; l[0].IsStale {
		t.Errorf("within a day: got %+v", l[0])
	}
}

func TestReadings_PagesSayWhetherThereAreMore(t *testing.T) {
	s := startWithReadings(t, 5)
	c := s.as(store.Viewer)
	limit := 2
	params := &client.ListReadingsParams{SensorID: []int64{1}, Limit: &limit}
	for page, want := range []string{"true", "true", "false"} {
		res := must(c.ListReadingsWithResponse(t.Context(), params))
		h := res.HTTPResponse.Header
		if h.Get("X-Truncated") != want || (h.Get("X-Next-Cursor") != "") != (want == "true") ||
			(h.Get("Link") != "") != (want == "true") {
			t.Fatalf("page %d: got %v, want X-Truncated %s", page+1, h, want)
		}
		params.Cursor = new(h.Get("X-Next-Cursor"))
	}
}
