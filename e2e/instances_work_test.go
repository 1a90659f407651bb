package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/pgtest"
)

// TestInstances_DivideTheWork starts two instances at once on an empty database, has timers raise
// alarms and sends notifications: one instance migrates, and everything else is done once by
// either.
func TestInstances_DivideTheWork(t *testing.T) {
	t.Parallel()
	pg := pgtest.Server(t)
	shared := []string{
		"DATABASE_URL=" + pg.DSN(), "SECRET_KEY=a key of 32 bytes that all of them have",
		"OEI_NOTIFY_ALLOWED_TARGETS=127.0.0.1",
	}
	ps := []*process{
		launch(t, dataDir(t), []string{"serve"}, shared...),
		launch(t, dataDir(t), []string{"serve"}, shared...),
	}
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
	channel, err := api.CreateNotificationChannelWithResponse(t.Context(),
		client.NotificationChannelCreate{
			Name: "Shift lead", Kind: client.NotificationChannelKindWebhook, URL: &receiver.URL,
		})
	if err != nil || channel.JSON201 == nil {
		t.Fatalf("create channel: %v %s", err, channel.Body)
	}
	route, err := api.CreateNotificationRouteWithResponse(t.Context(),
		client.NotificationRouteCreate{
			Name: "All", ChannelID: channel.JSON201.ID, GroupSeconds: new(0),
		})
	if err != nil || route.JSON201 == nil {
		t.Fatalf("create route: %v %s", err, route.Body)
	}
	const alarms = 20
	var readings []client.ReadingCreate
	for i := range alarms {
		d := ps[0].register(api, fmt.Sprintf("press-%d", i))
		rule := client.AlarmRule{
			Name:      "Hot for a while",
			Kind:      client.AlarmKindThreshold,
			Severity:  "major",
			OnDelayMs: new(int64(300)),
		}
		rule.Limits = &client.AlarmLimits{High: &client.AlarmLimit{Value: 80}}
		if a, err := api.CreateAlarmWithResponse(t.Context(),
			client.AlarmCreate{SensorID: d.sensorID, Rule: rule}); err != nil || a.JSON201 == nil {
			t.Fatalf("create alarm: %v %s", err, a.Body)
		}
		readings = append(readings,
			client.ReadingCreate{SensorID: d.sensorID, Value: nullable.NewNullableWithValue(90.0)})
	}
	if res, err := api.WriteReadingsWithResponse(t.Context(), nil,
		client.ReadingsWriteRequest{Readings: readings}); err != nil || res.JSON200 == nil {
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
	checkTransitions(t, pg.DSN())
	if n := query[int](t, pg.DSN(),
		`SELECT count(*) FROM alarm_events WHERE kind = 'raised'`); n != alarms {
		t.Errorf("got %d events, want each of %d alarms raised once", n, alarms)
	}
	for offset, times := range told {
		if times != 1 {
			t.Errorf("event %d was told %d times", offset, times)
		}
	}
}

// TestInstances_AcceptReadingsOutOfOrder has two instances on one shared subscription receive the
// readings of a sensor in any order: all are stored, the latest reading is the newest by timestamp,
// and the alarm never steps back in time.
func TestInstances_AcceptReadingsOutOfOrder(t *testing.T) {
	t.Parallel()
	random := randomSource(t)
	in := startInstances(t, 2)
	api := in.front.login()
	d := in.front.register(api, "press")
	rule := client.AlarmRule{Name: "Hot", Kind: client.AlarmKindThreshold, Severity: "major"}
	rule.Limits = &client.AlarmLimits{High: &client.AlarmLimit{Value: 80}}
	a, err := api.CreateAlarmWithResponse(t.Context(),
		client.AlarmCreate{SensorID: d.sensorID, Rule: rule})
	if err != nil || a.JSON201 == nil {
		t.Fatalf("create alarm: %v %s", err, a.Body)
	}
	live := in.front.subscribe(api, fmt.Sprintf("sensors/%d", d.sensorID))
	in.front.eventually(10*time.Second, "the instances hear each other", func() bool {
		return in.ps[0].metric("oei_relay_connected") == 1 &&
			in.ps[1].metric("oei_relay_connected") == 1
	})
	gateway, err := d.connect(t.Context(), in.broker.Addr(), func() {})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now().UTC().Add(-time.Hour).Truncate(time.Second)
	at := func(i int) time.Time { return begin.Add(time.Duration(i) * time.Second) }
	// ten of them, then ten above the limit
	value := func(i int) float64 { return 20.5 + 79*float64(i/10%2) }
	publish := func(i int) {
		payload := fmt.Appendf(nil, `{"value":%v,"timestamp":%d}`, value(i), at(i).UnixMilli())
		if _, err := gateway.Publish(t.Context(),
			&paho.Publish{Topic: d.topic(), QoS: 1, Payload: payload}); err != nil {
			t.Error(err)
		}
	}
	stored := func(n int) {
		t.Helper()
		in.front.eventually(20*time.Second, fmt.Sprintf("%d readings are stored", n), func() bool {
			return query[int](t, in.pg.DSN(), countLedgers) == n
		})
	}
	events := func() int {
		return query[int](t, in.pg.DSN(), `SELECT count(*) FROM alarm_events WHERE alarm_id = $1`,
			a.JSON201.ID)
	}
	newest := func(i int) {
		t.Helper()
		latest, err := api.ListLatestReadingsWithResponse(t.Context(),
			&client.ListLatestReadingsParams{SensorID: []client.ID{d.sensorID}})
		if err != nil || latest.JSON200 == nil || len(*latest.JSON200) != 1 {
			t.Fatalf("latest: %v %s", err, latest.Body)
		}
		if got := (*latest.JSON200)[0]; !got.Timestamp.Equal(at(i)) ||
			got.Value.MustGet() != value(i) {
			t.Errorf("latest: got %v at %v, want reading %d", got.Value.MustGet(), got.Timestamp, i)
		}
	}

	publish(25) // the broker gives this one to one instance and the next one to the other
	stored(1)
	publish(15)
	stored(2)
	newest(25)
	if n := events(); n != 0 {
		t.Errorf("a reading above the limit that is late has made %d events", n)
	}
	live.find(t,
		func(frame string) bool {
			return strings.Contains(frame,
				at(15).Format(time.RFC3339)[:19])
		})

	const first, last = 30, 400
	for i := first; i < last; i += 8 {
		var window sync.WaitGroup
		for _, j := range random.Perm(min(8, last-i)) {
			window.Go(func() { publish(i + j) })
		}
		window.Wait()
	}
	stored(2 + last - first)
	newest(last - 1)
	for i, p := range in.ps {
		if p.metric("oei_ingest_readings_total", `outcome="stored"`) == 0 {
			t.Errorf("instance %d has stored nothing", i)
		}
	}
	for i := first; i < last; i++ {
		live.find(t,
			func(frame string) bool {
				return strings.Contains(frame,
					at(i).Format(time.RFC3339)[:19])
			})
	}
	checkTransitions(t, in.pg.DSN())
	if events() == 0 {
		t.Error("no alarm was raised")
	}
	const back = `
		SELECT count(*)
		FROM (SELECT at, value, after, lag(at) OVER (ORDER BY "offset") AS before FROM alarm_events
		WHERE alarm_id = $1) e
		WHERE at <= before OR (after LIKE 'active%') <> (value > 80)`
	if n := query[int](t, in.pg.DSN(), back, a.JSON201.ID); n > 0 {
		t.Errorf("%d events go back in time, or are not what their reading says", n)
	}
	now, err := api.GetAlarmWithResponse(t.Context(), a.JSON201.ID)
	if err != nil || now.JSON200 == nil || now.JSON200.State != "active_unacknowledged" {
		t.Errorf("alarm: got %v %s, want it as the newest reading says", err, now.Body)
	}
}
