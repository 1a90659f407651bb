package ingest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/store"
)

// alarms puts n alarms on a sensor, past the limit, that raise above 80 and clear below.
func (b *testPipeline) alarms(key string, n int) {
	b.t.Helper()
	r := alarm.Rule{
		SensorID: b.id(key), Name: "hot", Kind: alarm.Threshold, Severity: alarm.Minor,
		Limits: &alarm.Limits{High: &alarm.Limit{Value: 80}},
	}
	first, err := b.store.CreateAlarm(b.t.Context(), &r, noon)
	if err != nil {
		b.t.Fatal(err)
	}
	const q = `
		WITH added AS (
			INSERT INTO alarms (sensor_id, name, severity, rule)
			SELECT sensor_id, name, severity, rule FROM alarms, generate_series(2, $2) WHERE id = $1
			RETURNING id, sensor_id),
		inputs AS (
			INSERT INTO alarm_inputs (sensor_id, alarm_id) SELECT sensor_id, id FROM added)
		INSERT INTO alarm_states (alarm_id, since, rule_version, rank, state, severity, memory)
		SELECT added.id, since, rule_version, rank, state, severity, memory
		FROM added, alarm_states
		WHERE alarm_id = $1`
	if _, err := b.db.Exec(q, first.ID, n); err != nil {
		b.t.Fatal(err)
	}
}

// alternate raises and clears with every reading.
func alternate(i int) float64 { return 70 + 20*float64(i%2) }

