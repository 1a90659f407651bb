package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/store"
)

func (s *system) downsampled(query string) client.DownsampledReadings {
	s.t.Helper()
	var d client.DownsampledReadings
	res := s.send("GET", "/api/data/downsampled?"+query, s.token(s.users[store.Viewer]), "")
	if err := json.Unmarshal(res.body, &d); err != nil || res.StatusCode != 200 {
		s.t.Fatalf("%s: got %d: %s", query, res.StatusCode, res.body)
	}
	return d
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
