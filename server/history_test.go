package server_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/client"
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

func TestHistory_AggregatesFillAndFormat(t *testing.T) {
	s := startWithHistory(t)
	const all = "&agg=avg&agg=min&agg=max&agg=sum&agg=count&agg=first&agg=last&agg=stddev&" +
		"agg=delta&agg=time_weighted_avg&agg=percent_good"
	tests := map[string]struct{ query, want string }{
		"the mean, without another word": {"interval=1m", "0:15 1:40 4:60"},
		"all there is": {"interval=1m" + all, "0:15 10 20 30 2 10 20 7.071 10 15 100 1:40 30 50 " +
			"80 4 30 50 14.14 20 36.67 25 " +
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

func TestHistory_ContinuesAfterTheLimit(t *testing.T) {
	s := startWithHistory(t)
	query, starts := "sensor_id=1&interval=1m&limit=2&fill=null&start=2026-03-04T03:00:30Z&"+
		"end=2026-03-04T03:04:30Z", []string{}
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

func TestHistory_ClosedRangeHasAnETagUntilALateReading(t *testing.T) {
	s := startWithHistory(t)
	token := s.token(s.users[store.Viewer])
	const path = "/api/data/history?sensor_id=1&interval=1m&" + fiveMinutes
	first := s.send("GET", path, token, "")
	tag := first.Header.Get("ETag")
	if tag == "" || first.Header.Get("Cache-Control") != "private, no-cache" {
		t.Fatalf("got %v", first.Header)
	}
	if res := s.send("GET", path, token, "", "If-None-Match",
		tag); res.StatusCode != http.StatusNotModified || len(res.body) > 0 {
		t.Errorf("the same again: got %d", res.StatusCode)
	}
	must(s.write(t.Context(),
		[]store.Reading{{SensorID: 1, Timestamp: at3.Add(150 * time.Second), Value: 1}}))
	if res := s.send("GET", path, token, "", "If-None-Match",
		tag); res.StatusCode != http.StatusOK || res.Header.Get("ETag") == tag {
		t.Errorf("after a late reading: got %d %s", res.StatusCode, res.Header.Get("ETag"))
	}
	open := s.send("GET",
		"/api/data/history?sensor_id=1&interval=1d&start=2026-03-04T03:00:00Z&"+
			"end="+time.Now().UTC().Add(time.Hour).Format(time.RFC3339), token, "")
	if open.Header.Get("ETag") != "" || open.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("a range that goes on: got %v", open.Header)
	}
}
