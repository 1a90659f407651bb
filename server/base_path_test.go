package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// hop is a reverse proxy on the way from a client to the server.
type hop struct {
	path   string // the proxy answers below it
	strips bool   // takes the path off
	says   bool   // sends it as X-Forwarded-Prefix
}

// proxies starts the hops, the outermost first, and returns the address of the outermost.
func (s *system) proxies(hops ...hop) string {
	s.t.Helper()
	target := must(url.Parse(s.url))
	for _, h := range slices.Backward(hops) {
		to := target
		proxy := &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(to)
				r.Out.Host = r.In.Host
				path := r.In.URL.Path
				if h.strips {
					path = "/" + strings.TrimPrefix(strings.TrimPrefix(path, h.path), "/")
				}
				r.Out.URL.Path, r.Out.URL.RawPath = path, ""
				if h.says {
					r.Out.Header["X-Forwarded-Prefix"] = append(
						r.In.Header["X-Forwarded-Prefix"], h.path)
				}
			},
		}
		front := httptest.NewServer(http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != h.path && !strings.HasPrefix(r.URL.Path, h.path+"/") {
					s.t.Errorf("the proxy of %s was asked for %s", h.path, r.URL.Path)
					http.NotFound(w, r)
					return
				}
				proxy.ServeHTTP(w, r)
			}))
		s.t.Cleanup(front.Close)
		target = must(url.Parse(front.URL))
	}
	return target.String()
}

// visitor follows the addresses in answers as a client behind the proxies does.
type visitor struct {
	*system
	prefix string // before every path
	host   string // of the outermost proxy
	token  string
	seen   map[string]bool
}

// get requests an address, which must be below the prefix, and returns its answer.
func (v *visitor) get(from, address string) answer {
	v.t.Helper()
	u := must(must(url.Parse(v.host + from)).Parse(address))
	if u.Scheme+"://"+u.Host != v.host || !strings.HasPrefix(u.Path, v.prefix+"/") {
		v.t.Errorf("%s leads to %s, which is not below %s", from, u, v.prefix)
		return answer{Response: &http.Response{Header: http.Header{}}}
	}
	return v.ask("GET", u.RequestURI(), "")
}

func (v *visitor) ask(method, path, body string) answer {
	v.t.Helper()
	direct := *v.system
	direct.url = v.host
	direct.http = &http.Client{CheckRedirect: v.http.CheckRedirect}
	defer direct.http.CloseIdleConnections()
	return direct.send(method, path, v.token, body)
}

var (
	references = regexp.MustCompile(`(?:href|src)="([^"]+)"`)
	imports    = regexp.MustCompile(`from '([^']+)'`)
	fetches    = regexp.MustCompile(`(?:fetch\(|url: )'([^']+)'`)
	inMarkdown = regexp.MustCompile(`\]\(([a-z/][a-z/.:_-]*)\)`)
)

// crawl visits a page and all that it refers to.
func (v *visitor) crawl(page string) {
	v.t.Helper()
	if v.seen[page] {
		return
	}
	v.seen[page] = true
	res := v.get(page, page)
	if res.StatusCode != http.StatusOK {
		v.t.Errorf("%s: got %d", page, res.StatusCode)
		return
	}
	isPage := strings.HasPrefix(res.Header.Get("Content-Type"), "text/html")
	isInit := strings.HasSuffix(page, "-init.js")
	var found [][]string
	switch {
	case isPage:
		found = references.FindAllStringSubmatch(string(res.body), -1)
	case isInit:
		found = imports.FindAllStringSubmatch(string(res.body), -1)
		for _, m := range fetches.FindAllStringSubmatch(string(res.body), -1) {
			// relative to the page that runs the script
			v.crawl(must(url.Parse(v.host+v.prefix+"/docs")).JoinPath("..", m[1]).Path)
		}
	}
	for _, m := range found {
		target := must(must(url.Parse(v.host + page)).Parse(m[1]))
		if target.Scheme+"://"+target.Host == v.host {
			v.crawl(target.Path)
		}
	}
}

