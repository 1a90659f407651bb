package configs

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

func inDir(dir string) *Config { return &Config{DataDir: dir} }

func TestKeepSecretKey_GeneratesOnce(t *testing.T) {
	c := inDir(filepath.Join(t.TempDir(), "new", "data"))
	path, made, err := c.KeepSecretKey()
	if err != nil || !made {
		t.Fatalf("got made %v, %v, want a new key", made, err)
	}
	if random, err := base64.StdEncoding.DecodeString(c.Auth.SecretKey); err != nil ||
		len(random) != 32 {
		t.Errorf("got a key of %d bytes, %v, want 32", len(random), err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v, want 0600", info.Mode(), err)
	}
	again := inDir(c.DataDir)
	if _, made, err := again.KeepSecretKey(); err != nil || made ||
		again.Auth.SecretKey != c.Auth.SecretKey {
		t.Errorf("got made %v, %v, the same key %v, want the kept one", made, err,
			again.Auth.SecretKey == c.Auth.SecretKey)
	}
}

func TestKeepSecretKey_UsesTheSetting(t *testing.T) {
	c := inDir(filepath.Join(t.TempDir(), "data"))
	c.Auth.SecretKey = "set"
	if _, _, err := c.KeepSecretKey(); err != nil || c.Auth.SecretKey != "set" {
		t.Errorf("got %q, %v, want the one set", c.Auth.SecretKey, err)
	}
	if _, err := os.Stat(c.DataDir); !os.IsNotExist(err) {
		t.Errorf("got a data directory, want none")
	}
}

func TestKeepSecretKey_ConcurrentStartsShareOneKey(t *testing.T) {
	dir := t.TempDir()
	keys := make([]string, 8)
	var group sync.WaitGroup
	for i := range keys {
		group.Go(func() {
			c := inDir(dir)
			if _, _, err := c.KeepSecretKey(); err != nil {
				t.Error(err)
			}
			keys[i] = c.Auth.SecretKey
		})
	}
	group.Wait()
	for _, key := range keys {
		if key != keys[0] {
			t.Fatalf("got different keys")
		}
	}
}

func TestKeepSecretKey_ExplainsUnusableKeys(t *testing.T) {
	tests := map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"others can read it": {
			strings.Repeat("k", 44), 0o644, "can be read by others; run chmod 600",
		},
		"it is empty": {"", 0o600, "holds no key; remove it"},
		"it is cut":   {"abc\n", 0o600, "holds no key; remove it"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "secret.key")
			if err := os.WriteFile(path, []byte(test.text), test.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, test.mode); err != nil {
				t.Fatal(err)
			}
			_, _, err := inDir(dir).KeepSecretKey()
			if err == nil || !strings.Contains(err.Error(), test.want) ||
				!strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestShareGroup_IsDerivedFromTheSecretKey(t *testing.T) {
	group := func(env ...string) string { return mustLoad(t, sources{env: env}).MQTT.ShareGroup }
	const key = "SECRET_KEY=hunter2-hunter2-hunter2-hunter2-hunter2"
	const other = "SECRET_KEY=hunter3-hunter3-hunter3-hunter3-hunter3"
	one := group(key, "MQTT_HOST=broker")
	if !regexp.MustCompile(`^oei-ms-[0-9a-f]{16}$`).MatchString(one) ||
		one != group(key, "MQTT_HOST=elsewhere", "PORT=9000") {
		t.Errorf("got %q, want a name that depends on the key alone", one)
	}
	if one == group(other, "MQTT_HOST=broker") {
		t.Errorf("got %q with two keys", one)
	}
	if got := group(key, "MQTT_HOST=broker", "OEI_MQTT_SHARE_GROUP=mine"); got != "mine" {
		t.Errorf("got %q, want the one that is set", got)
	}
	c := mustLoad(t, sources{env: []string{"MQTT_HOST=broker"}})
	c.DataDir = t.TempDir()
	if _, _, err := c.KeepSecretKey(); err != nil || c.MQTT.ShareGroup == "" {
		t.Errorf("with a key that was made: got %q, %v", c.MQTT.ShareGroup, err)
	}
}
