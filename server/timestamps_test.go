package server_test

import (
	"regexp"
	"testing"

	"github.com/oei-ms/oei-ms/store"
)

// Every time in an answer is written alike: readings are of whole seconds, and the database drops
// zeros of the others.
func TestTimes_HaveSixDigits(t *testing.T) {
	s := startWithHistory(t)
	s.addAlarm(1)
	some, six := regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"`), regexp.MustCompile(
		`^"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"$`,
	)
	for _, path := range []string{
		"/api/gateways/1", "/api/gateways", "/api/sensors", "/api/alarms", "/api/alarms/events",
		"/api/data?sensor_id=1", "/api/data/latest",
		"/api/data/statistics?sensor_id=1&" + fiveMinutes,
		"/api/data/history?sensor_id=1&" + fiveMinutes, "/api/users", "/api/auth/me",
	} {
		times := some.FindAllString(
			string(s.send("GET", path, s.token(s.users[store.Admin]), "").body), -1,
		)
		if len(times) == 0 && path != "/api/alarms/events" {
			t.Errorf("%s: there are no times", path)
		}
		for _, at := range times {
			if !six.MatchString(at) {
				t.Errorf("%s: got %s", path, at)
			}
		}
	}
}
