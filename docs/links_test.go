package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	codeBlock    = regexp.MustCompile("(?s)```.*?```")
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading      = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInSlug    = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
)

// TestLinks_Exist follows every relative link of the Markdown files of this repository, to the
// heading that its fragment names.
func TestLinks_Exist(t *testing.T) {
	for _, file := range markdownFiles(t) {
		page := readMarkdown(t, file)
		for _, link := range markdownLink.FindAllStringSubmatch(page, -1) {
			target, fragment, _ := strings.Cut(link[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path := filepath.Join(filepath.Dir(file), target)
			if target == "" {
				path = file
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s links to %s, which does not exist", file, link[1])
				continue
			}
			if fragment != "" && !hasHeading(readMarkdown(t, path), fragment) {
				t.Errorf("%s links to %s, which has no such heading", file, link[1])
			}
		}
	}
}

func readMarkdown(t *testing.T, file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return codeBlock.ReplaceAllString(string(text), "")
}

// hasHeading reports whether a heading of the page has the fragment that GitHub gives it.
func hasHeading(page, fragment string) bool {
	for _, match := range heading.FindAllStringSubmatch(page, -1) {
		slug := notInSlug.ReplaceAllString(strings.ToLower(match[1]), "")
		if strings.ReplaceAll(slug, " ", "-") == fragment {
			return true
		}
	}
	return false
}

// markdownFiles returns the Markdown files of this repository, without those of its dependencies.
func markdownFiles(t *testing.T) []string {
	var files []string
	err := filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(entry.Name(), ".") && file != ".."
		if entry.IsDir() && (hidden || entry.Name() == "node_modules") {
			return fs.SkipDir
		}
		if filepath.Ext(file) == ".md" {
			files = append(files, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
