package server_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

// startWithHistory has sensor 1 with readings in minutes 0, 1 and 4 from at3 on, and sensor 2
// without any.
func startWithHistory(t *testing.T) *system {
	t.Helper()
	s := start(t)
	g := s.addGateway()
	a := s.addSensor(g.ID).ID
	s.addSensor(g.ID)
	at := func(second int) time.Time { return at3.Add(time.Duration(second) * time.Second) }
	must(s.write(t.Context(), []store.Reading{
		{SensorID: a, Timestamp: at(0), Value: 10},
		{SensorID: a, Timestamp: at(30), Value: 20},
		{SensorID: a, Timestamp: at(60), Value: 30},
		{SensorID: a, Timestamp: at(70), Value: 1e6, Quality: store.Bad},
		{SensorID: a, Timestamp: at(90), Value: math.NaN(), Quality: store.Bad},
		{SensorID: a, Timestamp: at(100), Value: 50, Quality: store.Uncertain},
		{SensorID: a, Timestamp: at(240), Value: 60},
	}))
	return s
}

const fiveMinutes = "start=2026-03-04T03:00:00Z&end=2026-03-04T03:05:00Z"

func (s *system) history(query string) client.History {
	s.t.Helper()
	var h client.History
	res := s.send("GET", "/api/data/history?"+query, s.token(s.users[store.Viewer]), "")
	if err := json.Unmarshal(res.body, &h); err != nil || res.StatusCode != 200 {
		s.t.Fatalf("%s: got %d: %s", query, res.StatusCode, res.body)
	}
	return h
}

func (s *system) downsampled(query string) client.DownsampledReadings {
	s.t.Helper()
	var d client.DownsampledReadings
	res := s.send("GET", "/api/data/downsampled?"+query, s.token(s.users[store.Viewer]), "")
	if err := json.Unmarshal(res.body, &d); err != nil || res.StatusCode != 200 {
		s.t.Fatalf("%s: got %d: %s", query, res.StatusCode, res.body)
	}
	return d
}

// text is a value as tests write it.
func text(v nullable.Nullable[float64]) string {
	switch {
	case !v.IsSpecified():
		return "-"
	case v.IsNull():
		return "null"
	}
	return fmt.Sprintf("%.4g", v.MustGet())
}

func TestHistoryHasWhatWasAskedFor(t *testing.T) {
	s := startWithHistory(t)
	const all = "&agg=avg&agg=min&agg=max&agg=sum&agg=count&agg=first&agg=last&agg=stddev&agg=delta&agg=time_weighted_avg&agg=percent_good"
	tests := map[string]struct{ query, want string }{
		"the mean, without another word": {"interval=1m", "0:15 1:40 4:60"},
		"all there is": {"interval=1m" + all, "0:15 10 20 30 2 10 20 7.071 10 15 100 1:40 30 50 80 4 30 50 14.14 20 36.67 25 " +
			"4:60 60 60 60 1 60 60 null 0 60 100"},
		"in the order asked for, each once": {
			"interval=1m&agg=max&agg=min&agg=max", "0:20 10 1:50 30 4:60 60",
		},
		"empty ones without values": {
			"interval=1m&fill=null&agg=avg&agg=count&agg=percent_good",
			"0:15 2 100 1:40 4 25 2:null 0 null 3:null 0 null 4:60 1 100",
		},
		"empty ones like the one before": {
			"interval=1m&fill=previous&agg=avg&agg=count", "0:15 2 1:40 4 2:40 0 3:40 0 4:60 1",
		},
		"empty ones on a line": {
			"interval=1m&fill=linear&agg=avg&agg=count", "0:15 2 1:40 4 2:46.67 0 3:53.33 0 4:60 1",
		},
		"points":              {"points=5", "0:15 1:40 4:60"},
		"fewer points":        {"points=2", "0:30 " + "5:"},
		"one bucket of a day": {"interval=1d&agg=count&agg=avg", "-180:7 34"},
	}
	tests["fewer points"] = struct{ query, want string }{"points=1&agg=count", "0:7"}
	for name, tt := range tests {
		for _, format := range []string{"rows", "columns"} {
			h := s.history("sensor_id=2&sensor_id=1&" + fiveMinutes + "&" + tt.query + "&format=" +
				format)
			if len(h.Series) != 2 || h.Series[0].SensorID != 1 || h.Series[1].SensorID != 2 ||
				h.Source != "raw" || !h.Next.IsNull() {
				t.Fatalf("%s: got %+v", name, h)
			}
			var got []string
			add := func(start time.Time, values []string) {
				got = append(got,
					fmt.Sprintf("%d:%s", int(start.Sub(at3).Minutes()), strings.Join(values, " ")))
			}
			order := []string{}
			for part := range strings.SplitSeq(tt.query, "&") {
				if agg, ok := strings.CutPrefix(part, "agg="); ok &&
					!strings.Contains(strings.Join(order, " "), agg) {
					order = append(order, agg)
				}
			}
			if len(order) == 0 {
				order = []string{"avg"}
			}
			if format == "rows" {
				for _, p := range h.Series[0].Points {
					add(p.Start, pick(p, order))
				}
			} else {
				c := *h.Series[0].Columns
				for n := range c.Start {
					add(c.Start[n], pickColumns(c, n, order))
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("%s, %s: got %s, want %s", name, format, strings.Join(got, " "), tt.want)
			}
		}
	}
}

// pick returns the members of a point by name.
func pick(p any, names []string) []string {
	var members map[string]any
	_ = json.Unmarshal(must(json.Marshal(p)), &members)
	return texts(members, names)
}

func pickColumns(c any, n int, names []string) []string {
	var columns map[string][]any
	_ = json.Unmarshal(must(json.Marshal(c)), &columns)
	members := map[string]any{}
	for name, list := range columns {
		if n < len(list) {
			members[name] = list[n]
		}
	}
	return texts(members, names)
}

func texts(members map[string]any, names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		switch v := members[name].(type) {
		case float64:
			out[i] = fmt.Sprintf("%.4g", v)
		default:
			out[i] = "null"
		}
	}
	return out
}

