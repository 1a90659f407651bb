package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/oei-ms/oei-ms/server"
)

// asyncDocument is what the test reads of the served document.
type asyncDocument struct {
	Servers map[string]struct {
		Host, Protocol, Pathname string
	}
	Channels map[string]struct {
		Servers []struct {
			Ref string `json:"$ref" yaml:"$ref"`
		}
	}
	Components struct {
		Schemas map[string]any
	}
}

// TestAsyncAPI_NamesThisServer reads both forms of the document, as a server with two of the MQTT
// servers gives it.
func TestAsyncAPI_NamesThisServer(t *testing.T) {
	s := start(t, func(c *config, d *server.Deps) {
		c.TrustedProxies = []string{"127.0.0.1"}
		d.MQTT = []server.MQTTServer{
			{Name: "mqtt", Protocol: "mqtt", Port: 18830},
			{Name: "mqttTLS", Protocol: "secure-mqtt", Host: "mqtt.example.com", Port: 8883},
		}
	})
	for _, path := range []string{"/asyncapi.yaml", "/asyncapi.json"} {
		res := s.send("GET", path, "", "", "X-Forwarded-Prefix", "/plant")
		var got asyncDocument
		var err error
		if path == "/asyncapi.json" {
			err = json.Unmarshal(res.body, &got)
		} else {
			err = yaml.Unmarshal(res.body, &got)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		want := map[string]string{
			"mqtt": "mqtt://127.0.0.1:18830", "mqttTLS": "secure-mqtt://mqtt.example.com:8883",
			"live": strings.Replace(s.url, "http", "ws", 1) + "/plant",
		}
		for name, at := range got.Servers {
			if address := at.Protocol + "://" + at.Host + at.Pathname; address != want[name] {
				t.Errorf("%s: server %s is %s, want %s", path, name, address, want[name])
			}
			delete(want, name)
		}
		if len(want) > 0 {
			t.Errorf("%s lacks the servers %v", path, want)
		}
		for name, channel := range got.Channels {
			for _, at := range channel.Servers {
				if _, ok := got.Servers[at.Ref[len("#/servers/"):]]; !ok {
					t.Errorf("%s: channel %s is on the server %s, which is missing", path, name,
						at.Ref)
				}
			}
		}
		if got.Components.Schemas["WsAlarm"] == nil || got.Components.Schemas["AlarmEvent"] == nil {
			t.Errorf("%s lacks the schemas of openapi.yaml", path)
		}
		tag := res.Header.Get("ETag")
		if res := s.send("GET", path, "", "", "X-Forwarded-Prefix",
			"/plant", "If-None-Match", tag); res.StatusCode != http.StatusNotModified {
			t.Errorf("%s again: got %d, want 304", path, res.StatusCode)
		}
	}
}
