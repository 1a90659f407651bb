package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// EncryptedPrefix begins an encrypted secret. A secret that the store returns begins with it only
// if it was encrypted with another key.
const EncryptedPrefix = "sealed:1:"

// secretCipher encrypts secrets that must be readable again, so that the database alone does not
// reveal them. The zero secretCipher leaves them as they are.
type secretCipher struct{ aead cipher.AEAD }

// EncryptSecretsWith encrypts secrets that are written from now on with a key derived from key.
// Call it before other methods. Secrets that were written before in the clear are still read.
func (s *Store) EncryptSecretsWith(key string) error {
	k, err := hkdf.Key(sha256.New, []byte(key), nil, "oei-ms secrets of notification channels", 32)
	if err != nil {
		return fmt.Errorf("secrets: %w", err)
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return fmt.Errorf("secrets: %w", err)
	}
	s.secrets.aead, err = cipher.NewGCMWithRandomNonce(block)
	return err
}

// encrypt returns the stored form of a secret. One that is encrypted already stays as it is.
func (c secretCipher) encrypt(secret string) string {
	if c.aead == nil || secret == "" || strings.HasPrefix(secret, EncryptedPrefix) {
		return secret
	}
	sealed := c.aead.Seal(nil, nil, []byte(secret), nil)
	return EncryptedPrefix + base64.RawStdEncoding.EncodeToString(sealed)
}

// decrypt returns the secret of its stored form. One that was encrypted with another key, or not at
// all, stays as it is.
func (c secretCipher) decrypt(stored string) string {
	text, encrypted := strings.CutPrefix(stored, EncryptedPrefix)
	if !encrypted || c.aead == nil {
		return stored
	}
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return stored
	}
	if b, err = c.aead.Open(nil, nil, b, nil); err != nil {
		return stored
	}
	return string(b)
}