// series is a message of n readings, a millisecond apart from noon on.
func series(n int, value func(i int) float64) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"value":%v,"timestamp":%d}`, value(i), noon.UnixMilli()+int64(i))
	}
	return "[" + strings.Join(list, ",") + "]"
}

// split counts messages committed in parts.
const split = "oei_ingest_split_total"

func (b *testPipeline) metric(name string) float64 {
	b.t.Helper()
	families, err := b.reg.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	b.t.Fatalf("no metric %s", name)
	return 0
}

func TestSensorWithManyAlarms_LeavesTheLaneToOthers(t *testing.T) {
	cfg := ingest.DefaultConfig()
	cfg.Committers = 1 // all gateways share a lane
	b := newTestPipeline(t, cfg)
	const alarms, readings = 2000, 5000
	b.alarms("t2", alarms)
	large := b.send("g1", "sensors/g1/t2/data", series(readings, func(i int) float64 {
		if i == readings/2 { // raises in the middle, and clears
			return 90
		}
		return 70
	}), noon)
	testutil.Eventually(t, testutil.Timeout, "the message is committed in parts",
		func() bool { return b.metric(split) == 1 })
	later := b.send("g1", "sensors/g1/t1/data", sample(1), noon)
	for n := range 3 {
		b.wait(b.send("g2", "sensors/g2/u1/data", sample(n), noon))
		select {
		case r := <-large:
			t.Fatalf("message %d of another gateway was committed after the large one: %+v", n, r)
		case <-later:
			t.Fatal("a message was acknowledged before an earlier one of its gateway")
		default:
		}
	}
	if r := b.wait(large); r.Code != 0 || r.Accepted != readings {
		t.Errorf("the large message: got %+v, want %d accepted", r, readings)
	}
	if r := b.wait(later); r.Accepted != 1 {
		t.Errorf("the message after it: got %+v", r)
	}
	const count = `SELECT count(*) FROM sensor_data WHERE sensor_id = $1`
	if n := scan[int](t, b.db, count, b.id("t2")); n != readings {
		t.Errorf("stored %d readings, want %d", n, readings)
	}
	for _, kind := range []string{"raised", "cleared"} {
		const q = `SELECT count(DISTINCT alarm_id) * count(*) FROM alarm_events WHERE kind = $1`
		if got := scan[int](t, b.db, q, kind); got != alarms*alarms {
			t.Errorf("%s: not by each of %d alarms once", kind, alarms)
		}
	}
	if n := b.metric("oei_ingest_retries_total"); n == 0 {
		t.Error("the retries were not counted")
	}
}

func TestSensorWithManyAlarms_ThatChangeWithEveryReading(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	const alarms, readings = 500, 120
	b.alarms("t2", alarms)
	r := b.publish("g1", "sensors/g1/t2/data", series(readings, alternate))
	if r.Code != 0 || r.Accepted != readings {
		t.Errorf("got %+v, want %d accepted", r, readings)
	}
	const count = `SELECT count(*) FROM alarm_events`
	if got, want := scan[int](t, b.db, count), alarms*(readings-1); got != want {
		t.Errorf("got %d events, want %d", got, want)
	}
	if b.metric(split) != 1 {
		t.Error("the message was committed in one transaction")
	}
	testutil.Eventually(t, testutil.Timeout, "ingest is well again",
		func() bool { _, err := b.Check(t.Context()); return err == nil })
}

func TestMessage_HasALimitOfEvaluations(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	const alarms, readings, reason = 2600, 10_000, "alarm_overload"
	b.alarms("t2", alarms)
	r := b.publish("g1", "sensors/g1/t2/data", series(readings, func(int) float64 { return 70 }))
	if r.Accepted < 7000 || r.RejectedTotal != readings-r.Accepted ||
		!strings.Contains(r.Text, reason) {
		t.Errorf("got %+v", r)
	}
	if n := scan[int](t, b.db, `SELECT count(*) FROM sensor_data`); n != r.Accepted {
		t.Errorf("stored %d readings, accepted %d", n, r.Accepted)
	}
	const rejected = `SELECT sum(count) FROM rejections WHERE reason = $1`
	if n := scan[int](t, b.db, rejected, reason); n != r.RejectedTotal {
		t.Errorf("recorded %d rejections, rejected %d", n, r.RejectedTotal)
	}
}

func TestReading_WhoseAlarmsTakeTooLongIsRejected(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	storeConfig := store.DefaultConfig()
	storeConfig.EvaluationTimeout = time.Nanosecond
	b := newTestPipelineWith(t, ingest.DefaultConfig(), dsn, storeConfig)
	b.alarms("t2", 2000)
	b.alarms("t1", 10)
	r := b.publish("g1", "gateways/g1/data", `[{"sensor":"t1","value":1,"timestamp":1772625600000},
		{"sensor":"t2","value":1,"timestamp":1772625600001},
		{"sensor":"t1","value":1,"timestamp":1772625600002}]`)
	if r.Accepted != 2 || r.RejectedTotal != 1 || !strings.Contains(r.Text, "alarm_overload") {
		t.Errorf("a message: got %+v", r)
	}
	r = b.publish("g1", "sensors/g1/t2/data", sample(9))
	if r.Code != 0x83 || r.RejectedTotal != 1 || !strings.HasPrefix(r.Text, "alarm_overload") {
		t.Errorf("a single reading: got %+v", r)
	}
	want := "g1 gateways/g1/data alarm_overload 1\ng1 sensors/g1/t2/data alarm_overload 1"
	if got := b.recorded(); got != want {
		t.Errorf("recorded: got\n%s\nwant\n%s", got, want)
	}
	rs, err := b.Write(t.Context(), []store.Reading{{SensorID: b.id("t2"), Value: 5}})
	if err != nil || rs[0].Outcome != store.Rejected || rs[0].Reason != "alarm_overload" {
		t.Errorf("a bulk write: got %+v, %v", rs, err)
	}
}

func TestStop_EndsAMessageInParts(t *testing.T) {
	cfg := ingest.DefaultConfig()
	cfg.Committers = 1
	b := newTestPipeline(t, cfg)
	b.alarms("t2", 2000)
	message := series(5000, alternate) // minutes of work
	large := b.send("g1", "sensors/g1/t2/data", message, noon)
	later := b.send("g1", "sensors/g1/t1/data", sample(1), noon)
	testutil.Eventually(t, testutil.Timeout, "the message is committed in parts",
		func() bool { return b.metric(split) == 1 })
	if lag := b.Lag(noon.Add(time.Minute)); lag != time.Minute {
		t.Errorf("lag: got %v, want that of the message in parts", lag)
	}
	if detail, err := b.Check(t.Context()); err == nil { // it was received long ago
		t.Errorf("health: got %s, want an error", detail)
	}
	b.stop()
	select {
	case r := <-large:
		t.Errorf("acknowledged: %+v", r)
	case r := <-later:
		t.Errorf("acknowledged before an earlier message: %+v", r)
	default:
	}
}
