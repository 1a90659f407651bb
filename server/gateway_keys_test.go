package server_test

import (
	"fmt"
	"testing"

	"github.com/oei-ms/oei-ms/store"
)

// Keys are what devices are called by, but never what could be an id.
func TestKeys_OfGatewaysAndSensors(t *testing.T) {
	s := start(t)
	engineer := s.token(s.users[store.Engineer])
	for key, want := range map[string]int{
		"356938035643809":   201, // an IMEI
		"12345678901":       201,
		"00:1b:44:11:3a:b7": 201, // a MAC address
		"plant:line1":       201,
		":":                 201,
		"1234567890":        400,
		"2147483647":        400,
		"1":                 400,
		"a/b":               400,
		"a b":               400,
		"a+":                400,
		"#":                 400,
		"":                  400,
	} {
		body := fmt.Sprintf(`{"key":%q,"name":"x"}`, key)
		if res := s.send("POST", "/api/gateways", engineer, body); res.StatusCode != want {
			t.Errorf("a gateway with the key %q: got %d: %s, want %d", key, res.StatusCode,
				res.body, want)
		}
		body = fmt.Sprintf(`{"key":%q,"name":"x","type":"t","unit":"","gateway_id":1}`, key)
		if res := s.send("POST", "/api/sensors", engineer, body); res.StatusCode != want {
			t.Errorf("a sensor with the key %q: got %d: %s, want %d", key, res.StatusCode, res.body,
				want)
		}
	}
}
