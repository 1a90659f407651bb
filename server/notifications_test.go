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

// decoded decodes the body of a.
func (s *system) decoded(a answer, v any) {
	s.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		s.t.Fatalf("%d %s: %v", a.StatusCode, a.body, err)
	}
}

func TestChannels_ShowNoSecrets(t *testing.T) {
	s := start(t)
	engineer := s.token(s.users[store.Engineer])
	made := s.send("POST", "/api/notifications/channels", engineer,
		`{"name":"hook","kind":"webhook",`+
			`"url":"https://hooks.example.com/T0/very-private?token=abc"}`)
	var created client.NotificationChannelWithSecret
	s.decoded(made, &created)
	secret := created.Secret.MustGet()
	if made.StatusCode != 201 || !strings.HasPrefix(secret, "whsec_") ||
		created.Origin != "https://hooks.example.com" ||
		made.Header.Get("Location") != fmt.Sprintf("/api/notifications/channels/%d", created.ID) {
		t.Fatalf("created: got %d %s", made.StatusCode, made.body)
	}
	own := "whsec_" + strings.Repeat("QUJD", 10)
	at := fmt.Sprintf("/api/notifications/channels/%d", created.ID)
	answers := []answer{
		s.send("GET", at, s.token(s.users[store.Viewer]), ""),
		s.send("GET", "/api/notifications/channels", engineer, ""),
		s.send("PUT", at, engineer, `{"secret":"`+own+`"}`),
		s.send("PUT", at, engineer, `{"name":"x"}`, "If-Match", `"1"`),
		s.send("POST", at+"/test", engineer, ""),
		s.send("GET", "/api/notifications/deliveries", engineer, ""),
	}
	for i, want := range []int{200, 200, 200, 412, 200, 200} {
		if answers[i].StatusCode != want {
			t.Errorf("answer %d: got %d %s, want %d", i, answers[i].StatusCode, answers[i].body,
				want)
		}
	}
	if c, err := s.store.Channel(t.Context(), created.ID); err != nil || c.Secret != own {
		t.Errorf("the new secret is not kept: %v", err)
	}
	s.stop()
	for _, hidden := range []string{secret, own, "very-private", "token=abc"} {
		for i, a := range answers {
			if strings.Contains(string(a.body), hidden) {
				t.Errorf("answer %d shows %q: %s", i, hidden, a.body)
			}
		}
		if strings.Contains(s.log.String(), hidden) {
			t.Errorf("the log contains %q", hidden)
		}
	}
}

func TestNotifications_InvalidFieldsAreRefused(t *testing.T) {
	s := start(t)
	token := s.token(s.users[store.Engineer])
	c := s.addChannel()
	route := func(rest string) string {
		return fmt.Sprintf(`{"name":"r","channel_id":%d,%s}`, c.ID,
			rest)
	}
	silence := func(from, to time.Duration, rest string) string {
		now := time.Now().UTC()
		return fmt.Sprintf(`{"starts_at":%q,"ends_at":%q,"reason":"x"%s}`,
			now.Add(from).Format(time.RFC3339), now.Add(to).Format(time.RFC3339), rest)
	}
	const minor = `,"severities":["minor"]`
	tests := map[string]struct{ path, body, field string }{
		"a webhook without an address": {"channels", `{"name":"c","kind":"webhook"}`, "url"},
		"e-mail without recipients": {
			"channels", `{"name":"c","kind":"email"}`, "recipients",
		},
		"mqtt with an address": {
			"channels", `{"name":"c","kind":"mqtt","url":"https://example.com/"}`, "url",
		},
		"a webhook to an internal address": {
			"channels", `{"name":"c","kind":"webhook","url":"http://169.254.169.254/latest"}`,
			"url",
		},
		"a webhook with a password": {
			"channels", `{"name":"c","kind":"webhook","url":"http://u:p@example.com/"}`, "url",
		},
		"a secret that is not base64": {
			"channels",
			`{"name":"c","kind":"webhook","url":"https://example.com/","secret":"whsec_` +
				strings.Repeat("a", 33) + `"}`,
			"secret",
		},
		"a recipient with a line break": {
			"channels", `{"name":"c","kind":"email","recipients":["a@x.y\r\nBcc: b@x.y"]}`,
			"recipients[0]",
		},
		"an unknown channel":         {"routes", `{"name":"r","channel_id":99}`, "channel_id"},
		"an unknown placeholder":     {"routes", route(`"subject":"{secret}"`), "subject"},
		"a template of another kind": {"routes", route(`"line":"{{range .}}"`), "line"},
		"an unknown time zone": {
			"routes", route(`"time_zone":"Europe/Atlantis"`), "time_zone",
		},
		"an escalation without channel": {
			"routes", route(`"escalate_seconds":60`), "escalation_channel_id",
		},
		"an escalation to an unknown channel": {
			"routes", route(`"escalation_channel_id":99`), "escalation_channel_id",
		},
		"a silence that ends before it starts": {
			"silences", silence(time.Hour, time.Minute, minor), "ends_at",
		},
		"a silence in the past": {
			"silences", silence(-2*time.Hour, -time.Hour, minor), "ends_at",
		},
		"a silence for half a year": {
			"silences", silence(0, 180*24*time.Hour, minor), "ends_at",
		},
		"a silence without conditions": {"silences", silence(0, time.Hour, ""), "alarm_id"},
		"a silence of an unknown severity": {
			"silences", silence(0, time.Hour, `,"severities":["bad"]`), "severities[0]",
		},
		"a silence without reason": {
			"silences",
			strings.Replace(silence(0, time.Hour, minor), `"reason":"x"`, `"reason":""`, 1),
			"reason",
		},
	}
	for name, test := range tests {
		res := s.send("POST", "/api/notifications/"+test.path, token, test.body)
		if res.StatusCode != 400 || !names(res, test.field) {
			t.Errorf("%s: got %d %s, want 400 that names %s", name, res.StatusCode, res.body,
				test.field)
		}
	}
	s.send("POST", "/api/notifications/routes", token, route(`"group_seconds":5`))
	path := fmt.Sprintf("/api/notifications/channels/%d", c.ID)
	if res := s.send("DELETE", path, token, ""); res.StatusCode != 409 {
		t.Errorf("a channel that is used: got %d %s", res.StatusCode, res.body)
	}
	if res := s.send("POST", "/api/notifications/routes", token, route(
		`"group_seconds":5`)); res.StatusCode != 409 {
		t.Errorf("a name that is taken: got %d %s", res.StatusCode, res.body)
	}
}

