package configs

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/configuration.md instead of comparing it")

const (
	referencePage   = "../docs/configuration.md"
	referenceMarker = "<!-- The rest is generated from configs/default.yaml by ./task gen:docs. " +
		"-->\n"
)

// TestReference_IsCurrent compares the generated half of docs/configuration.md with default.yaml
// and the table of settings.
func TestReference_IsCurrent(t *testing.T) {
	page, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	intro, current, found := strings.Cut(string(page), referenceMarker)
	if !found {
		t.Fatalf("%s has no line %q", referencePage, referenceMarker)
	}
	want := reference()
	switch {
	case current == want:
	case *update:
		text := intro + referenceMarker + want
		if err := os.WriteFile(referencePage, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is stale; run ./task gen:docs and commit the result", referencePage)
	}
}

var (
	keyLine      = regexp.MustCompile(`^( *)(\w+):(?: (.*))?$`)
	variableNote = regexp.MustCompile(`\s*\[\w+(?:, ([^\]]+))?\]$`)
)

// reference renders default.yaml as one table per section.
func reference() string {
	settings := map[string]setting{}
	for _, s := range (&Config{}).settings() {
		settings[s.key] = s
	}
	const columns = "| variable | key | default | meaning |\n|---|---|---|---|\n"
	var page strings.Builder
	page.WriteString("\n## general\n\n" + columns)
	var comment []string
	section := ""
	for line := range strings.Lines(DefaultYAML) {
		line = strings.TrimSuffix(line, "\n")
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "#"); ok {
			comment = append(comment, strings.TrimSpace(text))
			continue
		}
		match := keyLine.FindStringSubmatch(line)
		if match == nil { // an empty line ends a comment that belongs to no key
			comment = nil
			continue
		}
		meaning := strings.Join(comment, " ")
		comment = nil
		switch indent, key, value := match[1], match[2], match[3]; {
		case indent == "" && value == "":
			section = key + "."
			fmt.Fprintf(&page, "\n## %s\n\n", key)
			if meaning != "" {
				page.WriteString(meaning + "\n\n")
			}
			page.WriteString(columns)
		case indent == "":
			page.WriteString(settings[key].row(value, meaning))
		default:
			page.WriteString(settings[section+key].row(value, meaning))
		}
	}
	return page.String()
}

// row renders one setting as a row of its section's table.
func (s setting) row(value, meaning string) string {
	meaning = variableNote.ReplaceAllString(meaning, " $1")
	meaning = strings.ReplaceAll(strings.TrimSpace(meaning), "|", `\|`)
	for _, f := range flags {
		if f.key == s.key {
			meaning += " Flag: `--" + f.name + "`."
		}
	}
	if s.secret {
		meaning += " `" + s.name() + "_FILE` names a file to read it from."
	}
	if !slices.Contains([]string{`""`, "[]", "{}"}, value) {
		value = "`" + value + "`"
	} else {
		value = ""
	}
	return fmt.Sprintf("| `%s` | `%s` | %s | %s |\n",
		s.name(), s.key, value, strings.TrimSpace(meaning))
}
