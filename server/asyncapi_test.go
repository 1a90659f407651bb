package server

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/oei-ms/oei-ms/gen/api"
)

// asyncDocument is what the tests read of asyncapi.yaml.
type asyncDocument struct {
	Servers map[string]struct {
		Security []struct {
			Ref string `json:"$ref"`
		}
	}
	Channels map[string]struct {
		Address  string
		Bindings struct {
			WS struct {
				Query struct {
					Properties map[string]any
				}
			}
		}
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

// TestAsyncAPI_HasEveryLoginOfWebSockets compares the ways to log in, and the parameters of the
// address.
func TestAsyncAPI_HasEveryLoginOfWebSockets(t *testing.T) {
	doc, err := api.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	document := readAsyncAPI(t)
	want, got := map[string]bool{}, map[string]bool{}
	for _, requirement := range *doc.Paths.Value("/ws").Get.Security {
		if len(requirement) == 0 {
			want["auth"] = true // a message
		}
		for scheme := range requirement {
			if scheme == "oauth2" {
				scheme = "bearer"
			}
			want[scheme] = true
		}
	}
	for _, scheme := range document.Servers[liveServer].Security {
		got[strings.TrimPrefix(scheme.Ref, "#/components/securitySchemes/")] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("logins: asyncapi.yaml has %v, openapi.yaml %v", got, want)
	}
	parameters, query := map[string]bool{"ticket": true}, map[string]bool{}
	for _, parameter := range doc.Paths.Value("/ws").Get.Parameters {
		parameters[parameter.Value.Name] = true
	}
	for name := range document.Channels["live"].Bindings.WS.Query.Properties {
		query[name] = true
	}
	if !maps.Equal(query, parameters) {
		t.Errorf("parameters: asyncapi.yaml has %v, openapi.yaml %v", query, parameters)
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
