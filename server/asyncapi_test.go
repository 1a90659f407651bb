package server

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/oei-ms/oei-ms/gen/api"
)

// asyncDocument is what the tests read of asyncapi.yaml.
type asyncDocument struct {
	Channels map[string]struct {
		Address string
		Servers []struct {
			Ref string `json:"$ref"`
		}
	}
	Operations map[string]struct {
		Channel struct {
			Ref string `json:"$ref"`
		}
		Role string `json:"x-role"`
	}
}

func TestPlainHost(t *testing.T) {
	for host, want := range map[string]string{
		"oei.example.com:8000": "oei.example.com:8000", "[::1]:8000": "[::1]:8000",
		"a'b": "localhost", "a\nb": "localhost", "": "localhost", "{x}": "localhost",
	} {
		if got := plainHost(host); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}

// TestAsyncAPI_HasEveryWebSocketOfTheContract compares the paths of WebSockets and the role that
// they need.
func TestAsyncAPI_HasEveryWebSocketOfTheContract(t *testing.T) {
	doc, err := api.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	document := readAsyncAPI(t)
	addresses, roles := map[string]bool{}, map[string]string{}
	for name, channel := range document.Channels {
		if channel.Servers[0].Ref == "#/servers/"+liveServer {
			addresses[channel.Address] = true
			roles["#/channels/"+name] = channel.Address
		}
	}
	for path, item := range doc.Paths.Map() {
		if item.Get == nil || item.Get.Responses.Status(http.StatusSwitchingProtocols) == nil {
			continue
		}
		if !addresses[path] {
			t.Errorf("asyncapi.yaml lacks the channel %s", path)
		}
		delete(addresses, path)
		role := scopeOf(*item.Get.Security)
		for name, operation := range document.Operations {
			if roles[operation.Channel.Ref] == path && operation.Role != role {
				t.Errorf("operation %s is for %s, want %s", name, operation.Role, role)
			}
		}
	}
	for address := range addresses {
		t.Errorf("openapi.yaml lacks the path %s", address)
	}
}

func scopeOf(security openapi3.SecurityRequirements) string {
	for _, requirement := range security {
		for _, scopes := range requirement {
			if len(scopes) > 0 {
				return scopes[0]
			}
		}
	}
	return ""
}

func readAsyncAPI(t *testing.T) (document asyncDocument) {
	t.Helper()
	async, err := newAsyncAPI([]MQTTServer{{Name: "mqtt", Protocol: "mqtt", Port: 1883}})
	if err == nil {
		err = json.Unmarshal(async.json, &document)
	}
	if err != nil {
		t.Fatal(err)
	}
	return document
}