func TestDownsampled_ReadingsOfEachMethod(t *testing.T) {
	s := startWithHistory(t)
	tests := map[string]struct{ query, want string }{
		"all when they are few": {
			"method=minmax&points=10",
			"0:10 good 30:20 good 60:30 good 100:50 uncertain 240:60 good",
		},
		"500 points by default": {
			"method=lttb", "0:10 good 30:20 good 60:30 good 100:50 uncertain 240:60 good",
		},
		"minmax by default":          {"points=4", "0:10 good 240:60 good"},
		"the extremes, and the ends": {"method=minmax&points=4", "0:10 good 240:60 good"},
		"those of the largest triangles": {
			"method=lttb&points=4", "0:10 good 30:20 good 100:50 uncertain 240:60 good",
		},
	}
	for name, tt := range tests {
		d := s.downsampled("sensor_id=2&sensor_id=1&" + fiveMinutes + "&" + tt.query)
		if len(d.Series) != 2 || d.Series[0].SensorID != 1 || d.Source != "raw" ||
			len(d.Series[1].Readings) > 0 {
			t.Fatalf("%s: got %+v", name, d)
		}
		var got []string
		for _, r := range d.Series[0].Readings {
			got = append(got,
				fmt.Sprintf("%d:%v %s", int(r.Timestamp.Sub(at3).Seconds()), r.Value, r.Quality))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %s, want %s", name, strings.Join(got, " "), tt.want)
		}
	}
}

func TestDownsampled_EndedRangeHasETag(t *testing.T) {
	s := startWithHistory(t)
	token := s.token(s.users[store.Viewer])
	const path = "/api/data/downsampled?sensor_id=1&method=lttb&" + fiveMinutes
	tag := s.send("GET", path, token, "").Header.Get("ETag")
	if res := s.send("GET", path, token, "", "If-None-Match", tag); tag == "" ||
		res.StatusCode != http.StatusNotModified {
		t.Errorf("the same again: got %d", res.StatusCode)
	}
}

func TestHistoryGoesOnWhereTheLimitCutIt(t *testing.T) {
	s := startWithHistory(t)
	query, starts := "sensor_id=1&interval=1m&limit=2&fill=null&start=2026-03-04T03:00:30Z&end=2026-03-04T03:04:30Z", []string{}
	for pages := 0; ; pages++ {
		h := s.history(query)
		for _, p := range h.Series[0].Points {
			starts = append(starts, p.Start.Format("04:05")+"="+text(p.Avg))
		}
		if h.Next.IsNull() {
			if !h.Coverage.End.Equal(at3.Add(270*time.Second)) || pages != 2 {
				t.Errorf("got %d pages, up to %v", pages+1, h.Coverage.End)
			}
			break
		}
		next := h.Next.MustGet()
		if !h.Coverage.End.Equal(next) {
			t.Errorf("covered up to %v, to go on at %v", h.Coverage.End, next)
		}
		query = "sensor_id=1&interval=1m&limit=2&fill=null&start=" + next.Format(time.RFC3339) +
			"&end=2026-03-04T03:04:30Z"
	}
	if got := strings.Join(starts, " "); got != "00:00=20 01:00=40 02:00=null 03:00=null 04:00=60" {
		t.Errorf("got %s", got)
	}
}

