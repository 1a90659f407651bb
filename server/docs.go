package server

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

// docsFiles are Swagger UI, Redoc, their licenses, their three pages and the style of the guide.
// SHA256SUMS has the sums of the third-party files.
//
//go:embed docs
var docsFiles embed.FS

// docsPolicy lets the pages load from this server only. Swagger UI sets style attributes.
const docsPolicy = "default-src 'none'; script-src 'self'; " +
	"style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// docsFile is a file of the documentation. When zipped, body is gzip.
type docsFile struct {
	name   string
	body   []byte
	zipped bool
	etag   string // without quotes
	policy string // Content-Security-Policy
}

// docsHandler serves /docs, /redoc, /asyncapi, /docs/assets/{file} and /docs/guide/{page}; every
// other path and method goes to notFound.
func docsHandler(notFound http.Handler) (http.Handler, error) {
	files, err := readDocs()
	if err != nil {
		return nil, err
	}
	guide, err := readGuide()
	if err != nil {
		return nil, err
	}
	pages := map[string]string{
		"/docs":     "docs.html",
		"/redoc":    "redoc.html",
		"/asyncapi": "asyncapi.html",
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ok := pages[r.URL.Path]
		if !ok {
			name, ok = strings.CutPrefix(r.URL.Path, "/docs/assets/")
			ok = ok && path.Ext(name) != ".html"
		}
		f, found := files[name]
		if page, isGuide := strings.CutPrefix(r.URL.Path, guidePath); isGuide {
			f, found = guide[page]
			ok = found
		}
		if !ok || !found || r.Method != http.MethodGet && r.Method != http.MethodHead {
			notFound.ServeHTTP(w, r)
			return
		}
		f.ServeHTTP(w, r)
	}), nil
}

// readDocs returns the embedded files by the name that requests use.
func readDocs() (map[string]docsFile, error) {
	entries, err := docsFiles.ReadDir("docs")
	if err != nil {
		return nil, fmt.Errorf("read docs: %w", err)
	}
	files := make(map[string]docsFile, len(entries))
	for _, e := range entries {
		body, err := docsFiles.ReadFile("docs/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("read docs: %w", err)
		}
		sum := sha256.Sum256(body)
		name, zipped := strings.CutSuffix(e.Name(), ".gz")
		files[name] = docsFile{
			name:   name,
			body:   body,
			zipped: zipped,
			etag:   hex.EncodeToString(sum[:8]),
			policy: docsPolicy,
		}
	}
	return files, nil
}

// readGuide returns the pages of the guide by their name.
func readGuide() (map[string]docsFile, error) {
	pages, err := renderGuide()
	if err != nil {
		return nil, fmt.Errorf("render guide: %w", err)
	}
	files := make(map[string]docsFile, len(pages))
	for name, body := range pages {
		sum := sha256.Sum256(body)
		files[name] = docsFile{
			name:   name + ".html",
			body:   body,
			etag:   hex.EncodeToString(sum[:8]),
			policy: guidePolicy,
		}
	}
	return files, nil
}

// ServeHTTP sends the file, gzipped if it is stored so and the client accepts it. A gzipped file
// has its version in its name, so browsers may cache it for ever; others are revalidated each time.
func (f docsFile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", f.policy)
	h.Set("Content-Type", contentType(f.name))
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", `"`+f.etag+`"`)
	body := f.body
	if f.zipped {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header.Values("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			h.Set("ETag", `"`+f.etag+`-gzip"`)
		} else {
			var err error
			// cannot happen: the tests read every file
			if body, err = unzip(body); err != nil {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
		}
	}
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(body))
}

func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	default:
		return "text/plain; charset=utf-8"
	}
}

// acceptsGzip reports whether Accept-Encoding names gzip, or anything, with a weight above zero
// (RFC 9110 section 12.5.3).
func acceptsGzip(headers []string) bool {
	named, anything := -1.0, -1.0
	for part := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		coding, params, _ := strings.Cut(part, ";")
		weight := 1.0
		if q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(params)), "q="); ok {
			weight, _ = strconv.ParseFloat(q, 64) // a weight that is not a number counts as 0
		}
		switch strings.ToLower(strings.TrimSpace(coding)) {
		case "gzip", "x-gzip":
			named = weight
		case "*":
			anything = weight
		}
	}
	return named > 0 || named < 0 && anything > 0
}

func unzip(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
