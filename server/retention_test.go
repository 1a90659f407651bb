package server_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/store"
)

func TestRetention_Preview(t *testing.T) {
	s := start(t)
	c := s.as(store.Engineer)
	ctx := t.Context()
	v := s.addSensor(s.addGateway().ID)
	year, month, _ := time.Now().UTC().Date()
	long := time.Date(year, month-12, 1, 12, 0, 0, 0, time.UTC)
	rs := make([]store.Reading, 8) // each in a partition of its month
	for i := range rs {
		rs[i] = store.Reading{
			SensorID:  v.ID,
			Timestamp: long.AddDate(0, i, 0),
			Received:  long,
			Value:     1,
		}
	}
	if _, err := s.store.Write(ctx, rs, store.SideWrites{}); err != nil {
		t.Fatal(err)
	}
	if res := must(c.PreviewRetentionWithResponse(ctx, nil)); res.JSON200 == nil ||
		len(*res.JSON200) != 0 {
		t.Errorf("kept for ever: got %s", res.Body)
	}
	must(c.UpdateSensorWithResponse(ctx, v.ID, nil,
		client.SensorUpdate{RetentionDays: nullable.NewNullableWithValue(50)}))
	var all []client.ExpiringPartition
	for path := "/api/data/retention?limit=5"; path != ""; {
		res := s.send("GET", path, s.token(s.users[store.Engineer]), "")
		var page []client.ExpiringPartition
		if err := json.Unmarshal(res.body, &page); err != nil {
			t.Fatalf("%s: %v", res.body, err)
		}
		all = append(all, page...)
		path, _, _ = strings.Cut(strings.TrimPrefix(res.Header.Get("Link"), "<"), ">")
	}
	if len(all) != 8 {
		t.Fatalf("got %d partitions, want 8", len(all))
	}
	e := all[0]
	if !e.IsDropped ||
		e.Partition != "sensor_data_"+long.Format("200601")+"01_"+long.AddDate(0, 1, 0).Format(
			"200601",
		)+"01" || len(e.Sensors) != 1 ||
		e.Sensors[0].SensorID != v.ID || e.Sensors[0].RetentionSeconds != 50*86400 {
		t.Errorf("got %+v", e)
	}
}
