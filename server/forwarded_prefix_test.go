package server_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/server"
)

// TestForwardedPrefix_TrustsOnlyWhatItMay asks for the redirect of the root with prefixes that are
// forged or malformed; they have no effect.
func TestForwardedPrefix_TrustsOnlyWhatItMay(t *testing.T) {
	configured := func(basePath string, proxies ...string) *system {
		return start(t, func(c *config, _ *server.Deps) {
			c.BasePath, c.TrustedProxies = basePath, proxies
		})
	}
	plain, based := configured(""), configured("/oei")
	trusting, other := configured("", "127.0.0.1"), configured("", "10.0.0.1")
	both := configured("/oei", "127.0.0.1")
	tests := []struct {
		name   string
		server *system
		path   string
		prefix []string
		want   string
	}{
		{"by anybody", plain, "/", []string{"/evil"}, "/docs"},
		{"by another than a proxy", other, "/", []string{"/evil"}, "/docs"},
		{"by anybody, with a base path", based, "/oei/", []string{"/evil"}, "/oei/docs"},
		{"of a proxy", trusting, "/", []string{"/oei"}, "/oei/docs"},
		{"a slash at the end", trusting, "/", []string{"/oei/"}, "/oei/docs"},
		{"two headers", trusting, "/", []string{"/a", "/b"}, "/a/b/docs"},
		{"two in one header", trusting, "/", []string{"/a, /b"}, "/a/b/docs"},
		{"empty", trusting, "/", []string{""}, "/docs"},
		{"the root", trusting, "/", []string{"/"}, "/docs"},
		{"the root, then a path", trusting, "/", []string{"/", "/evil"}, "/evil/docs"},
		{"another host", trusting, "/", []string{"//evil"}, "/docs"},
		{"an empty segment", trusting, "/", []string{"/a//b"}, "/docs"},
		{"two slashes at the end", trusting, "/", []string{"/a//"}, "/docs"},
		{"an address", trusting, "/", []string{"https://evil"}, "/docs"},
		{"no slash in front", trusting, "/", []string{"evil"}, "/docs"},
		{"upwards", trusting, "/", []string{"/a/.."}, "/docs"},
		{"here", trusting, "/", []string{"/./a"}, "/docs"},
		{"escaped dots", trusting, "/", []string{"/%2e%2e"}, "/docs"},
		{"an escaped slash", trusting, "/", []string{"/a%2fb"}, "/docs"},
		{"escaped line ends", trusting, "/", []string{"/a%0d%0ab"}, "/docs"},
		{"a backslash", trusting, "/", []string{`/\evil`}, "/docs"},
		{"markup", trusting, "/", []string{`/"><script>`}, "/docs"},
		{"a link", trusting, "/", []string{"/a>; rel=x"}, "/docs"},
		{"a query", trusting, "/", []string{"/a?b"}, "/docs"},
		{"a fragment", trusting, "/", []string{"/a#b"}, "/docs"},
		{"a template", trusting, "/", []string{"/{{server}}"}, "/docs"},
		{"a tab", trusting, "/", []string{"/a\tb"}, "/docs"},
		{"no ASCII", trusting, "/", []string{"/ä"}, "/docs"},
		{"2,000 characters", trusting, "/", []string{"/" + strings.Repeat("x", 1999)}, "/docs"},
		{
			"205 characters together", trusting, "/", slices.Repeat([]string{"/abcd"}, 41), "/docs",
		},
		{"one good, one bad", trusting, "/", []string{"/a", "//b"}, "/docs"},
		{"bad, with a base path", both, "/oei", []string{"//b"}, "/oei/docs"},
		{"outside of the base path", based, "/", nil, "/oei/docs"},
		{"the base path without a slash", based, "/oei", nil, "/oei/docs"},
		{"the base path in escapes", based, "/%6fei/", nil, ""},
		{"more than the base path", based, "/oeix/", nil, ""},
		{"the base path twice", based, "/oei/oei/", nil, ""},
		{"an empty segment after the base path", based, "/oei//evil", nil, ""},
		{"upwards from the base path", based, "/oei/../", nil, ""},
		{"two slashes", based, "//oei/", nil, ""},
	}
	for _, test := range tests {
		for _, method := range []string{"GET", "HEAD"} {
			req := must(http.NewRequestWithContext(t.Context(), method,
				test.server.url+test.path, nil))
			req.Header["X-Forwarded-Prefix"] = test.prefix
			res := must(test.server.http.Do(req))
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if got := res.Header.Get("Location"); got != test.want {
				t.Errorf("%s, %s: got %d to %q, want %q", test.name, method, res.StatusCode, got,
					test.want)
			}
		}
	}
	res, _ := trusting.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" +
		"X-Forwarded-Prefix: /a\r\n Set-Cookie: b=c\r\n\r\n")
	if got := res.Header.Get("Location"); got != "" && got != "/docs" || len(res.Cookies()) > 0 {
		t.Errorf("a folded line: got %v", res.Header)
	}
	if got := strings.Count(trusting.log.String(), "forwarded prefix ignored"); got != 1 {
		t.Errorf("the log has it %d times, want once in a minute", got)
	}
	if strings.Contains(plain.log.String(), "forwarded prefix") {
		t.Error("what a client forges is logged")
	}
}

func TestBasePath_Setting(t *testing.T) {
	for path, want := range map[string]string{
		"":             "",
		"/":            "",
		"/oei":         "",
		"/oei/":        "",
		"/plant-1/oei": "",
		"oei":          "is not a path",
		"//oei":        "is not a path",
		"/oei//":       "is not a path",
		"/a b":         "is not a path",
		"/../x":        "is not a path",
		"/%61":         "is not a path",
		"/oei?x":       "is not a path",
		"/api":         "the service has addresses that begin with /api",
		"/docs/x/":     "the service has addresses that begin with /docs",
		"/ws":          "the service has addresses that begin with /ws",

		"/" + strings.Repeat("x", 200): "use at most 200",
	} {
		cfg := server.DefaultConfig()
		cfg.BasePath = path
		err := cfg.Validate()
		if want == "" && err != nil || want != "" && (err == nil ||
			!strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "OEI_SERVER_BASE_PATH: ")) {
			t.Errorf("%q: got %v, want %q", path, err, want)
		}
	}
}

// Clients that see the service below different paths ask for the contract in turn.
func TestForwardedPrefix_ContractOfEachClient(t *testing.T) {
	s := start(t, func(c *config, _ *server.Deps) { c.TrustedProxies = []string{"127.0.0.1"} })
	tags := map[string]string{}
	for range 2 {
		for prefix, want := range map[string]string{
			"": `"url":"/"`, "/a/b": `"url":"/a/b"`, "/a.b": `"url":"/a.b"`,
		} {
			res := s.send("GET", "/openapi.json", "", "", "X-Forwarded-Prefix", prefix)
			if !strings.Contains(string(res.body), want) {
				t.Errorf("%q: the contract has no %s", prefix, want)
			}
			tag := res.Header.Get("ETag")
			tags[tag] = prefix
			if got := s.send("GET", "/openapi.json", "", "", "X-Forwarded-Prefix", prefix,
				"If-None-Match", tag).StatusCode; got != http.StatusNotModified {
				t.Errorf("%q: got %d for its ETag", prefix, got)
			}
		}
	}
	if len(tags) != 3 {
		t.Errorf("got the ETags %v, want one for each path", tags)
	}
}
