package server_test

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/server"
)

// contract returns a copy of the contract of the test's own.
func contract(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := api.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	doc.Servers = nil
	return doc
}

// contractRoutes finds the operation of a request; all tests share it, since reading the contract
// takes time.
var contractRoutes = sync.OnceValues(func() (routers.Router, error) {
	doc, err := api.GetSpec()
	if err != nil {
		return nil, err
	}
	doc.Servers = nil
	return legacy.NewRouter(doc)
})

// checked is a transport that fails the test on an answer that is not as the contract says.
func checked(t *testing.T, next http.RoundTripper) http.RoundTripper {
	t.Helper()
	router, err := contractRoutes()
	if err != nil {
		t.Fatal(err)
	}
	return &checker{t: t, next: next, router: router}
}

type checker struct {
	t      *testing.T
	next   http.RoundTripper
	router routers.Router
}

func (c *checker) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := c.next.RoundTrip(r)
	if err != nil || res.StatusCode == http.StatusSwitchingProtocols {
		return res, err
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	c.check(r, res, body)
	return res, nil
}

// check leaves what is not in the contract, and pages and files, to the tests that ask for them.
func (c *checker) check(r *http.Request, res *http.Response, body []byte) {
	c.t.Helper()
	if res.Header.Get("X-Request-ID") == "" {
		c.t.Errorf("%s %s: the answer has no X-Request-ID", r.Method, r.URL.Path)
	}
	expectRetryAfter(c.t, r.Method+" "+r.URL.Path, res)
	kind := res.Header.Get("Content-Type")
	isJSON := strings.HasSuffix(kind, "json") && kind != "application/x-ndjson"
	if res.StatusCode >= 400 && !isJSON {
		c.t.Errorf("%s %s: %d is of type %q", r.Method, r.URL.Path, res.StatusCode,
			res.Header.Get("Content-Type"))
	}
	for _, inside := range []string{"pq:", "sql:", "SELECT ", "goroutine ", ".go:", "openapi3"} {
		if res.StatusCode >= 400 && bytes.Contains(body, []byte(inside)) {
			c.t.Errorf("%s %s: the answer shows the inside: %s", r.Method, r.URL.Path, body)
		}
	}
	asked := *r
	asked.URL = &url.URL{Path: r.URL.Path}
	route, params, err := c.router.FindRoute(&asked)
	if err != nil {
		return
	}
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request:    r,
			PathParams: params,
			Route:      route,
		},
		Status: res.StatusCode,
		Header: res.Header,
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true,
			MultiError:            true,
			ExcludeResponseBody:   !isJSON || r.Method == http.MethodHead,
		},
	}
	in.SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(r.Context(), in); err != nil {
		c.t.Errorf("%s %s: %d is not as the contract says: %v\n%s", r.Method, r.URL.Path,
			res.StatusCode, err, body)
	}
}

var inBraces = regexp.MustCompile(`\{[^}]+\}`)

func contractOf(t *testing.T) *openapi3.T { return contract(t) }

func newContract(doc *openapi3.T) error {
	_, err := server.NewContract(doc)
	return err
}
