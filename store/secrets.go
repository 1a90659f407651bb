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

// EncryptedPrefix is what a secret begins with as long as it is sealed by a key that is not ours.
const EncryptedPrefix = "sealed:1:"

// seal keeps secrets that have to be read again from whoever has nothing but the database. The zero
// seal leaves them as they are.
type seal struct{ aead cipher.AEAD }

// EncryptSecretsWith has secrets that are written from now on sealed by a key that is made of key. Call it
// before anybody uses the store. Those that were written without, or with none, are still read.
func (s *Store) EncryptSecretsWith(key string) error {
	k, err := hkdf.Key(sha256.New, []byte(key), nil, "oei-ms secrets of notification channels", 32)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	s.seal.aead, err = cipher.NewGCMWithRandomNonce(block)
	return err
}

// close seals a secret.
func (s seal) close(secret string) string {
	if s.aead == nil || secret == "" || strings.HasPrefix(secret, EncryptedPrefix) {
		return secret
	}
	return EncryptedPrefix + base64.RawStdEncoding.EncodeToString(s.aead.Seal(nil, nil, []byte(secret), nil))
}

// open is the secret that was sealed; one that another key has sealed stays as it is.
func (s seal) open(kept string) string {
	text, sealed := strings.CutPrefix(kept, EncryptedPrefix)
	if !sealed || s.aead == nil {
		return kept
	}
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return kept
	}
	if b, err = s.aead.Open(nil, nil, b, nil); err != nil {
		return kept
	}
	return string(b)
}