func TestSilence_NamesItsUsersAndEndsOnce(t *testing.T) {
	s := start(t)
	operator := s.token(s.users[store.Operator])
	made := s.send("POST", "/api/notifications/silences", operator,
		`{"ends_at":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`",`+
			`"reason":"maintenance","gateway_id":`+fmt.Sprint(s.addGateway().ID)+`}`)
	for _, about := range []string{"alarm_id", "sensor_id", "gateway_id"} {
		unknown := s.send("POST", "/api/notifications/silences", operator,
			`{"ends_at":"2100-01-01T00:00:00Z","starts_at":"2099-12-31T00:00:00Z",`+
				`"reason":"x","`+about+`":999}`)
		if unknown.StatusCode != 400 || !names(unknown, about) {
			t.Errorf("about an unknown %s: got %d %s", about, unknown.StatusCode,
				unknown.body)
		}
	}
	var v client.NotificationSilence
	s.decoded(made, &v)
	if made.StatusCode != 201 || v.CreatedBy != "operator" || v.Reason != "maintenance" ||
		!v.EndedBy.IsNull() {
		t.Fatalf("got %d %s", made.StatusCode, made.body)
	}
	end := made.Header.Get("Location") + "/end"
	for i, want := range []int{200, 409} {
		if res := s.send("POST", end, operator, ""); res.StatusCode != want || want == 200 &&
			!strings.Contains(string(res.body), `"ended_by":"operator"`) {
			t.Errorf("end %d: got %d %s", i+1, res.StatusCode, res.body)
		}
	}
	if res := s.send("GET", "/api/notifications/silences?current=true", operator, ""); string(
		res.body,
	) != "[]\n" {
		t.Errorf("in force: got %s", res.body)
	}
}

func TestDeliveries_ArePagedAndFiltered(t *testing.T) {
	s := start(t)
	c, other := s.addChannel(), s.addChannel()
	for i := range 5 {
		id := c.ID
		if i == 0 {
			id = other.ID
		}
		if _, err := s.notifier.TestChannel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	engineer := s.token(s.users[store.Engineer])
	var ids []int64
	next := "/api/notifications/deliveries?limit=2&count=true&kind=test&status=failed" +
		fmt.Sprintf("&channel_id=%d", c.ID)
	for next != "" {
		res := s.send("GET", next, engineer, "")
		var list []client.NotificationDelivery
		s.decoded(res, &list)
		if res.Header.Get("X-Total-Count") != "4" {
			t.Errorf("count: got %q", res.Header.Get("X-Total-Count"))
		}
		for _, d := range list {
			ids = append(ids, d.ID)
			if d.Detail == "" || d.Attempts != 1 {
				t.Errorf("got %+v", d)
			}
		}
		next, _, _ = strings.Cut(strings.TrimPrefix(res.Header.Get("Link"), "<"), ">")
	}
	// the detail can name internal hosts
	for _, role := range []store.Role{store.Viewer, store.Operator} {
		for _, path := range []string{
			"/api/notifications/deliveries", "/api/notifications/deliveries/1",
		} {
			if res := s.send("GET", path, s.token(s.users[role]), ""); !strings.Contains(
				string(res.body), `"detail":""`,
			) ||
				strings.Count(string(res.body), `"detail":`) != strings.Count(string(res.body),
					`"detail":""`) {
				t.Errorf("%s as %s: got %s", path, role, res.body)
			}
		}
	}
	if res := s.send("GET", "/api/notifications/deliveries/1", engineer, ""); strings.Contains(
		string(res.body), `"detail":""`,
	) {
		t.Errorf("an engineer: got %s", res.body)
	}
	if fmt.Sprint(ids) != "[5 4 3 2]" {
		t.Errorf("ids: got %v", ids)
	}
}
