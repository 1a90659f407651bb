package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"

	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// TestOperations_AnnounceTheirDeprecation calls every operation: those that the contract says are
// deprecated announce it, with and without a login, and no other does.
func TestOperations_AnnounceTheirDeprecation(t *testing.T) {
	s := start(t, func(c *config, _ *server.Deps) { c.BasePath = "/oei" })
	s.addSensor(s.addGateway().ID)
	deprecated := 0
	eachOperation(t, func(_, method string, _ *openapi3.PathItem, op *openapi3.Operation) {
		for _, token := range []string{"", s.token(s.users[store.Admin])} {
			res := s.call(method, rows[op.OperationID], token)
			h := res.Header
			if !op.Deprecated {
				if h.Get("Deprecation")+h.Get("Sunset") != "" ||
					strings.Contains(strings.Join(h.Values("Link"), ","), "deprecation") {
					t.Errorf("%s announces a deprecation: %v", op.OperationID, h)
				}
				continue
			}
			deprecated++
			members := op.Extensions["x-deprecation"].(map[string]any)
			since := must(time.Parse(time.DateOnly, members["since"].(string)))
			if want := fmt.Sprintf("@%d", since.Unix()); h.Get("Deprecation") != want {
				t.Errorf("%s: got Deprecation %q, want %q", op.OperationID,
					h.Get("Deprecation"), want)
			}
			guide := "/oei/docs/guide/" + members["guide"].(string)
			want := fmt.Sprintf(`<%s>; rel="deprecation"; type="text/html"`, guide)
			if got := h.Values("Link"); len(got) != 1 || got[0] != want {
				t.Errorf("%s: got Link %q, want %q", op.OperationID, got, want)
			}
			page, heading, _ := strings.Cut(guide, "#")
			body := string(s.send("GET", page, "", "").body)
			if !strings.Contains(body, ` id="`+heading+`"`) {
				t.Errorf("%s: %s has no heading %s", op.OperationID, page, heading)
			}
		}
	})
	if deprecated == 0 {
		t.Error("no operation of the contract is deprecated; plant one here")
	}
}

// The answer that makes a WebSocket has the headers too.
func TestWebSocket_AnnouncesItsDeprecation(t *testing.T) {
	s := start(t)
	v := s.addSensor(s.addGateway().ID)
	token := "Bearer " + s.token(s.users[store.Viewer])
	path := fmt.Sprintf("sensors/%d", v.ID)
	_, old := s.dial("/ws/"+path, "Authorization", token)
	if old.StatusCode != 101 || old.Header.Get("Deprecation") == "" ||
		!strings.Contains(old.Header.Get("Link"), `rel="deprecation"`) ||
		old.Header.Get("X-Request-ID") == "" {
		t.Errorf("/ws/%s: got %d %v", path, old.StatusCode, old.Header)
	}
	_, now := s.dial("/ws?topic="+path, "Authorization", token)
	if now.StatusCode != 101 || now.Header.Get("Deprecation") != "" {
		t.Errorf("/ws: got %d %v", now.StatusCode, now.Header)
	}
}

func TestContract_DeprecationIsComplete(t *testing.T) {
	const since = "2026-12-01"
	type extensions = map[string]any
	for name, test := range map[string]struct {
		deprecated bool
		extensions extensions
		want       string
	}{
		"not deprecated": {false, nil, ""},
		"complete": {
			true, extensions{"x-deprecation": extensions{"since": since, "guide": "live"}}, "",
		},
		"with an end": {
			true, extensions{
				"x-deprecation": extensions{"since": since, "guide": "live"},
				"x-sunset":      "2027-12-01",
			}, "",
		},
		"no extension": {true, nil, "needs both"},
		"no longer so": {
			false, extensions{"x-deprecation": extensions{"since": since}}, "needs both",
		},
		"an end alone": {false, extensions{"x-sunset": since}, "is not deprecated"},
		"no guide": {
			true, extensions{"x-deprecation": extensions{"since": since}}, "needs `guide`",
		},
		"no date": {
			true, extensions{"x-deprecation": extensions{"guide": "live"}}, "needs `since`",
		},
		"another date": {
			true,
			extensions{"x-deprecation": extensions{"since": "soon", "guide": "live"}},
			"needs `since`",
		},
		"an early end": {
			true, extensions{
				"x-deprecation": extensions{"since": since, "guide": "live"}, "x-sunset": since,
			}, "is not after",
		},
	} {
		doc := contract(t)
		op := doc.Paths.Find("/version").Get
		op.Deprecated, op.Extensions = test.deprecated, test.extensions
		err := newContract(doc)
		if test.want == "" && err != nil ||
			test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

// A deprecated list keeps the Link of its next page, which generated code sets after the
// announcement.
func TestDeprecation_KeepsOtherLinks(t *testing.T) {
	const next = `</api/sensors?cursor=x>; rel="next"`
	rec := httptest.NewRecorder()
	c := echo.New().NewContext(httptest.NewRequest(http.MethodGet, "/", nil), rec)
	since := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	server.AnnounceDeprecation(c, since, since.AddDate(1, 0, 0), "live#x")
	c.Response().Header().Set("Link", next)
	c.Response().WriteHeader(http.StatusOK)
	h := rec.Header()
	want := []string{next, `</docs/guide/live#x>; rel="deprecation"; type="text/html"`}
	if got := h.Values("Link"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Link: got %q, want %q", got, want)
	}
	if h.Get("Deprecation") != "@1796083200" ||
		h.Get("Sunset") != "Wed, 01 Dec 2027 00:00:00 GMT" {
		t.Errorf("got %v", h)
	}
}
