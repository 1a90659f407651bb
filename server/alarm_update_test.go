package server_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/oei-ms/oei-ms/store"
)

// PUT changes the members of a rule that are given, as it does for every other resource.
func TestUpdateAlarm_ChangesGivenMembers(t *testing.T) {
	s := start(t)
	sensor := s.addSensor(s.addGateway().ID).ID
	engineer := s.token(s.users[store.Engineer])
	a := s.alarmAt(201, "POST", "/api/alarms", engineer, fmt.Sprintf(`{"sensor_id":%d,"rule":{`+
		`"name":"hot","kind":"threshold","severity":"major","labels":{"line":"1"},`+
		`"limits":{"high":{"value":80},"low":{"value":1}},"deadband":{"value":2},`+
		`"on_delay_ms":5000,`+
		`"schedule":{"zone":"UTC","from":"06:00","to":"22:00"}}}`, sensor))
	path := fmt.Sprintf("/api/alarms/%d", a.ID)
	// Each row changes what the row before has left.
	for _, tt := range []struct{ change, want string }{
		{
			`{"severity":"minor"}`,
			`{"deadband":{"value":2},"kind":"threshold","labels":{"line":"1"},` +
				`"limits":{"high":{"value":80},"low":{"value":1}},"name":"hot",` +
				`"on_delay_ms":5000,` +
				`"schedule":{"from":"06:00","to":"22:00","zone":"UTC"},"severity":"minor"}`,
		},
		{
			`{"schedule":null,"on_delay_ms":0,"labels":{}}`,
			`{"deadband":{"value":2},"kind":"threshold",` +
				`"limits":{"high":{"value":80},"low":{"value":1}},"name":"hot","severity":"minor"}`,
		},
		{
			`{"limits":{"high":{"value":90}},"deadband":null}`,
			`{"kind":"threshold","limits":{"high":{"value":90}},"name":"hot","severity":"minor"}`,
		},
		{
			`{"kind":"outside_range","range":{"low":1,"high":2}}`,
			`{"kind":"outside_range","name":"hot","range":{"high":2,"low":1},"severity":"minor"}`,
		},
		{
			`{"kind":"inside_range"}`,
			`{"kind":"inside_range","name":"hot","range":{"high":2,"low":1},"severity":"minor"}`,
		},
		{
			`{"kind":"bad_quality","latching":true}`,
			`{"kind":"bad_quality","latching":true,"name":"hot","severity":"minor"}`,
		},
	} {
		s.alarmAt(200, "PUT", path, engineer, `{"rule":`+tt.change+`}`)
		a := s.alarmAt(200, "GET", path, engineer, "")
		var members any
		if err := json.Unmarshal(must(json.Marshal(a.Rule)), &members); err != nil {
			t.Fatal(err)
		}
		if got := string(must(json.Marshal(members))); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.change, got, tt.want)
		}
	}
}

func TestUpdateAlarm_ValidatesTheWholeRule(t *testing.T) {
	s := start(t)
	sensor := s.addSensor(s.addGateway().ID).ID
	engineer := s.token(s.users[store.Engineer])
	path := fmt.Sprintf("/api/alarms/%d", s.addAlarm(sensor))
	for change, field := range map[string]string{
		`{}`:                           "rule",
		`{"kind":"rate"}`:              "rule.rate",
		`{"range":{"low":1,"high":2}}`: "rule.range",
		`{"name":null}`:                "rule.name",
		`{"limits":null}`:              "rule.limits",
		`{"kind":"no_data"}`:           "rule.no_data_after_ms",
		`{"deadband":{"value":1,"unit":"percent"}}`: "rule.deadband.unit",
	} {
		p := s.send("PUT", path, engineer, `{"rule":`+change+`}`).problem()
		if p.Status != 400 || len(p.Errors) == 0 || p.Errors[0].Field != field {
			t.Errorf("%s: got %+v, want a fault of %s", change, p, field)
		}
	}
	if a := s.alarmAt(200, "GET", path, engineer, ""); a.RuleVersion != 1 {
		t.Errorf("after changes that were refused: got rule_version %d, want 1", a.RuleVersion)
	}
}
