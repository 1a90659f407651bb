package origin_test

import (
	"net/http/httptest"
	"testing"

	"github.com/oei-ms/oei-ms/internal/origin"
)

func TestNormalize(t *testing.T) {
	for text, want := range map[string]string{
		"https://hmi":             "https://hmi",
		"https://hmi:443":         "https://hmi",
		"https://hmi:0443":        "https://hmi",
		"https://hmi:":            "https://hmi",
		"HTTPS://HMI.Example:443": "https://hmi.example",
		"https://hmi:80":          "https://hmi:80",
		"http://hmi:80":           "http://hmi",
		"http://hmi:443":          "http://hmi:443",
		"http://hmi:8080":         "http://hmi:8080",
		"http://[::1]:80":         "http://[::1]",
		"http://[0:0::1]:8080":    "http://[::1]:8080",
		"":                        "",
		"https://münchen":         "",
		"null":                    "",
		"*":                       "",
		"hmi":                     "",
		"//hmi":                   "",
		"https://":                "",
		"https://:443":            "",
		"https://hmi/":            "",
		"https://hmi?":            "",
		"https://hmi#":            "",
		"https://u@hmi":           "",
		"https://hmi:99999":       "",
		"https://hmi:x":           "",
		"ftp://hmi":               "",
	} {
		if got, ok := origin.Normalize(text); got != want || ok != (want != "") {
			t.Errorf("Normalize(%q) = %q, %v; want %q", text, got, ok, want)
		}
	}
}

func TestAllowed(t *testing.T) {
	for _, tt := range []struct {
		origin, host string
		origins      []string
		want         bool
	}{
		{"", "hmi", nil, true},
		{"https://hmi", "hmi:443", nil, true},
		{"https://hmi:443", "hmi", nil, true},
		{"http://hmi", "hmi:80", nil, true},
		{"https://HMI", "hmi", nil, true},
		{"https://hmi", "hmi:80", nil, false},
		{"http://hmi", "hmi:443", nil, false},
		{"https://hmi:8443", "hmi", nil, false},
		{"https://hmi", "hmi.example", nil, false},
		{"https://hmi", "user@hmi", nil, false},
		{"null", "", nil, false},
		{"null", "null", nil, false},
		{"https://ui", "hmi", []string{"https://ui:443"}, true},
		{"https://ui:443", "hmi", []string{"https://ui"}, true},
		{"https://ui", "hmi", []string{"https://UI"}, true},
		{"http://ui", "hmi", []string{"https://ui"}, false},
		{"https://ui.evil", "hmi", []string{"https://ui"}, false},
		{"garbage", "hmi", []string{"garbage"}, false},
	} {
		r := httptest.NewRequest("GET", "/ws", nil)
		r.Host = tt.host
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		if got := origin.Allowed(r, tt.origins); got != tt.want {
			t.Errorf("origin %q, host %q, allowed %q: got %v", tt.origin, tt.host, tt.origins, got)
		}
	}
}
