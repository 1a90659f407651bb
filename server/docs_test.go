package server

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// serveDocs answers one request to the documentation pages; other paths are 404.
func serveDocs(t *testing.T, method, target string, header http.Header) *http.Response {
	t.Helper()
	h, err := docsHandler(http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(method, target, nil)
	for k, v := range header {
		r.Header[k] = v
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestDocs_MatchTheirSums(t *testing.T) {
	sums, err := docsFiles.ReadFile("docs/SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(sums))
	for lines.Scan() {
		want, name, _ := strings.Cut(lines.Text(), "  ")
		res := serveDocs(t, http.MethodGet, "/docs/assets/"+name, nil)
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d, error %v", name, res.StatusCode, err)
		}
		sum := sha256.Sum256(body)
		if got := hex.EncodeToString(sum[:]); got != want {
			t.Errorf("%s has the sum %s, want %s", name, got, want)
		}
	}
}

func TestDocs_PagesReferOnlyToServedFiles(t *testing.T) {
	reference := regexp.MustCompile(`(?:src|href)="([^"]+)"|from '\./([^']+)'`)
	for _, page := range []string{
		"/docs", "/redoc", "/asyncapi", "/docs/assets/redoc-init.js",
		"/docs/assets/asyncapi-init.js",
	} {
		res := serveDocs(t, http.MethodGet, page, nil)
		body, _ := io.ReadAll(res.Body)
		for _, m := range reference.FindAllStringSubmatch(string(body), -1) {
			target := "/" + m[1]
			if m[2] != "" {
				target = "/docs/assets/" + m[2]
			}
			if m[1] == "data:," || m[1] == "openapi.json" ||
				m[1] == "asyncapi.yaml" {
				continue
			}
			if got := serveDocs(t, http.MethodGet, target, nil).StatusCode; got != http.StatusOK {
				t.Errorf("%s asks for %s, which answers %d", page, target, got)
			}
		}
	}
}

func TestDocs_Answers(t *testing.T) {
	const script = "/docs/assets/swagger-ui-5.35.0.js"
	tag := serveDocs(t, http.MethodGet, "/docs", nil).Header.Get("ETag")
	tests := map[string]struct {
		method, target string
		header         http.Header
		status         int
		want           http.Header // nil value: absent
	}{
		"a page is revalidated each time": {
			http.MethodGet, "/docs", nil, http.StatusOK,
			http.Header{
				"Content-Type": {"text/html; charset=utf-8"}, "Cache-Control": {"no-cache"},
				"Content-Security-Policy": {docsPolicy},
			},
		},
		"a page with the known tag is not sent again": {
			http.MethodGet, "/docs",
			http.Header{"If-None-Match": {tag}},
			http.StatusNotModified,
			nil,
		},
		"a client that accepts gzip gets the file as it is stored": {
			http.MethodGet, script,
			http.Header{"Accept-Encoding": {"br;q=1.0, gzip;q=0.8"}},
			http.StatusOK,
			http.Header{
				"Content-Encoding": {"gzip"}, "Vary": {"Accept-Encoding"},
				"Cache-Control": {"public, max-age=31536000, immutable"},
			},
		},
		"a client that refuses gzip gets the file uncompressed": {
			http.MethodGet, script,
			http.Header{"Accept-Encoding": {"gzip;q=0, *"}},
			http.StatusOK,
			http.Header{
				"Content-Encoding": nil, "Vary": {"Accept-Encoding"},
				"Content-Type": {"text/javascript; charset=utf-8"},
			},
		},
		"HEAD answers as GET, without a body": {http.MethodHead, "/redoc", nil, http.StatusOK, nil},
		"a write is not found": {
			http.MethodPost, "/docs", nil, http.StatusNotFound, nil,
		},
		"a page is not served as an asset": {
			http.MethodGet, "/docs/assets/docs.html", nil, http.StatusNotFound, nil,
		},
		"an unknown asset is not found": {
			http.MethodGet, "/docs/assets/nothing.js", nil, http.StatusNotFound, nil,
		},
		"a path cannot leave the folder": {
			http.MethodGet, "/docs/assets/../docs.go", nil, http.StatusNotFound, nil,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := serveDocs(t, tt.method, tt.target, tt.header)
			if res.StatusCode != tt.status {
				t.Errorf("status is %d, want %d", res.StatusCode, tt.status)
			}
			for k, want := range tt.want {
				if got := res.Header.Get(k); want == nil && got != "" || want != nil &&
					got != want[0] {
					t.Errorf("%s is %q, want %q", k, got, want)
				}
			}
		})
	}
}
