package configs

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// keyBytes is the minimum length of a secret key, and the number of random bytes in a generated
// one.
const keyBytes = 32

// KeepSecretKey sets the secret key to that of the data directory when none is set, and creates
// both when they are missing. path is the file of the key, "" when it was set; made reports whether
// it is new.
func (c *Config) KeepSecretKey() (path string, made bool, err error) {
	if c.Auth.SecretKey != "" {
		return "", false, nil
	}
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o755 // the private PostgreSQL cluster inside belongs to another user
	}
	if err := os.MkdirAll(c.DataDir, mode); err != nil {
		return "", false, fmt.Errorf("DATA_DIR: %w; use a directory that can be written", err)
	}
	path = filepath.Join(c.DataDir, "secret.key")
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		made = true
		key, err = makeKey(path)
		if errors.Is(err, fs.ErrExist) { // another process created it first
			made = false
			key, err = readKey(path)
		}
	}
	if err != nil {
		return "", false, fmt.Errorf("secret key: %w", err)
	}
	c.Auth.SecretKey = key
	if c.origins == nil {
		c.origins = map[string]string{}
	}
	c.origins["server.secret_key"] = "file " + path
	c.nameShareGroup()
	return path, made, nil
}

// ReadSecretKey is KeepSecretKey without creating anything.
func (c *Config) ReadSecretKey() error {
	if c.Auth.SecretKey != "" || c.DataDir == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(c.DataDir, "secret.key")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, _, err := c.KeepSecretKey()
	return err
}

// nameShareGroup derives the name of the shared subscription from the secret key, unless one is
// set: all instances with the key have the same name, and it cannot be guessed.
func (c *Config) nameShareGroup() {
	if c.MQTT.ShareGroup != "" || c.OwnBroker() || c.Auth.SecretKey == "" {
		return
	}
	mac := hmac.New(sha256.New, []byte(c.Auth.SecretKey))
	mac.Write([]byte("mqtt share group"))
	c.MQTT.ShareGroup = "oei-ms-" + hex.EncodeToString(mac.Sum(nil)[:8])
	c.origins["mqtt.share_group"] = "SECRET_KEY"
}

func readKey(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s can be read by others; run chmod 600 %s", path, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(text))
	if len(key) < keyBytes {
		return "", fmt.Errorf("%s holds no key; remove it to have a new one generated, "+
			"which ends all login sessions", path)
	}
	return key, nil
}

// makeKey generates a key and writes it to path, which must not exist.
func makeKey(path string) (string, error) {
	random := make([]byte, keyBytes)
	_, _ = rand.Read(random) // never fails
	key := base64.StdEncoding.EncodeToString(random)
	f, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // with mode 0600
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(key + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	// a link fails when path exists, so that no reader ever sees half a key or a replaced one
	err = os.Link(f.Name(), path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(f.Name(), path) // a file system without links
	}
	return key, err
}
