package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/store"
)

// addAlarm adds an alarm above 80 and returns its id.
func (s *system) addAlarm(sensor int64) int64 {
	s.t.Helper()
	r := alarm.Rule{
		SensorID: sensor,
		Name:     "hot",
		Kind:     alarm.Threshold,
		Severity: alarm.Major,
		Limits:   &alarm.Limits{High: &alarm.Limit{Value: 80}},
	}
	a, err := s.store.CreateAlarm(s.t.Context(), &r, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return a.ID
}

// reads stores a reading of now.
func (s *system) reads(sensor int64, value float64) {
	s.t.Helper()
	at := time.Now().UTC().Truncate(time.Microsecond)
	rs := []store.Reading{{SensorID: sensor, Timestamp: at, Received: at, Value: value}}
	if _, err := s.store.Write(s.t.Context(), rs,
		store.SideWrites{}); err != nil {
		s.t.Fatal(err)
	}
}

// alarmAt sends a request and returns the alarm in the answer.
func (s *system) alarmAt(
	want int, method, path, token, body string, header ...string,
) (a client.Alarm) {
	s.t.Helper()
	res := s.send(method, path, token, body, header...)
	if res.StatusCode != want {
		s.t.Fatalf("%s %s: got %d, want %d: %s", method, path, res.StatusCode, want, res.body)
	}
	if want < 300 {
		if err := json.Unmarshal(res.body, &a); err != nil {
			s.t.Fatal(err)
		}
	}
	return a
}

func TestAlarm_FromCreationToDeletion(t *testing.T) {
	s := start(t)
	sensor := s.addSensor(s.addGateway().ID).ID
	operator := s.token(s.users[store.Operator])
	engineer, admin := s.token(s.users[store.Engineer]), s.token(s.users[store.Admin])
	began := time.Now().UTC()
	a := s.alarmAt(201, "POST", "/api/alarms", engineer,
		fmt.Sprintf(`{"sensor_id":%d,"rule":{"name":"hot","kind":"threshold",`+
			`"severity":"major","latching":true,"labels":{"line":"1"},`+
			`"limits":{"high":{"value":80}}}}`, sensor))
	path := fmt.Sprintf("/api/alarms/%d", a.ID)
	s.reads(sensor, 90)
	a = s.alarmAt(200, "GET", path, operator, "")
	if a.State != "active_unacknowledged" || a.Occurrence != 1 || a.Rule.Name != "hot" {
		t.Fatalf("raised: got %+v", a)
	}
	s.alarmAt(409, "POST", path+"/ack", operator,
		fmt.Sprintf(`{"occurrence":1,"state_version":%d}`, a.StateVersion+1))
	a = s.alarmAt(200, "POST", path+"/ack", operator,
		fmt.Sprintf(`{"occurrence":1,"state_version":%d,"comment":"on it"}`, a.StateVersion))
	if a.State != "active_acknowledged" {
		t.Fatalf("acknowledged: got %s", a.State)
	}
	a = s.alarmAt(200, "POST", path+"/shelve", operator,
		`{"duration_seconds":300,"comment":"cleaning"}`)
	s.alarmAt(400, "POST", path+"/shelve", operator,
		`{"duration_seconds":28801,"comment":"cleaning"}`)
	s.alarmAt(409, "POST", path+"/unshelve", operator,
		fmt.Sprintf(`{"state_version":%d}`, a.StateVersion-1))
	s.alarmAt(200, "POST", path+"/unshelve", operator, `{}`)
	s.alarmAt(409, "POST", path+"/reset", operator, `{}`)
	for _, refused := range []struct{ path, as, body, detail, field string }{
		{
			"/ack", operator, `{"occurrence":1,"state_version":1}`,
			"The alarm has changed since it was seen: it is at version ", "",
		},
		{
			"/reset", operator, `{}`,
			"Only an alarm that is latched, after its trouble is over, can be reset.", "",
		},
		{"/unshelve", operator, `{}`, "The alarm is not shelved.", ""},
		{"/shelve", operator, `{"duration_seconds":300,"comment":""}`, "comment: ", "comment"},
		{
			"/shelve", operator, `{"duration_seconds":300,"comment":" "}`,
			"comment: is not of the right form; use text on one line, without control characters " +
				"and not only blanks",
			"comment",
		},
		{"/out-of-service", admin, `{}`, "comment: is missing", "comment"},
	} {
		p := s.send("POST", path+refused.path, refused.as, refused.body).problem()
		if !strings.HasPrefix(p.Detail, refused.detail) || refused.field != "" &&
			(len(p.Errors) != 1 || p.Errors[0].Field != refused.field) {
			t.Errorf("%s %s: got %q, %+v, want %q", refused.path, refused.body, p.Detail, p.Errors,
				refused.detail)
		}
	}
	s.reads(sensor, 20)
	if a = s.alarmAt(200, "POST", path+"/reset", operator, `{}`); a.State != "normal" {
		t.Errorf("reset: got %s", a.State)
	}
	s.alarmAt(200, "POST", path+"/out-of-service", admin, `{"comment":"dismounted"}`)
	s.alarmAt(200, "POST", path+"/return-to-service", admin, `{}`)
	s.alarmAt(200, "POST", path+"/comments", operator, `{"comment":"done"}`)
	s.alarmAt(412, "PUT", path, engineer, `{`+hot+`}`, "If-Match", `"7"`)
	if a = s.alarmAt(200, "PUT", path, engineer, `{`+hot+`}`, "If-Match",
		`"1"`); a.RuleVersion != 2 {
		t.Errorf("another rule: got version %d", a.RuleVersion)
	}

	var kinds []string
	next := path + "/events?limit=4"
	for next != "" {
		res := s.send("GET", next, operator, "")
		var events []client.AlarmEvent
		if err := json.Unmarshal(res.body, &events); err != nil {
			t.Fatalf("%v: %s", err, res.body)
		}
		for _, e := range events {
			kinds = append(kinds, string(e.Kind))
		}
		next, _, _ = strings.Cut(strings.TrimPrefix(res.Header.Get("Link"), "<"), ">")
	}
	want := "raised acknowledged shelved unshelved latched reset out_of_service " +
		"returned_to_service commented rule_changed"
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("journal: got\n%s, want\n%s", got, want)
	}
	res := s.send("POST", "/api/alarms/simulate", engineer,
		fmt.Sprintf(`{"sensor_id":%d,%s,"start":%q,"end":%q}`, sensor, hot,
			began.Format(time.RFC3339Nano),
			time.Now().UTC().Add(time.Second).Format(time.RFC3339Nano)))
	var sim client.AlarmSimulationResult
	if err := json.Unmarshal(res.body, &sim); err != nil || len(sim.Events) != 2 ||
		sim.Readings != 2 || sim.Events[0].Kind != "raised" {
		t.Errorf("simulated: got %v, %s", err, res.body)
	}
	for _, report := range []string{path + "/explain", "/api/alarms/kpi"} {
		if res := s.send("GET", report, operator, ""); res.StatusCode != 200 {
			t.Errorf("%s: got %d: %s", report, res.StatusCode, res.body)
		}
	}
	if res := s.send("DELETE", path+"?dry_run=true", engineer, ""); res.StatusCode != 200 ||
		!strings.Contains(string(res.body), `"alarms":1`) {
		t.Errorf("dry run: got %d: %s", res.StatusCode, res.body)
	}
	s.alarmAt(200, "GET", path, operator, "")
	s.alarmAt(200, "DELETE", path, engineer, "")
	s.alarmAt(404, "GET", path, operator, "")
}

