package server_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/store"
)

// addNamedSensors adds two sensors with texts that need care in CSV and JSON, and a reading of each
// at at3.
func (s *system) addNamedSensors() (want map[int64]client.SensorSummary) {
	s.t.Helper()
	g := s.addGateway()
	want = map[int64]client.SensorSummary{}
	for _, v := range []client.SensorSummary{
		{GatewayKey: g.Key, Key: "bearing", Name: `Bearing "A", left <1>`, Unit: "°C"},
		{GatewayKey: g.Key, Key: "-1+1", Name: `=HYPERLINK("http://x","y")`, Unit: "@"},
		{GatewayKey: g.Key, Key: "plain", Name: "+温度", Unit: ""},
	} {
		sensor, err := s.store.CreateSensor(s.t.Context(), store.Sensor{
			GatewayID: g.ID,
			Key:       v.Key,
			Name:      v.Name,
			Unit:      v.Unit,
			Type:      "temperature",
			IsActive:  true,
			Tags:      "{}",
		})
		if err != nil {
			s.t.Fatal(err)
		}
		s.addReadings(sensor.ID, 1, at3)
		want[sensor.ID] = v
	}
	return want
}

func TestLatest_IncludeSensor(t *testing.T) {
	s := start(t)
	want := s.addNamedSensors()
	include := client.IncludedMemberSensor
	viewer := s.as(store.Viewer)
	with := must(viewer.ListLatestReadingsWithResponse(t.Context(),
		&client.ListLatestReadingsParams{Include: &include}))
	got := map[int64]client.SensorSummary{}
	for _, r := range *with.JSON200 {
		if r.Sensor != nil {
			got[r.SensorID] = *r.Sensor
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	without := must(viewer.ListLatestReadingsWithResponse(t.Context(),
		&client.ListLatestReadingsParams{}))
	if strings.Contains(string(without.Body), `"sensor"`) || len(*without.JSON200) != len(want) {
		t.Errorf("without include: got %s", without.Body)
	}
	res := s.send("GET", "/api/data/latest?include=gateway", s.token(s.users[store.Viewer]), "")
	if res.StatusCode != 400 {
		t.Errorf("include=gateway: got %d", res.StatusCode)
	}
}

func TestHistory_IncludeSensor(t *testing.T) {
	s := start(t)
	want := s.addNamedSensors()
	for _, shape := range []string{"interval=1m", "points=5&format=columns"} {
		query := "sensor_id=1&sensor_id=2&sensor_id=3&" + fiveMinutes + "&" + shape
		got := map[int64]client.SensorSummary{}
		h := s.history(query + "&include=sensor")
		for i := range h.Series {
			if v := h.Series[i].Sensor; v != nil {
				got[h.Series[i].SensorID] = *v
			}
			h.Series[i].Sensor = nil
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %+v, want %+v", shape, got, want)
		}
		with, without := must(json.Marshal(h)), must(json.Marshal(s.history(query)))
		if !bytes.Equal(with, without) {
			t.Errorf("%s: without the sensors it is %s, want %s", shape, with, without)
		}
	}
}

func TestDownsampled_IncludeSensor(t *testing.T) {
	s := start(t)
	want := s.addNamedSensors()
	for _, method := range []string{"minmax", "lttb"} {
		query := "sensor_id=1&sensor_id=2&sensor_id=3&" + fiveMinutes + "&method=" + method
		got := map[int64]client.SensorSummary{}
		d := s.downsampled(query + "&include=sensor")
		for i := range d.Series {
			if v := d.Series[i].Sensor; v != nil {
				got[d.Series[i].SensorID] = *v
			}
			d.Series[i].Sensor = nil
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %+v, want %+v", method, got, want)
		}
		with, without := must(json.Marshal(d)), must(json.Marshal(s.downsampled(query)))
		if !bytes.Equal(with, without) {
			t.Errorf("%s: without the sensors it is %s, want %s", method, with, without)
		}
	}
}

// A kept answer has the name the sensor has now, and only when it was asked for.
func TestHistory_IncludeSensorOfAKeptAnswer(t *testing.T) {
	s, _, counters := startKeepingAnswers(t)
	s.addNamedSensors()
	engineer := s.as(store.Engineer)
	for _, shape := range []string{"history?interval=1m", "downsampled?method=minmax"} {
		path := "/api/data/" + shape + "&sensor_id=1&" + fiveMinutes
		var tags []string
		for _, name := range []string{"Old " + shape, "New " + shape} {
			renamed := must(engineer.UpdateSensorWithResponse(t.Context(), 1, nil,
				client.SensorUpdate{Name: &name}))
			if renamed.JSON200 == nil {
				t.Fatalf("renaming: got %s", renamed.Body)
			}
			first := s.send("GET", path+"&include=sensor", s.token(s.users[store.Viewer]), "")
			again := kept(s, counters, path+"&include=sensor")
			for _, res := range []answer{first, again} {
				var h client.DownsampledReadings // its members of sensors are those of a history
				if err := json.Unmarshal(res.body, &h); err != nil {
					t.Fatal(err)
				}
				if v := h.Series[0].Sensor; v == nil || v.Name != name {
					t.Errorf("%s: got %s, want the name %q", shape, res.body, name)
				}
			}
			if without := kept(s, counters, path); strings.Contains(string(without.body),
				`"sensor"`) {
				t.Errorf("%s without include: got %s", shape, without.body)
			}
			tags = append(tags, again.Header.Get("ETag"))
		}
		if tags[0] == tags[1] {
			t.Errorf("%s: the ETag %s is the same with another name", shape, tags[0])
		}
	}
}

func TestExport_IncludeSensor(t *testing.T) {
	s := start(t)
	want := s.addNamedSensors()
	get := func(query string) []byte {
		t.Helper()
		path := "/api/data/export?sensor_id=1&sensor_id=2&sensor_id=3&include=sensor" + query
		res := s.send("GET", path, s.token(s.users[store.Viewer]), "")
		if res.StatusCode != 200 {
			t.Fatalf("%s: got %d: %s", query, res.StatusCode, res.body)
		}
		return res.body
	}
	const table = "sensor_id,timestamp,value,quality,status_code,sensor_key,sensor_name,unit\n" +
		`1,2026-03-04T03:00:00.000000Z,0,good,,bearing,"Bearing ""A"", left <1>",°C` + "\n" +
		`2,2026-03-04T03:00:00.000000Z,0,good,,'-1+1,"'=HYPERLINK(""http://x"",""y"")",'@` + "\n" +
		`3,2026-03-04T03:00:00.000000Z,0,good,,plain,'+温度,` + "\n"
	body := get("")
	if string(body) != table {
		t.Errorf("csv: got %s", body)
	}
	if rows, err := csv.NewReader(bytes.NewReader(body)).ReadAll(); err != nil || len(rows) != 4 {
		t.Errorf("csv: got %d rows, %v", len(rows), err)
	}
	_, rest, _ := strings.Cut(table, "°C\n")
	if got := string(get("&after=1@2026-03-04T03:00:00Z")); got != rest {
		t.Errorf("csv that goes on: got %s", got)
	}

	type line struct {
		client.Reading
		Key  string `json:"sensor_key"`
		Name string `json:"sensor_name"`
		Unit string `json:"unit"`
	}
	n := 0
	for text := range strings.Lines(string(get("&format=ndjson"))) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		v := want[l.SensorID]
		if n++; l.Key != v.Key || l.Name != v.Name || l.Unit != v.Unit || !l.Timestamp.Equal(at3) {
			t.Errorf("ndjson: got %s", text)
		}
	}
	if n != 3 {
		t.Errorf("ndjson: got %d lines", n)
	}

	type row struct {
		SensorID  int64   `parquet:"sensor_id"`
		Timestamp int64   `parquet:"timestamp"`
		Value     float64 `parquet:"value,optional"`
		Quality   string  `parquet:"quality"`
		Key       string  `parquet:"sensor_key"`
		Name      string  `parquet:"sensor_name"`
		Unit      string  `parquet:"unit"`
	}
	file := get("&format=parquet")
	rows, err := parquet.Read[row](bytes.NewReader(file), int64(len(file)))
	if err != nil || len(rows) != 3 {
		t.Fatalf("parquet: got %d rows, %v", len(rows), err)
	}
	for _, r := range rows {
		v := want[r.SensorID]
		if r.Key != v.Key || r.Name != v.Name || r.Unit != v.Unit ||
			r.Timestamp != at3.UnixMicro() {
			t.Errorf("parquet: got %+v, want %+v", r, v)
		}
	}
}
