package docs

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of metrics instead of comparing it")

const (
	metricsPage   = "operations/monitoring.md"
	metricsMarker = "<!-- The rest is generated from the code by ./task gen:docs. -->\n"
)

var (
	metricName    = regexp.MustCompile(`^(oei|http|websocket)_[a-z0-9_]+$`)
	metricMention = regexp.MustCompile("`(oei_[a-z_0-9]+)`")
	metricKind    = regexp.MustCompile(`(?i)counter|gauge|histogram`)
)

// withoutMetrics are folders whose code creates no metrics of the server.
var withoutMetrics = []string{"gen", "bench", "e2e", "tools"}

type metric struct{ kind, labels, help string }

// TestMetrics_TableIsCurrent compares the table of metrics with the metrics that the code creates.
func TestMetrics_TableIsCurrent(t *testing.T) {
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	intro, current, found := strings.Cut(string(page), metricsMarker)
	if !found {
		t.Fatalf("%s has no line %q", metricsPage, metricsMarker)
	}
	metrics := codeMetrics(t)
	var table strings.Builder
	table.WriteString("\n| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		m := metrics[name]
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", name, m.kind, m.labels, m.help)
	}
	switch {
	case current == table.String():
	case *update:
		text := intro + metricsMarker + table.String()
		if err := os.WriteFile(metricsPage, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is stale; run ./task gen:docs and commit the result", metricsPage)
	}
}

// TestMetrics_MentionedExist checks that every metric named in the documentation exists.
func TestMetrics_MentionedExist(t *testing.T) {
	metrics := codeMetrics(t)
	for _, file := range markdownFiles(t) {
		if filepath.Base(file) == "CHANGELOG.md" { // names metrics of the past
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, mention := range metricMention.FindAllStringSubmatch(string(text), -1) {
			if _, ok := metrics[mention[1]]; !ok && mention[1] != "oei_ms" {
				t.Errorf("%s names the metric %s, which does not exist", file, mention[1])
			}
		}
	}
}

// codeMetrics returns the metrics that the code of this repository creates, by name.
func codeMetrics(t *testing.T) map[string]metric {
	metrics := map[string]metric{}
	err := filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains(withoutMetrics, entry.Name()):
			return fs.SkipDir
		case filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(source, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				addMetric(metrics, call)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return metrics
}

// addMetric adds the metric that the call creates, if it does: newCounter(name, help, …) or
// NewCounterVec(CounterOpts{Name: name, Help: help}, labels).
func addMetric(metrics map[string]metric, call *ast.CallExpr) {
	function := ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		function = f.Name
	case *ast.SelectorExpr:
		function = f.Sel.Name
	}
	m := metric{kind: strings.ToLower(metricKind.FindString(function))}
	if m.kind == "" || len(call.Args) == 0 {
		return
	}
	var name string
	if options, ok := call.Args[0].(*ast.CompositeLit); ok {
		for _, element := range options.Elts {
			field, ok := element.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			switch key, _ := field.Key.(*ast.Ident); key.Name {
			case "Name":
				name = text(field.Value)
			case "Help":
				m.help = text(field.Value)
			}
		}
	} else if name = text(call.Args[0]); len(call.Args) > 1 {
		m.help = text(call.Args[1])
	}
	for _, argument := range call.Args[1:] {
		if labels, ok := argument.(*ast.CompositeLit); ok {
			var names []string
			for _, label := range labels.Elts {
				names = append(names, "`"+text(label)+"`")
			}
			m.labels = strings.Join(names, ", ")
		}
	}
	if metricName.MatchString(name) {
		metrics[name] = m
	}
}

// text returns the value of a string constant, which may be joined by +; "" for other expressions.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		if err == nil {
			return s
		}
	case *ast.BinaryExpr:
		return text(e.X) + text(e.Y)
	}
	return ""
}