// fill adds two items to every list.
func (v *visitor) fill() {
	gateway := v.addGateway()
	sensor := v.addSensor(gateway.ID)
	for range 2 {
		atUser(v.system)
		atRoute(v.system)
		atSilence("")(v.system)
		atDelivery(v.system)
		v.send("POST", atAlarm("/comments")(v.system), v.token, `{"comment":"x"}`)
		v.call("POST", rows["createAPIKey"], v.token)
		at := time.Now().AddDate(0, -6, 0)
		v.addReadings(v.addSensor(gateway.ID).ID, 1, at)
		for i := range 2 {
			v.addReadings(sensor.ID, 2, at.AddDate(0, i, 0))
		}
	}
	for range 2 {
		v.send("POST", "/api/alarms/1/comments", v.token, `{"comment":"x"}`)
		v.made++
		v.refuse(store.Rejection{
			GatewayID: gateway.ID,
			Gateway:   gateway.Key,
			Topic:     fmt.Sprint("topic ", v.made),
			Reason:    "malformed",
			At:        time.Now(),
		})
	}
	v.send("PUT", fmt.Sprint("/api/sensors/", sensor.ID), v.token, `{"retention_days":50}`)
}

// TestBasePath_EveryAddressIsRight follows every address that the server gives away, through the
// proxies of a client that sees it below a path.
func TestBasePath_EveryAddressIsRight(t *testing.T) {
	tests := map[string]struct {
		basePath string
		hops     []hop
		prefix   string
	}{
		"no proxy":                   {"", nil, ""},
		"a proxy at the root":        {"", []hop{{"", true, false}}, ""},
		"a proxy strips and says so": {"", []hop{{"/oei", true, true}}, "/oei"},
		"a proxy strips":             {"/oei", []hop{{"/oei", true, false}}, "/oei"},
		"a proxy does not strip":     {"/oei/", []hop{{"/oei", false, false}}, "/oei"},
		"a proxy says but does not strip": {
			"/oei", []hop{{"/oei", false, true}}, "/oei",
		},
		"a proxy says, the base path repeats it": {
			"/oei", []hop{{"/oei", true, true}}, "/oei",
		},
		"two proxies strip": {
			"",
			[]hop{{"/plant", true, true}, {"/a/oei.1", true, true}},
			"/plant/a/oei.1",
		},
		"the inner of two proxies does not strip": {
			"/oei", []hop{{"/plant", true, true}, {"/oei", false, false}}, "/plant/oei",
		},
		"like a path of the service": {"", []hop{{"/api", true, true}}, "/api"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(c *config, _ *server.Deps) {
				c.BasePath, c.TrustedProxies = test.basePath, []string{"127.0.0.1"}
			})
			v := &visitor{
				system: s,
				prefix: test.prefix,
				host:   s.proxies(test.hops...),
				token:  s.token(s.users[store.Admin]),
				seen:   map[string]bool{},
			}
			v.expectPages()
			v.expectContract()
			v.fill()
			v.expectOperations()
			v.expectWebSocket()
		})
	}
}

func (v *visitor) expectPages() {
	v.t.Helper()
	starts := []string{v.prefix + "/"}
	if v.prefix != "" {
		starts = append(starts, v.prefix)
	}
	for _, root := range starts {
		for _, method := range []string{"GET", "HEAD"} {
			res := v.ask(method, root, "")
			if got := res.Header.Get("Location"); res.StatusCode != 302 || got != v.prefix+"/docs" {
				v.t.Fatalf("%s %q: got %d to %q", method, root, res.StatusCode, got)
			}
		}
	}
	v.crawl(v.prefix + "/docs")
	v.crawl(v.prefix + "/redoc")
	v.crawl(v.prefix + "/asyncapi")
	for _, page := range []string{
		"/docs/guide/index", "/docs/guide/api", "/openapi.json", "/asyncapi.json",
	} {
		if !v.seen[v.prefix+page] {
			v.t.Errorf("no page leads to %s", page)
		}
	}
	if res := v.ask("GET", v.prefix+"/docs/guide/nothing", ""); res.StatusCode != 404 ||
		!strings.Contains(res.problem().Detail, " "+v.prefix+"/docs.") {
		v.t.Errorf("an unknown page: got %d %s", res.StatusCode, res.body)
	}
}

