package configs

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/push/relay"
)

// TestDocs_SettingsAreKnown loads each file of settings in docs/operations. What every instance has
// is in production.md; each other file is loaded on top of it.
func TestDocs_SettingsAreKnown(t *testing.T) {
	var docs strings.Builder
	pages := []string{"production.md", "scaling.md", "redis.md"}
	for _, page := range pages {
		text, err := os.ReadFile("../docs/operations/" + page)
		if err != nil {
			t.Fatal(err)
		}
		docs.Write(text)
	}
	etc := t.TempDir()
	for name, text := range map[string]string{
		"secret.key": "0Nz4tZPmVx7sQGZs0b1e8yqvY3nJm5wUoKc2LhTfRdA=\n", "mqtt.password": "x\n",
		"database.url": regexp.MustCompile(`# (postgres://\S+)`).
			FindStringSubmatch(docs.String())[1] + "\n",
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	blocks := regexp.MustCompile("(?s)```env\n# ([^\n]+)\n(.*?)```").FindAllStringSubmatch(
		docs.String(), -1,
	)
	if len(blocks) < 4 {
		t.Fatalf("%v have %d files of settings, want at least 4", pages, len(blocks))
	}
	shared := blocks[0][2]
	for _, block := range blocks {
		t.Run(block[1], func(t *testing.T) {
			text := block[2]
			if text != shared {
				text = shared + text
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, ".env"),
				[]byte(strings.ReplaceAll(text, "/etc/oei-ms/", etc+"/")), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := Load(Options{Environ: []string{"HOME=" + dir}, Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := relay.New(c.Auth.RedisURL, c.Push.ShardedRelay, nil,
				slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSettings_MentionedExist checks that every variable named in the documentation is a setting.
func TestSettings_MentionedExist(t *testing.T) {
	// OEI_URL and OEI_API_KEY are what the example clients read
	names := map[string]bool{"OEI_CONFIG": true, "OEI_URL": true, "OEI_API_KEY": true}
	for _, s := range (&Config{}).settings() {
		for _, name := range s.names {
			names[name] = true
		}
	}
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	operations, err := filepath.Glob("../docs/operations/*.md")
	if err != nil {
		t.Fatal(err)
	}
	variable := regexp.MustCompile(`\bOEI_[A-Z0-9_]*[A-Z0-9]\b`) // not the beginning of several
	for _, page := range slices.Concat(pages, operations,
		[]string{"../README.md", "../SECURITY.md"}) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range variable.FindAllString(string(text), -1) {
			if !names[name] && !names[strings.TrimSuffix(name, "_FILE")] {
				t.Errorf("%s names the setting %s, which does not exist", page, name)
			}
		}
	}
}
