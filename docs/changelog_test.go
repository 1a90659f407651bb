package docs

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// clientSections begin each release of the changelog: what it means for each kind of client.
var clientSections = []string{
	"REST contract", "TypeScript client", "Go client", "Python client",
	"MQTT and WebSocket contract",
}

func TestChangelog_SaysWhatChangesForEachClient(t *testing.T) {
	text, err := os.ReadFile("../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	releases := strings.Split(string(text), "\n## ")[1:]
	if len(releases) == 0 {
		t.Fatal("there is no release")
	}
	headings := regexp.MustCompile(`(?m)^### (.+)$`)
	item := regexp.MustCompile(`^- (\[\w+\] )?`)
	for _, release := range releases {
		name, _, _ := strings.Cut(release, "\n")
		var sections []string
		for _, m := range headings.FindAllStringSubmatch(release, -1) {
			sections = append(sections, m[1])
		}
		if len(sections) < len(clientSections) ||
			!slices.Equal(sections[:len(clientSections)], clientSections) {
			t.Errorf("%s: got the sections %q, want it to begin with %q", name, sections,
				clientSections)
		}
		for line := range strings.Lines(release) {
			switch kind := item.FindStringSubmatch(line); {
			case kind == nil:
			case !slices.Contains([]string{
				"[FEATURE] ", "[ENHANCEMENT] ", "[CHANGE] ", "[BUGFIX] ",
			}, kind[1]):
				t.Errorf("%s: %q does not begin with its kind", name, strings.TrimSpace(line))
			}
		}
	}
}
