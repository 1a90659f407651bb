package ingest_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/store"
)

func TestCatalog_IsUpToDate(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	publish := func(gateway, sensor string) string {
		t.Helper()
		r := b.publish(gateway, "sensors/"+gateway+"/"+sensor+"/data",
			fmt.Sprintf(`{"value":1,"timestamp":%d}`, noon.UnixMilli()-rand.Int64N(1e9)))
		reason, _, _ := strings.Cut(r.Text, ":")
		return reason
	}
	becomes := func(gateway, sensor, want string) {
		t.Helper()
		testutil.Eventually(t, testutil.Timeout, gateway+"/"+sensor+" becomes "+want,
			func() bool { return publish(gateway, sensor) == want })
	}
	if got := publish("g1", "fresh"); got != "unknown_sensor" {
		t.Errorf("got %q", got)
	}
	fresh := b.sensor(1, "fresh", nil)
	if got := publish("g1", "fresh"); got != "" {
		t.Errorf("registered a moment ago: got %q", got)
	}
	if got := publish("new", "s"); got != "unknown_gateway" {
		t.Errorf("got %q", got)
	}
	id := b.gateway("new")
	b.sensor(id, "s", nil)
	if got := publish("new", "s"); got != "" {
		t.Errorf("a gateway registered a moment ago: got %q", got)
	}
	change := func(c store.SensorChange) {
		t.Helper()
		if _, err := b.store.UpdateSensor(t.Context(), fresh, 0, c); err != nil {
			t.Fatal(err)
		}
	}
	change(store.SensorChange{IsActive: ptr(false)})
	becomes("g1", "fresh", "inactive")
	change(store.SensorChange{IsActive: ptr(true)})
	becomes("g1", "fresh", "")
	change(store.SensorChange{Key: ptr("renamed")})
	becomes("g1", "fresh", "unknown_sensor")
	becomes("g1", "renamed", "")
	if _, err := b.store.DeleteSensor(t.Context(), fresh, 0, false); err != nil {
		t.Fatal(err)
	}
	becomes("g1", "renamed", "unknown_sensor")
	if _, err := b.store.UpdateGateway(t.Context(), id, 0,
		store.GatewayChange{IsActive: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	becomes("new", "s", "inactive")
	if _, err := b.store.UpdateGateway(t.Context(), id, 0,
		store.GatewayChange{IsActive: ptr(true), Key: ptr("newer")}); err != nil {
		t.Fatal(err)
	}
	becomes("new", "s", "unknown_gateway")
	becomes("newer", "s", "")
	if _, err := b.store.DeleteGateway(t.Context(), id, 0, true, false); err != nil {
		t.Fatal(err)
	}
	becomes("newer", "s", "unknown_gateway")
	t.Run("a range that is changed counts at once", func(t *testing.T) {
		n := 0
		quality := func() string {
			n++
			b.publish("g1", t1,
				fmt.Sprintf(`{"value":50,"timestamp":%d}`, noon.UnixMilli()+int64(n)))
			return scan[string](t, b.db,
				`
				SELECT quality::text
				FROM sensor_data
				WHERE sensor_id = $1
				ORDER BY timestamp DESC
				LIMIT 1`, b.id("t1"))
		}
		if got := quality(); got != "0" {
			t.Errorf("got %s", got)
		}
		if _, err := b.db.Exec(`UPDATE sensors SET max_value = 40 WHERE key = 't1'`); err != nil {
			t.Fatal(err)
		}
		testutil.Eventually(t, testutil.Timeout, "50 is outside",
			func() bool { return quality() == "1" })
	})
	t.Run("a gateway that takes another's id as its key is the one that is meant",
		func(t *testing.T) {
			if got := b.publish("g2", "sensors/2/u1/data", sample(1)); got.Accepted != 1 {
				t.Errorf("got %+v", got)
			}
			two := b.gateway("2")
			b.sensor(two, "w", nil)
			testutil.Eventually(t, testutil.Timeout, "the key counts",
				func() bool { return b.publish("2", "sensors/2/w/data", `{"value":1}`).Code == 0 })
		})
}

// TestIdentity_IsTheGatewayID is a key that is given to another gateway while a connection that
// began under it is still open.
func TestIdentity_IsTheGatewayID(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	const topic = "sensors/g1/t1/data"
	// too old, but looked up
	if r := b.publish("g1", topic, `{"value":1,"timestamp":1}`); r.Text == "" ||
		r.RejectedTotal != 1 {
		t.Fatalf("got %+v", r)
	}
	former := b.gateways["g1"]
	if _, err := b.store.UpdateGateway(t.Context(), former, 0,
		store.GatewayChange{Key: ptr("g1-old")}); err != nil {
		t.Fatal(err)
	}
	heir := b.gateway("g1")
	sensor := b.sensor(heir, "t1", nil)
	publish := func(gateway int64, topic, payload string) ingest.Receipt {
		done := make(chan ingest.Receipt, 1)
		m := ingest.Message{
			Topic:     topic,
			Payload:   []byte(payload),
			GatewayID: gateway,
			Gateway:   "g1",
			Received:  noon,
			Done:      func(r ingest.Receipt) { done <- r },
		}
		if err := b.Submit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		return b.wait(done)
	}
	if r := publish(heir, topic, `{"value":7}`); r.Accepted != 1 {
		t.Errorf("the gateway that has the key: got %+v", r)
	}
	const lost = `not_owner: key "g1" belongs to another gateway since the login of the publisher`
	if r := publish(former, topic, `{"value":8}`); r.Code != 0x87 || r.Text != lost {
		t.Errorf("the gateway that had it: got %+v", r)
	}
	if r := publish(former, "gateways/g1/status", `{"status":"offline"}`); r.Code != 0x87 {
		t.Errorf("a status of the gateway that had it: got %+v", r)
	}
	if r := publish(former, "gateways/"+fmt.Sprint(former)+"/status",
		`{"status":"offline"}`); r.Accepted != 1 {
		t.Errorf("a status of its own: got %+v", r)
	}
	const q = `
		SELECT string_agg(format('%s %s %s', gateway_id, gateway, reason), E'\n' ORDER BY id)
		FROM rejections
		WHERE reason = 'not_owner'`
	if got, want := scan[string](t, b.db, q), strings.Repeat(fmt.Sprintf("%d g1-old not_owner\n",
		former), 2); got+"\n" != want {
		t.Errorf("recorded: got %q, want %q", got, want)
	}
	const values = `SELECT string_agg(format('%s %s', sensor_id, value), ' ') FROM sensor_data`
	if got, want := scan[string](t, b.db, values), fmt.Sprintf("%d 7", sensor); got != want {
		t.Errorf("stored: got %q, want %q", got, want)
	}
}

func TestSystemGateway_CannotBePublishedFor(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	if _, err := b.store.SystemConditions(t.Context(), 0); err != nil { // makes its gateway
		t.Fatal(err)
	}
	id, err := b.store.AddSystemSensor(t.Context(),
		store.Sensor{Key: "disk-free", Name: "Disk", Type: "ratio"}, nil, noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range []struct{ topic, text string }{
		{"sensors/oei-ms/disk-free/data", `{"value":99}`},
		{"gateways/oei-ms/data", `[{"sensor":"disk-free","value":99}]`},
		{"gateways/oei-ms/status", `{"status":"offline"}`},
		{"gateways/oei-ms/status", `{"status":"offline"}`}, // now it is known
	} {
		if r := b.publish("", payload.topic, payload.text); r.Code != 0x87 || r.RejectedTotal != 1 {
			t.Errorf("%s: got %+v, want 0x87", payload.topic, r)
		}
	}
	res, err := b.Write(t.Context(), []store.Reading{{SensorID: id, Timestamp: noon, Value: 99}})
	if err != nil || res[0].Outcome != store.Rejected || res[0].Reason != "not_owner" {
		t.Errorf("by HTTP: got %+v, %v, want not_owner", res, err)
	}
	if n := scan[int](t, b.db, `SELECT count(*) FROM sensor_data`); n != 0 {
		t.Errorf("%d readings are stored", n)
	}
}
