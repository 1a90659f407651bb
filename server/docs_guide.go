package server

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"github.com/oei-ms/oei-ms/docs"
)

// guidePolicy lets the pages of the guide load styles and pictures of this server only.
const guidePolicy = "default-src 'none'; style-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guidePath is where the pages of the guide are; the page of docs/README.md is guideIndex.
const (
	guidePath  = "/docs/guide/"
	guideIndex = "index"
)

var guideLayout = template.Must(template.New("guide").Parse(`<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{{.Title}} – OEI-MS</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="../assets/guide.css">
</head>
<body>
  <nav>
    <a href="index">Guide</a>
    <a href="../../redoc">API reference</a>
    <a href="../../docs">Try the API</a>
    <a href="../../asyncapi">MQTT and WebSocket</a>
  </nav>
  <main>
{{.Body}}  </main>
</body>
</html>
`))

// renderGuide returns the pages of package docs as HTML by their name, such as mqtt.
func renderGuide() (map[string][]byte, error) {
	markdown := newGuideMarkdown()
	pages := map[string][]byte{}
	err := fs.WalkDir(docs.Pages, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		source, err := docs.Pages.ReadFile(file)
		if err != nil {
			return err
		}
		name := guideName(file)
		if pages[name] != nil {
			return fmt.Errorf("two pages are named %s", name)
		}
		pages[name], err = renderPage(markdown, source)
		return err
	})
	return pages, err
}

func newGuideMarkdown() goldmark.Markdown {
	return goldmark.New(
		goldmark.WithExtensions(extension.Table),
		goldmark.WithParserOptions(
			parser.WithAutoHeadingID(),
			parser.WithASTTransformers(util.Prioritized(guideLinks{}, 0)),
		),
	)
}

func renderPage(markdown goldmark.Markdown, source []byte) ([]byte, error) {
	var body, page bytes.Buffer
	if err := markdown.Convert(source, &body); err != nil {
		return nil, err
	}
	title, _, _ := strings.Cut(string(source), "\n")
	err := guideLayout.Execute(&page, map[string]any{
		"Title": strings.TrimPrefix(title, "# "),
		"Body":  template.HTML(body.String()), // rendered from our own files
	})
	return page.Bytes(), err
}

// guideName returns the name under which a Markdown file is served.
func guideName(file string) string {
	name := strings.TrimSuffix(path.Base(file), ".md")
	if name == "README" {
		return guideIndex
	}
	return name
}

// guideLinks points links at served pages, and replaces links to other files of the repository by
// their text.
type guideLinks struct{}

func (guideLinks) Transform(document *ast.Document, _ text.Reader, _ parser.Context) {
	var links []*ast.Link
	_ = ast.Walk(document, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if link, ok := n.(*ast.Link); ok && entering {
			links = append(links, link)
		}
		return ast.WalkContinue, nil
	})
	for _, link := range links {
		target, fragment, _ := strings.Cut(string(link.Destination), "#")
		switch {
		case target == "" || strings.Contains(target, "://"):
		case path.Base(target) == "openapi.yaml":
			link.Destination = []byte("../../openapi.json")
		case path.Base(target) == "asyncapi.yaml":
			link.Destination = []byte("../../asyncapi")
		case isGuidePage(target):
			destination := guideName(target)
			if fragment != "" {
				destination += "#" + fragment
			}
			link.Destination = []byte(destination)
		default:
			replaceByChildren(link)
		}
	}
}

// isGuidePage reports whether a relative link leads to a page of package docs.
func isGuidePage(target string) bool {
	if path.Ext(target) != ".md" {
		return false
	}
	for _, folder := range []string{"", "operations"} {
		if _, err := fs.Stat(docs.Pages, path.Join(folder, path.Base(target))); err == nil {
			return true
		}
	}
	return false
}

func replaceByChildren(link *ast.Link) {
	parent := link.Parent()
	for child := link.FirstChild(); child != nil; {
		next := child.NextSibling()
		parent.InsertBefore(parent, link, child)
		child = next
	}
	parent.RemoveChild(parent, link)
}