func (v *visitor) expectContract() {
	v.t.Helper()
	res := v.ask("GET", v.prefix+"/openapi.json", "")
	var doc openapi3.T
	if err := json.Unmarshal(res.body, &doc); err != nil {
		v.t.Fatal(err)
	}
	if want := "/" + strings.TrimPrefix(v.prefix, "/"); doc.Servers[0].URL != want {
		v.t.Errorf("servers: got %s, want %s", doc.Servers[0].URL, want)
	}
	flow := doc.Components.SecuritySchemes["oauth2"].Value.Flows.Password
	if flow.TokenURL != v.prefix+"/api/auth/login" ||
		flow.RefreshURL != v.prefix+"/api/auth/refresh" {
		v.t.Errorf("got the addresses %s and %s", flow.TokenURL, flow.RefreshURL)
	}
	var async struct {
		Servers struct {
			Live struct{ Pathname string }
		}
	}
	text := v.ask("GET", v.prefix+"/asyncapi.json", "").body
	if err := json.Unmarshal(text, &async); err != nil || async.Servers.Live.Pathname != v.prefix {
		v.t.Errorf("asyncapi.json: got %v, pathname %q", err, async.Servers.Live.Pathname)
	}
	if strings.Contains(string(res.body), "{{") {
		v.t.Error("a mark was left in the contract")
	}
	for _, m := range inMarkdown.FindAllStringSubmatch(string(res.body), -1) {
		if !strings.Contains(m[1], "://") {
			v.crawl(must(must(url.Parse(v.host + v.prefix + "/redoc")).Parse(m[1])).Path)
		}
	}
}

// expectOperations follows each Location and Link that the contract has.
func (v *visitor) expectOperations() {
	v.t.Helper()
	eachOperation(v.t, func(_, method string, _ *openapi3.PathItem, op *openapi3.Operation) {
		for status, declared := range op.Responses.Map() {
			headers := declared.Value.Headers
			switch r := rows[op.OperationID]; {
			case headers["Location"] != nil && status == "201":
				v.made++
				path := r.path(v.system)
				res := v.ask(method, v.prefix+path, strings.ReplaceAll(r.body, "NEW",
					fmt.Sprintf("new-%d", v.made)))
				made := v.get(v.prefix+path, res.Header.Get("Location"))
				if res.StatusCode != 201 || made.StatusCode != 200 {
					v.t.Errorf("%s: got %d, then %d at %q", op.OperationID, res.StatusCode,
						made.StatusCode, res.Header.Get("Location"))
				}
			case headers["Link"] != nil:
				v.expectLink(op.OperationID)
			}
		}
	})
}

// listsOfOne are the lists whose row is about something new.
var listsOfOne = map[string]string{
	"listReadings":       "/api/data?sensor_id=1",
	"listEventsForAlarm": "/api/alarms/1/events",
}

func (v *visitor) expectLink(operation string) {
	v.t.Helper()
	path, ok := listsOfOne[operation]
	if !ok {
		path = rows[operation].path(v.system)
	}
	path = v.prefix + path
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	first := v.ask("GET", path+separator+"limit=1", "")
	address, rest, _ := strings.Cut(strings.TrimPrefix(first.Header.Get("Link"), "<"), ">")
	if rest != `; rel="next"` {
		v.t.Errorf("%s: got Link %q", operation, first.Header.Get("Link"))
		return
	}
	second := v.get(path, address)
	if second.StatusCode != 200 || string(second.body) == string(first.body) {
		v.t.Errorf("%s: got %d %s after %s", operation, second.StatusCode, second.body, first.body)
	}
}

func (v *visitor) expectWebSocket() {
	v.t.Helper()
	header := http.Header{"Authorization": {"Bearer " + v.token}}
	conn, res, err := websocket.DefaultDialer.Dial(
		strings.Replace(v.host, "http", "ws", 1)+v.prefix+"/ws/sensors/1", header)
	if err != nil {
		v.t.Fatalf("got %v, %v", res, err)
	}
	defer conn.Close()
	expect(v.t, conn, "subscribed")
}