func TestEndedHistoryHasATagUntilALateReading(t *testing.T) {
	s := startWithHistory(t)
	token := s.token(s.users[store.Viewer])
	const path = "/api/data/history?sensor_id=1&interval=1m&" + fiveMinutes
	first := s.send("GET", path, token, "")
	tag := first.Header.Get("ETag")
	if tag == "" || first.Header.Get("Cache-Control") != "private, no-cache" {
		t.Fatalf("got %v", first.Header)
	}
	if res := s.send("GET", path, token, "", "If-None-Match", tag); res.StatusCode != http.StatusNotModified || len(res.body) > 0 {
		t.Errorf("the same again: got %d", res.StatusCode)
	}
	must(s.write(t.Context(),
		[]store.Reading{{SensorID: 1, Timestamp: at3.Add(150 * time.Second), Value: 1}}))
	if res := s.send("GET", path, token, "", "If-None-Match", tag); res.StatusCode != http.StatusOK || res.Header.Get("ETag") == tag {
		t.Errorf("after a late reading: got %d %s", res.StatusCode, res.Header.Get("ETag"))
	}
	open := s.send("GET",
		"/api/data/history?sensor_id=1&interval=1d&start=2026-03-04T03:00:00Z&end="+time.Now().UTC().Add(time.Hour).Format(time.RFC3339), token, "")
	if open.Header.Get("ETag") != "" || open.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("a range that goes on: got %v", open.Header)
	}
}

func TestQuestionsThatCannotBeAnsweredSayWhatWouldDo(t *testing.T) {
	s := startWithHistory(t)
	token := s.token(s.users[store.Viewer])
	const year = "sensor_id=1&start=2025-01-01T00:00:00Z&end=2026-01-01T00:00:00Z"
	for query, want := range map[string][2]string{
		"history?" + fiveMinutes: {
			"sensor_id", "missing",
		},
		"history?sensor_id=99&" + fiveMinutes: {
			"sensor_id", "no sensor 99",
		},
		"history?sensor_id=NaN&" + fiveMinutes: {
			"sensor_id", "",
		},
		"history?sensor_id=1&start=2026-03-04T03:00:00Z": {
			"end", "missing",
		},
		"history?sensor_id=1&start=2026-03-04T03:00:00Z&end=2026-03-04T02:00:00Z": {
			"end", "not after start",
		},
		"history?sensor_id=1&start=NaN&end=2026-03-04T02:00:00Z": {
			"start", "",
		},
		"history?sensor_id=1&timezone=Mars/Olympus&" + fiveMinutes: {
			"timezone", "Europe/Berlin",
		},
		"history?sensor_id=1&timezone=../etc/passwd&" + fiveMinutes: {
			"timezone", "Europe/Berlin",
		},
		"history?sensor_id=1&timezone=Local&" + fiveMinutes: {
			"timezone", "Europe/Berlin",
		},
		"history?sensor_id=1&interval=7m&" + fiveMinutes: {
			"interval", "1m",
		},
		"history?sensor_id=1&interval=1m&points=3&" + fiveMinutes: {
			"points", "together",
		},
		"history?sensor_id=1&points=NaN&" + fiveMinutes: {
			"points", "",
		},
		"history?interval=1s&" + year: {
			"interval", "use 15m or longer",
		},
		"history?interval=1s&sensor_id=2&" + year: {
			"interval", "use 30m or longer",
		},
		"history?sensor_id=1&interval=1mo&start=0001-01-01T00:00:00Z&end=9999-01-01T00:00:00Z": {
			"interval", "shorter range",
		},
		"history?interval=1s&limit=50000&sensor_id=2&" + year: {
			"limit", "at most 25000",
		},
		"history?points=10000&" + year + manySensors(2, 6): {
			"points", "at most 8333",
		},
		"downsampled?points=3&sensor_id=1&" + fiveMinutes: {
			"points", "4",
		},
		"downsampled?method=lttb&points=10000&" + year + manySensors(2, 6): {
			"points", "at most 8333",
		},
		"downsampled?interval=1m&sensor_id=1&" + fiveMinutes: {
			"interval", "",
		},
		"downsampled?agg=avg&sensor_id=1&" + fiveMinutes: {
			"agg", "",
		},
		"downsampled?fill=null&sensor_id=1&" + fiveMinutes: {
			"fill", "",
		},
		"downsampled?limit=5&sensor_id=1&" + fiveMinutes: {
			"limit", "",
		},
		"downsampled?method=average&sensor_id=1&" + fiveMinutes: {
			"method", "",
		},
		"downsampled?method=lttb&sensor_id=99&" + fiveMinutes: {
			"sensor_id", "no sensor 99",
		},
		"history?method=minmax&sensor_id=1&" + fiveMinutes: {
			"method", "",
		},
		"history?agg=median&sensor_id=1&" + fiveMinutes: {
			"agg", "",
		},
		"history?" + fiveMinutes + manySensors(1, 101): {
			"sensor_id", "100",
		},
		"statistics?interval=1m&" + year: {
			"interval", "use 2h or longer",
		},
		"statistics?sensor_id=1&interval=1mo&start=0001-01-01T00:00:00Z&end=9999-01-01T00:00:00Z": {
			"interval", "statistics; use a shorter range",
		},
		"statistics?percentiles=p100&" + year: {
			"percentiles", "",
		},
		"statistics?sensor_id=1&end=2026-03-04T03:00:00Z&start=2026-03-04T03:00:00Z": {
			"end", "not after start",
		},
		"statistics?timezone=Nowhere&sensor_id=1&" + fiveMinutes: {
			"timezone", "Europe/Berlin",
		},
		"statistics?sensor_id=99&" + fiveMinutes: {
			"sensor_id", "no sensor 99",
		},
		"statistics?sensor_id=1&gap_seconds=0&" + fiveMinutes: {
			"gap_seconds", "",
		},
	} {
		if res := s.send("GET", "/api/data/"+query, token, ""); res.StatusCode != 400 ||
			!names(res, want[0]) || !strings.Contains(string(res.body), want[1]) {
			t.Errorf("%.120s: got %d, want 400 with %v: %s", query, res.StatusCode, want, res.body)
		}
	}
}