func TestAlarms_ListsAndFilters(t *testing.T) {
	s := start(t)
	g := s.addGateway().ID
	viewer, engineer := s.token(s.users[store.Viewer]), s.token(s.users[store.Engineer])
	operator := s.token(s.users[store.Operator])
	var sensors []int64
	for i, severity := range []string{"minor", "critical", "minor", "warning", "critical"} {
		sensor := s.addSensor(g).ID
		sensors = append(sensors, sensor)
		s.alarmAt(201, "POST", "/api/alarms", engineer, fmt.Sprintf(
			`{"sensor_id":%d,"rule":{"name":"Alarm %d","kind":"threshold","severity":%q,`+
				`"labels":{"n":"%d"},"limits":{"high":{"value":80}}}}`, sensor, i, severity, i%2))
	}
	s.reads(sensors[0], 90)
	s.reads(sensors[1], 90)
	list := func(query string) string {
		t.Helper()
		var ids []string
		for next := "/api/alarms?limit=2" + query; next != ""; {
			res := s.send("GET", next, viewer, "")
			var alarms []client.Alarm
			if err := json.Unmarshal(res.body, &alarms); err != nil {
				t.Fatalf("%s: %v: %s", query, err, res.body)
			}
			for _, a := range alarms {
				ids = append(ids, strings.TrimPrefix(a.Rule.Name, "Alarm "))
			}
			next, _, _ = strings.Cut(strings.TrimPrefix(res.Header.Get("Link"), "<"), ">")
		}
		return strings.Join(ids, " ")
	}
	for query, want := range map[string]string{
		"": "1 4 0 2 3", "&sort=newest": "1 0 4 3 2", "&sort=oldest": "2 3 4 0 1",
		"&severity=critical":           "1 4",
		"&state=active_unacknowledged": "1 0", "&label=n%3D1": "1 3", "&text=aLARM%203": "3",
		"&state=active_unacknowledged&severity=minor": "0",
		fmt.Sprintf("&sensor_id=%d", sensors[2]):      "2",
		fmt.Sprintf("&gateway_id=%d&label=n%%3D9", g): "",
	} {
		if got := list(query); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
	res := s.send("POST", "/api/alarms/ack", operator,
		`{"alarms":[{"id":1,"occurrence":1,"state_version":1},{"id":2,"occurrence":9,`+
			`"state_version":1},{"id":3,"occurrence":1,"state_version":1},{"id":999,`+
			`"occurrence":1,"state_version":1}]}`)
	var acks []client.AlarmBulkAcknowledgeResult
	if err := json.Unmarshal(res.body, &acks); err != nil {
		t.Fatalf("%v: %s", err, res.body)
	}
	var got []string
	for _, a := range acks {
		got = append(got, string(a.Status))
	}
	if want := "acknowledged stale stale not_found"; strings.Join(got, " ") != want {
		t.Errorf("acks: got %v, want %s", got, want)
	}
}

func TestAlarmRules_InvalidOnesAreRefused(t *testing.T) {
	s := start(t)
	sensor := s.addSensor(s.addGateway().ID).ID
	engineer := s.token(s.users[store.Engineer])
	for name, test := range map[string]struct{ rule, field string }{
		"low above high": {
			`"kind":"threshold","limits":{"high":{"value":1},"low":{"value":2}}`, "rule.limits",
		},
		"a deadband too wide": {
			`"kind":"threshold","limits":{"high":{"value":3},"low":{"value":2}},` +
				`"deadband":{"value":5}`,
			"rule.deadband",
		},
		"an unknown other sensor": {
			`"kind":"deviation","deviation":{"sensor_id":99999,"limit":1}`,
			"rule.deviation.sensor_id",
		},
		"an unknown cause": {
			`"kind":"bad_quality","suppressed_by":[99999]`, "rule.suppressed_by",
		},
		"an expression that is not": {
			fmt.Sprintf(`"kind":"expression","expression":{"text":"a >","inputs":{"a":%d}}`,
				sensor),
			"rule.expression",
		},
		"no limits": {`"kind":"threshold"`, "rule.limits"},
	} {
		res := s.send("POST", "/api/alarms", engineer,
			fmt.Sprintf(`{"sensor_id":%d,"rule":{"name":"x","severity":"minor",%s}}`, sensor,
				test.rule))
		if p := res.problem(); res.StatusCode != 400 || len(p.Errors) == 0 ||
			!strings.HasPrefix(p.Errors[0].Field, test.field) {
			t.Errorf("%s: got %d: %s", name, res.StatusCode, res.body)
		}
	}
	res := s.send("POST", "/api/alarms", engineer, `{"sensor_id":99999,`+hot+`}`)
	if p := res.problem(); res.StatusCode != 400 || p.Errors[0].Field != "sensor_id" {
		t.Errorf("an unknown sensor: got %d: %s", res.StatusCode, res.body)
	}
}

func TestDelete_NamesTheAlarmsThatPreventIt(t *testing.T) {
	s := start(t)
	g := s.addGateway()
	v, other := s.addSensor(g.ID), s.addSensor(s.addGateway().ID)
	hot := s.addAlarm(v.ID)
	engineer := s.token(s.users[store.Engineer])
	var apart []int64
	for range 7 {
		r := alarm.Rule{
			SensorID:  other.ID,
			Name:      "apart",
			Kind:      alarm.Deviates,
			Severity:  alarm.Minor,
			Deviation: &alarm.Deviation{SensorID: v.ID, Limit: 5},
		}
		a, err := s.store.CreateAlarm(t.Context(), &r, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		apart = append(apart, a.ID)
	}
	suppressed := alarm.Rule{
		SensorID:     other.ID,
		Name:         "follows",
		Kind:         alarm.BadQuality,
		Severity:     alarm.Minor,
		SuppressedBy: []int64{hot},
	}
	follows, err := s.store.CreateAlarm(t.Context(), &suppressed, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	refused := func(path, want string) {
		t.Helper()
		res := s.send("DELETE", path, engineer, "")
		if p := res.problem(); res.StatusCode != 409 || !strings.Contains(p.Detail, want) {
			t.Errorf("DELETE %s: got %d, %q, want 409 with %q", path, res.StatusCode, p.Detail,
				want)
		}
	}
	first := fmt.Sprintf("7 alarms: "+strings.Repeat("%d (apart), ", 5)+"…",
		apart[0], apart[1], apart[2], apart[3], apart[4])
	refused(fmt.Sprintf("/api/sensors/%d", v.ID), first)
	refused(fmt.Sprintf("/api/gateways/%d?cascade=true", g.ID), first)
	refused(fmt.Sprintf("/api/alarms/%d", hot), fmt.Sprintf("alarm %d (follows)", follows.ID))
	for _, id := range append(apart, follows.ID) {
		s.alarmAt(200, "DELETE", fmt.Sprintf("/api/alarms/%d", id), engineer, "")
	}
	refused(fmt.Sprintf("/api/gateways/%d", g.ID),
		fmt.Sprintf("1 sensor and alarm %d (hot). With cascade=true they are deleted too", hot))
	s.alarmAt(200, "DELETE", fmt.Sprintf("/api/gateways/%d?cascade=true", g.ID), engineer, "")
}

func TestCreateAlarm_NamesTheLimitOfAlarmsPerSensor(t *testing.T) {
	s := start(t)
	sensor := s.addSensor(s.addGateway().ID).ID
	for range store.DefaultConfig().AlarmsPerSensor {
		s.addAlarm(sensor)
	}
	res := s.send("POST", "/api/alarms", s.token(s.users[store.Engineer]),
		fmt.Sprintf(`{"sensor_id":%d,%s}`, sensor, hot))
	want := fmt.Sprintf("Sensor %d has 100 alarms", sensor)
	if res.StatusCode != 409 || !strings.Contains(string(res.body), want) ||
		!strings.Contains(string(res.body), "OEI_STORE_ALARMS_PER_SENSOR") {
		t.Errorf("got %d %s, want 409 with %q", res.StatusCode, res.body, want)
	}
}
