package server_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/oei-ms/oei-ms/store"
)

func TestPaths_TricksReachNoHandler(t *testing.T) {
	s := start(t)
	s.addSensor(s.addGateway().ID)
	tricks := []string{
		"//api/gateways", "/api//gateways", "/api/./gateways", "/api/../api/gateways",
		"/api/gateways/", "/api/gateways/.", "/API/gateways",
		"/api/Gateways", "/api%2Fgateways", "/api/gateways%2F1", "/api/gateways/1/",
		"/api/gateways/1%2Fcredentials", "/api/gateways/1;x=1",
		"/api/gateways/1/credentials/1/x", "/api/sensors/1/2", "/api/sensors/1%2F2",
		"/health/../api/gateways", "/docs/../api/gateways",
		"/docs/assets/../../api/gateways", "/docs/assets/..%2F..%2Fapi%2Fgateways",
		"/metrics/../api/gateways", "/api/auth/login/../me",
		"/api/auth/me%00", "/api/auth/me%20", "/api/auth/me.json", "/api/gateways%3Flimit=1",
		"/%61pi/gateways", "/api/gateways#", "/api", "/ws/", "/ws/x",
		"/debug/pprof/", "/.git/config", "/api/users",
	}
	for _, path := range tricks {
		for _, method := range []string{
			"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
			"PROPFIND", "get",
		} {
			got := s.raw(method, path, "")
			if got < 400 || got >= 500 {
				t.Errorf("%s %s without a token: got %d, want 4xx", method, path, got)
			}
		}
	}
	viewer := s.token(s.users[store.Viewer])
	tests := []struct {
		name, method, path, token string
		want                      int
		allow                     string
	}{
		{"an unknown address needs a login", "GET", "/api/nothing", "", 401, ""},
		{"an unknown address is 404 with a token", "GET", "/api/nothing", viewer, 404, ""},
		{"the rest of a path is not an id", "GET", "/api/sensors/1/2", viewer, 404, ""},
		{"another method needs a token first", "PATCH", "/api/gateways", "", 401, ""},
		{
			"another method is 405 with what is allowed", "PATCH", "/api/gateways", viewer, 405,
			"GET, HEAD, POST",
		},
		{"another method at a public address", "POST", "/health", "", 405, "GET, HEAD"},
		{"another method of a public address", "DELETE", "/api/auth/login", "", 405, "POST"},
		{"HEAD stands for GET", "HEAD", "/health", "", 200, ""},
		{"HEAD needs the token GET needs", "HEAD", "/api/gateways", "", 401, ""},
		{"an escaped id is the same id", "GET", "/api/sensors/%31", viewer, 200, ""},
		{"a longer path of the pages", "GET", "/docs/assets/a/b", viewer, 404, ""},
		{"an unknown page", "GET", "/docs/assets/unknown.js", "", 404, ""},
	}
	for _, test := range tests {
		res := s.send(test.method, test.path, test.token, "")
		if res.StatusCode != test.want || res.Header.Get("Allow") != test.allow {
			t.Errorf("%s: got %d, Allow %q, want %d, %q", test.name, res.StatusCode,
				res.Header.Get("Allow"), test.want, test.allow)
		}
	}
}

// security returns a change of an operation's security.
func security(required openapi3.SecurityRequirements) func(*openapi3.Operation) {
	return func(op *openapi3.Operation) { *op.Security = required }
}

func TestContract_WithoutSecurityIsRefused(t *testing.T) {
	harm := map[string]func(op *openapi3.Operation){
		"without security":     func(op *openapi3.Operation) { op.Security = nil },
		"without a role":       security(openapi3.SecurityRequirements{{"oauth2": {}}}),
		"with an unknown role": security(openapi3.SecurityRequirements{{"oauth2": {"root"}}}),
		"with two roles": func(op *openapi3.Operation) {
			*op.Security = openapi3.SecurityRequirements{{"oauth2": {"viewer", "admin"}}}
		},
		"with an unknown scheme": security(openapi3.SecurityRequirements{{"basic": {}}}),
		"with a ticket alone":    security(openapi3.SecurityRequirements{{"ticket": {}}}),
		"with nothing to choose": security(openapi3.SecurityRequirements{{}}),
	}
	for name, f := range harm {
		doc := contractOf(t)
		f(doc.Paths.Find("/api/gateways").Get)
		if err := newContract(doc); err == nil || !strings.Contains(err.Error(), "listGateways") {
			t.Errorf("an operation %s: got %v, want an error that names it", name, err)
		}
	}
	if err := newContract(contractOf(t)); err != nil {
		t.Errorf("the contract as it is: %v", err)
	}
}

func TestStaticPaths_AnswerOtherMethodsWith405(t *testing.T) {
	s := start(t)
	s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Admin])
	for path, item := range contract(t).Paths.Map() {
		path = inBraces.ReplaceAllString(path, "1")
		allowed := slices.Collect(maps.Keys(item.Operations()))
		if item.Get != nil {
			allowed = append(allowed, "HEAD")
		}
		slices.Sort(allowed)
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			if slices.Contains(allowed, method) {
				continue
			}
			res := s.send(method, path, token, "")
			if res.StatusCode != 405 || res.Header.Get("Allow") != strings.Join(allowed, ", ") {
				t.Errorf("%s %s: got %d, Allow %q, want 405, %v", method, path, res.StatusCode,
					res.Header.Get("Allow"), allowed)
			}
		}
	}
}