// manySensors is a query of the sensors from..to.
func manySensors(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "&sensor_id=%d", i)
	}
	return b.String()
}

func TestStatisticsOfARange(t *testing.T) {
	s := startWithHistory(t)
	gap := 60
	params := &client.GetStatisticsParams{
		SensorID:    []int64{2, 1},
		Start:       at3,
		End:         at3.Add(5 * time.Minute),
		GapSeconds:  &gap,
		Percentiles: []string{"p25", "p50", "p99"},
	}
	res := must(s.as(store.Viewer).GetStatisticsWithResponse(t.Context(), params))
	a := res.JSON200
	if a == nil || len(a.Series) != 2 || len(a.Series[0].Intervals) != 1 ||
		len(a.Series[1].Intervals) != 0 || a.PercentileMethod != "exact" || a.PercentileError != 0 {
		t.Fatalf("got %d: %s", res.StatusCode(), res.Body)
	}
	v := a.Series[0].Intervals[0]
	got := fmt.Sprintf("%d %d %s %s %s %s %s %s %s %v %v %v %v %v %.4g", v.Count, v.Usable,
		text(v.Min), text(v.Max), text(v.Avg), text(v.TimeWeightedAvg), text(v.Stddev),
		text(v.Delta), text(v.Sum), v.Percentiles, v.PercentGood, v.Gaps, v.LongestGapSeconds,
		v.Last.MustGet().Value, v.Rate)
	// 30 s of 10, 30 of 20, 40 of 30, 140 of 50, 60 of 60
	want := "7 5 10 60 34 42.33 20.74 50 170 map[p25:20 p50:30 p99:59.6] 57.142857142857146 1 140 60 0.02333"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	minute := client.IntervalN1M
	params.Interval = &minute
	if res := must(s.as(store.Viewer).GetStatisticsWithResponse(t.Context(), params)); res.JSON200 == nil || len(res.JSON200.Series[0].Intervals) != 3 || res.JSON200.Interval.MustGet() != "1m" {
		t.Errorf("by the minute: got %s", res.Body)
	}
}

func TestTooMuchToReadIsSaidSo(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	s := fillReadings(startOn(t, dsn), 1)
	db := must(sql.Open("postgres", dsn))
	defer db.Close()
	lock := must(db.BeginTx(t.Context(), nil))
	defer func() { _ = lock.Rollback() }()
	must(lock.ExecContext(t.Context(), `LOCK TABLE sensor_data IN ACCESS EXCLUSIVE MODE`))
	token := s.token(s.users[store.Viewer])
	for _, question := range []string{"history?interval=1s&", "downsampled?method=lttb&", "statistics?"} {
		res := s.send("GET", "/api/data/"+question+"sensor_id=1&"+fiveMinutes, token, "")
		if res.StatusCode != 400 || !names(res, "end") ||
			!strings.Contains(string(res.body), "shorter range") {
			t.Errorf("%s: got %d: %s", question, res.StatusCode, res.body)
		}
	}
}
