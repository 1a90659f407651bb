package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maxExampleLines bounds the code of an example, without imports, comments, blank lines and lines
// of closing brackets.
const maxExampleLines = 40

var (
	quotedFile = regexp.MustCompile("(?s)<!-- (examples/[^ ]+) -->\n(\n```[a-z]*\n.*?\n```\n)?")
	imports    = regexp.MustCompile(`(?s)\nimport \(.*?\n\)|(?m)^(import|from) .*$`)
	comment    = regexp.MustCompile(`(?s)""".*?"""|(?m)^\s*(//|#).*$`)
	closing    = regexp.MustCompile(`^[\s)}\]>;,]*$`)
)

var languages = map[string]string{".go": "go", ".py": "python", ".mjs": "js", ".html": "html"}

// TestExamples_AreQuoted holds the code in the guides to the files of examples/, which tests run.
func TestExamples_AreQuoted(t *testing.T) {
	quoted := map[string]bool{}
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		before, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		after := quotedFile.ReplaceAllStringFunc(string(before), func(quote string) string {
			name := quotedFile.FindStringSubmatch(quote)[1]
			quoted[filepath.Base(filepath.Dir(name))+"/"+filepath.Base(name)] = true
			source, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
			if err != nil {
				t.Error(err)
				return quote
			}
			language := languages[filepath.Ext(name)]
			return "<!-- " + name + " -->\n\n```" + language + "\n" + string(source) + "```\n"
		})
		if after == string(before) {
			continue
		}
		if !*update {
			t.Errorf("%s quotes examples as they were; run ./task gen:docs", page)
		} else if err := os.WriteFile(page, []byte(after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if len(quoted) < 4 {
		t.Errorf("the guides quote %d examples, want 4 or more", len(quoted))
	}
}

// TestExamples_AreShort bounds their code.
func TestExamples_AreShort(t *testing.T) {
	for _, pattern := range []string{"*.py", "*.mjs", "*/*.html", "*/*.go"} {
		files, err := filepath.Glob(filepath.Join("..", "examples", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no examples match %s: %v", pattern, err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			code := comment.ReplaceAllString(imports.ReplaceAllString(string(source), ""), "")
			lines := 0
			for line := range strings.SplitSeq(code, "\n") {
				if !closing.MatchString(line) {
					lines++
				}
			}
			if lines > maxExampleLines {
				t.Errorf("%s has %d lines of code, want at most %d", file, lines, maxExampleLines)
			}
		}
	}
}
