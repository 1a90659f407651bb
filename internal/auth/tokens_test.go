package auth

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

func TestSuccessor_NeedsTheSecretKey(t *testing.T) {
	successor := func(secretKey, refresh string) string {
		t.Helper()
		tokens, err := newTokens(secretKey, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return tokens.successor(refresh)
	}
	x, y := strings.Repeat("x", 32), strings.Repeat("y", 32)
	if successor(x, "rt_a") == successor(y, "rt_a") {
		t.Error("two secret keys: got the same successor")
	}
	if successor(x, "rt_a") == successor(x, "rt_b") {
		t.Error("two refresh tokens: got the same successor")
	}
	if first := successor(x, "rt_a"); first != successor(x, "rt_a") {
		t.Error("one secret key and refresh token: got two successors")
	}
}

func FuzzIsCompact(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJIUzI1NiJ9.e30.AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		if !isCompact(token) {
			return
		}
		for part := range strings.SplitSeq(token, ".") {
			if b, err := base64.RawURLEncoding.DecodeString(part); err != nil ||
				base64.RawURLEncoding.EncodeToString(b) != part {
				t.Errorf("%q is not the canonical spelling", part)
			}
		}
	})
}
