package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/pgtest"
)

// TestInstancesShareTheWork starts two instances at once on an empty database, has alarms raised by the time that passes and sends
// notices of them: one makes the schema, and of everything else, each thing is done by one of the two.
func TestInstancesShareTheWork(t *testing.T) {
	pg := pgtest.Server(t)
	shared := []string{"DATABASE_URL=" + pg.DSN(), "SECRET_KEY=a key of 32 bytes that all of them have", "OEI_NOTIFY_ALLOWED_TARGETS=127.0.0.1"}
	ps := []*process{launch(t, dataDir(t), []string{"serve"}, shared...), launch(t, dataDir(t), []string{"serve"}, shared...)}
	for _, p := range ps {
		p.waitReady()
	}
	var mu sync.Mutex
	told := map[int64]int{} // how often, by offset of the event
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var notice struct {
			Events []struct{ Offset int64 }
		}
		if err := json.NewDecoder(r.Body).Decode(&notice); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, e := range notice.Events {
			told[e.Offset]++
		}
	}))
	defer receiver.Close()

	api := ps[0].login()
	channel, err := api.CreateNotificationChannelWithResponse(t.Context(), client.NotificationChannelCreate{
		Name: "Shift lead", Kind: client.NotificationChannelKindWebhook, URL: &receiver.URL,
	})
	if err != nil || channel.JSON201 == nil {
		t.Fatalf("create channel: %v %s", err, channel.Body)
	}
	route, err := api.CreateNotificationRouteWithResponse(t.Context(), client.NotificationRouteCreate{
		Name: "All", ChannelID: channel.JSON201.ID, GroupSeconds: new(0),
	})
	if err != nil || route.JSON201 == nil {
		t.Fatalf("create route: %v %s", err, route.Body)
	}
	const alarms = 20
	var readings []client.ReadingWrite
	for i := range alarms {
		d := ps[0].register(api, fmt.Sprintf("press-%d", i))
		rule := client.AlarmRule{Name: "Hot for a while", Kind: client.AlarmRuleKindThreshold, Severity: "major", OnDelayMs: new(int64(300))}
		rule.Limits = &client.AlarmRule_Limits{High: &client.AlarmLimit{Value: 80}}
		if a, err := api.CreateAlarmWithResponse(t.Context(), client.AlarmCreate{SensorID: d.sensorID, Rule: rule}); err != nil || a.JSON201 == nil {
			t.Fatalf("create alarm: %v %s", err, a.Body)
		}
		readings = append(readings, client.ReadingWrite{SensorID: d.sensorID, Value: nullable.NewNullableWithValue(90.0)})
	}
	if res, err := api.WriteDataWithResponse(t.Context(), nil, client.DataWrite{Readings: readings}); err != nil || res.JSON200 == nil {
		t.Fatalf("write: %v %s", err, res.Body)
	}
	ps[0].eventually(20*time.Second, "every alarm is raised and told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) >= alarms
	})
	for _, p := range ps { // what they still have to say comes before they end
		p.stop()
	}
	checkSteps(t, pg.DSN())
	if n := query[int](t, pg.DSN(), `SELECT count(*) FROM alarm_events WHERE kind = 'raised'`); n != alarms {
		t.Errorf("got %d events, want each of %d alarms raised once", n, alarms)
	}
	for offset, times := range told {
		if times != 1 {
			t.Errorf("event %d was told %d times", offset, times)
		}
	}
}
