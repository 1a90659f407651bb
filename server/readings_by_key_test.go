package server_test

import (
	"fmt"
	"strings"
	"testing"
)

// Readings over HTTP name sensors and times as those over MQTT do.
func TestWriteData_ByKeyAndMilliseconds(t *testing.T) {
	s := startWithIngest(t)
	token := s.token(s.users["engineer"])
	sensor := must(s.store.Sensor(t.Context(), 2))
	gateway := must(s.store.Gateway(t.Context(), sensor.GatewayID))
	for i, tt := range []struct{ members, want string }{
		{`"gateway":%q,"sensor":%q,"timestamp":%d`, `"status":"stored"`},
		{`"gateway":%q,"sensor":%q,"timestamp":%d.0`, `"status":"duplicate"`},
		{`"gateway":%q,"sensor":%q,"timestamp":%de0`, `"status":"duplicate"`},
		{`"sensor_id":2,"timestamp":"2026-03-04T03:00:00Z"`, `"status":"duplicate"`},
		{`"gateway":"1","sensor":"2","timestamp":"2026-03-04T03:00:00Z"`, `"status":"duplicate"`},
		{`"gateway":%q,"sensor":"none"`, `"reason":"unknown_sensor"`},
		{`"gateway":"none","sensor":%[2]q`, `"reason":"unknown_sensor"`},
		{`"sensor":"none"`, `readings[0].gateway: is missing; sensor needs it`},
		{`"gateway":"none"`, `readings[0].sensor: is missing; gateway needs it`},
		{`"quality":"good"`, `readings[0].sensor_id: is missing; give it, or gateway and sensor`},
		{
			`"sensor_id":2,"sensor":"none"`,
			`readings[0].sensor_id: cannot be given together with gateway and sensor`,
		},
		{
			`"sensor_id":2,"timestamp":1772593200`,
			`"detail":"timestamp 1970-01-21T12:23:13.200000Z is more than 3650 days old, ` +
				`which is OEI_INGEST_MAX_AGE; as a number it is milliseconds since 1970, and ` +
				`this looks like seconds`,
		},
		{
			`"sensor_id":2,"timestamp":1772593200000000`,
			`readings[0].timestamp: is not whole milliseconds since 1970; it looks like ` +
				`microseconds, divide it by 1000`,
		},
		{
			`"sensor_id":2,"timestamp":1772593200000.5`,
			`readings[0].timestamp: is not whole milliseconds since 1970; round it, or send ` +
				`RFC 3339`,
		},
		{`"sensor_id":2,"timestamp":true`, `readings[0].timestamp: is not a text`},
		{`"sensor_id":2,"ts":1772593200000`, `readings[0].ts: is not known here; write timestamp`},
		{
			`"sensor_id":2,"Timestamp":1772593200000`,
			`readings[0].Timestamp: is not known here; write timestamp`,
		},
		{`"sensor_id":2,"q":"bad"`, `readings[0].q: is not known here; write quality`},
		{
			`"sensor_id":2,"statusCode":1`,
			`readings[0].statusCode: is not known here; write status_code`,
		},
		{`"sensor_id":2,"val":1`, `readings[0].val: is not known here; write value`},
		{`"sensor_id":2,"seq":1`, `readings[0].seq: is not known here`},
	} {
		members := tt.members
		if strings.Contains(members, "%") {
			args := []any{gateway.Key, sensor.Key, at3.UnixMilli()}[:strings.Count(members, "%")]
			if strings.Contains(members, "[2]") {
				args = []any{gateway.Key, sensor.Key}
			}
			members = fmt.Sprintf(members, args...)
		}
		res := s.send("POST", "/api/data", token, `{"readings":[{"value":1,`+members+`}]}`)
		if !strings.Contains(string(res.body), tt.want) {
			t.Errorf("%d: %s: got %d %s, want %s", i, members, res.StatusCode, res.body, tt.want)
		}
	}
}
