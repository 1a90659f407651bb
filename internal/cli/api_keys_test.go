package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

func TestNewAPIKeyOfTheCommandLine(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		key   store.APIKey
		fault string
	}{
		"as it should be": {store.APIKey{Name: "Grafana 2", Role: store.Viewer}, ""},
		"with all of it": {
			store.APIKey{
				Name:              "Node-RED",
				Role:              store.Engineer,
				RequestsPerMinute: new(60),
				ExpiresAt:         new(time.Now().Add(time.Hour)),
			}, "",
		},
		"no name": {store.APIKey{Role: store.Viewer}, "name"},
		"a name too long": {
			store.APIKey{Name: strings.Repeat("å", 101), Role: store.Viewer}, "name",
		},
		"two lines":       {store.APIKey{Name: "a\nb", Role: store.Viewer}, "name"},
		"an unknown role": {store.APIKey{Name: "a", Role: "root"}, "role"},
		"valid for no time": {
			store.APIKey{Name: "a", Role: store.Viewer, ExpiresAt: new(time.Now())}, "--valid-for",
		},
		"no requests": {
			store.APIKey{Name: "a", Role: store.Viewer, RequestsPerMinute: new(0)}, "--requests",
		},
	}
	for name, test := range tests {
		err := checkAPIKey(test.key)
		if (err != nil) != (test.fault != "") || err != nil &&
			!strings.HasPrefix(err.Error(), test.fault) {
			t.Errorf("%s: got %v, want a fault of %q", name, err, test.fault)
		}
	}
}
