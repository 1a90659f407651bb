package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/store"
)

func TestReadings_AreInOrder(t *testing.T) {
	s := start(t)
	g := s.addGateway()
	a, b := s.addSensor(g.ID), s.addSensor(g.ID)
	end := time.Now().UTC().Truncate(time.Second)
	s.addReadings(a.ID, 2, end)
	s.addReadings(b.ID, 2, end)
	c := s.as(store.Viewer)
	for order, want := range map[client.SortOrder]string{
		"desc": "1@0 2@0 1@-1 2@-1", "asc": "1@-1 2@-1 1@0 2@0",
	} {
		res := must(c.ListReadingsWithResponse(t.Context(),
			&client.ListReadingsParams{SensorID: []int64{b.ID, a.ID, a.ID}, Order: &order}))
		var got []string
		for _, r := range *res.JSON200 {
			got = append(got, fmt.Sprintf("%d@%d", r.SensorID, int(r.Timestamp.Sub(end).Seconds())))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", order, got, want)
		}
	}
	for path, field := range map[string]string{
		"/api/data?sensor_id=99": "sensor_id", "/api/data": "sensor_id",
		"/api/data/latest?sensor_id=99":                                             "sensor_id",
		"/api/data?sensor_id=1&start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z": "end",
	} {
		if res := s.send("GET", path, s.token(s.users[store.Viewer]), ""); res.StatusCode != 400 ||
			!names(res, field) {
			t.Errorf("%s: got %d: %s", path, res.StatusCode, res.body)
		}
	}
}

func TestWriteReadings_FollowsTheContract(t *testing.T) {
	s := start(t)
	v := s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Engineer])
	write := func(reading string) client.ReadingsWriteResult {
		t.Helper()
		res := s.send("POST", "/api/data", token,
			fmt.Sprintf(`{"readings":[{"sensor_id":%d,%s}]}`, v.ID, reading))
		var w client.ReadingsWriteResult
		if err := json.Unmarshal(res.body, &w); err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: got %d: %s", reading, res.StatusCode, res.body)
		}
		return w
	}
	at := func(second int) string {
		return fmt.Sprintf(`"timestamp":"2026-11-01T00:00:%02d.1234567+01:00"`, second)
	}
	write(at(1) + `,"value":1.5`)
	write(at(2) + `,"value":null`)
	write(at(3) + `,"value":3,"quality":"uncertain"`)
	write(at(4) + `,"value":4,"status_code":2147483648`)
	write(at(5) + `,"value":null,"quality":"good"`)
	if w := write(at(1) + `,"value":1.5`); w.Duplicates != 1 || w.Results[0].Status != "duplicate" {
		t.Errorf("again: got %+v", w)
	}
	if w := write(at(1) + `,"value":2`); w.Conflicts != 1 || w.Results[0].Status != "conflict" {
		t.Errorf("another value: got %+v", w)
	}
	before := time.Now().Add(-time.Second)
	if w := write(`"value":6`); w.Stored != 1 {
		t.Errorf("without a time: got %+v", w)
	}
	order := client.SortOrder("asc")
	res := must(s.as(store.Viewer).ListReadingsWithResponse(t.Context(),
		&client.ListReadingsParams{SensorID: []int64{v.ID}, Order: &order}))
	want := []string{"1.5 good", "null bad", "3 uncertain", "4 bad", "null bad", "6 good"}
	for i, r := range *res.JSON200 {
		value := "null"
		if !r.Value.IsNull() {
			value = fmt.Sprint(r.Value.MustGet())
		}
		if got := value + " " + string(r.Quality); got != want[i] {
			t.Errorf("reading %d: got %s, want %s", i+1, got, want[i])
		}
	}
	first, last := (*res.JSON200)[0].Timestamp, (*res.JSON200)[5].Timestamp
	if got := first.Format(time.RFC3339Nano); got != "2026-10-31T23:00:01.123456Z" {
		t.Errorf("timestamp: got %s", got)
	}
	if last.Before(before) || last.After(time.Now()) {
		t.Errorf("a reading without a time is of %v", last)
	}
	latest := must(s.as(store.Viewer).ListLatestReadingsWithResponse(t.Context(), nil))
	if l := *latest.JSON200; len(l) != 1 || l[0].GatewayID != v.GatewayID ||
		!l[0].Timestamp.Equal(last) {
		t.Errorf("latest: got %s", latest.Body)
	}
}
