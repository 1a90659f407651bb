package server

import (
	"io"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/docs"
)

var hrefs = regexp.MustCompile(`(?:href|src)="([^"]+)"`)

// TestGuide_EveryPageAndLink visits every page of package docs and follows every link that stays on
// this server, to the heading that its fragment names.
func TestGuide_EveryPageAndLink(t *testing.T) {
	visited := map[string]string{}
	visit := func(target string) string {
		if body, ok := visited[target]; ok {
			return body
		}
		res := serveDocs(t, http.MethodGet, target, nil)
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d, error %v", target, res.StatusCode, err)
		}
		visited[target] = string(body)
		return visited[target]
	}
	files, err := fs.Glob(docs.Pages, "*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := fs.Glob(docs.Pages, "operations/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, more...) {
		page := guidePath + guideName(file)
		for _, href := range hrefs.FindAllStringSubmatch(visit(page), -1) {
			target, fragment, _ := strings.Cut(href[1], "#")
			switch {
			case strings.Contains(target, ":"), strings.HasSuffix(target, "openapi.json"),
				strings.HasSuffix(target, "/asyncapi"):
				continue
			case target == "":
				target = page
			default:
				target = path.Join(guidePath, target)
			}
			body := visit(target)
			if fragment != "" && !strings.Contains(body, ` id="`+fragment+`"`) {
				t.Errorf("%s links to %s, which has no heading #%s", page, target, fragment)
			}
		}
	}
}

func TestGuide_Answers(t *testing.T) {
	res := serveDocs(t, http.MethodGet, "/docs/guide/mqtt", nil)
	policy := res.Header.Get("Content-Security-Policy")
	if strings.Contains(policy, "unsafe") || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("the policy of a page is %q", policy)
	}
	for _, target := range []string{
		"/docs/guide", "/docs/guide/", "/docs/guide/unknown", "/docs/guide/mqtt.md",
	} {
		if got := serveDocs(t, http.MethodGet, target, nil).StatusCode; got != http.StatusNotFound {
			t.Errorf("%s: status %d, want 404", target, got)
		}
	}
}

func TestGuide_Links(t *testing.T) {
	tests := map[string]string{
		"[a](operations/install.md)":      `<a href="install">a</a>`,
		"[a](../mqtt.md#topics)":          `<a href="mqtt#topics">a</a>`,
		"[a](README.md)":                  `<a href="index">a</a>`,
		"[a](../openapi.yaml)":            `<a href="../../openapi.json">a</a>`,
		"[a](../asyncapi.yaml)":           `<a href="../../asyncapi">a</a>`,
		"[a](https://example.com/b.md)":   `<a href="https://example.com/b.md">a</a>`,
		"[a](#b)":                         `<a href="#b">a</a>`,
		"[`a` b](../configs/config.go) c": `<p><code>a</code> b c</p>`,
		"[a](../ARCHITECTURE.md)":         `<p>a</p>`,
	}
	for source, want := range tests {
		page, err := renderPage(newGuideMarkdown(), []byte(source))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), want) {
			t.Errorf("%s: got %s, want %s", source, page, want)
		}
	}
}
