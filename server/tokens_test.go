package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"github.com/oei-ms/oei-ms/store"
)

var b64 = base64.RawURLEncoding

type members = map[string]any

// forge signs any header and claims with the key of the system.
func (s *system) forge(header, claims any) string {
	return sign(s.cfg.Auth.SecretKey, header, claims)
}

func sign(key string, header, claims any) string {
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	signed := b64.EncodeToString(h) + "." + b64.EncodeToString(c)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(signed))
	return signed + "." + b64.EncodeToString(mac.Sum(nil))
}

func decoded(t *testing.T, token string, part int) members {
	t.Helper()
	b, err := b64.DecodeString(strings.Split(token, ".")[part])
	if err != nil {
		t.Fatal(err)
	}
	m := members{}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// with returns m with one member changed; nil takes it out.
func with(m members, name string, value any) members {
	m = maps.Clone(m)
	m[name] = value
	if value == nil {
		delete(m, name)
	}
	return m
}

func TestTokens_DamagedOnesAreRefused(t *testing.T) {
	s := start(t)
	user := s.users[store.Admin]
	good := s.token(user)
	other := s.token(s.users[store.Viewer])
	header, claims := decoded(t, good, 0), decoded(t, good, 1)
	parts := strings.Split(good, ".")
	now := time.Now()
	sid := claims["sid"].(string)
	claimsWith := func(name string, value any) string {
		return s.forge(header,
			with(claims, name, value))
	}
	headerWith := func(name string, value any) string {
		return s.forge(with(header, name, value),
			claims)
	}
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	ecKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	with384 := func() string {
		h, _ := json.Marshal(with(header, "alg", "HS384"))
		signed := b64.EncodeToString(h) + "." + parts[1]
		mac := hmac.New(sha512.New384, []byte(s.cfg.Auth.SecretKey))
		mac.Write([]byte(signed))
		return signed + "." + b64.EncodeToString(mac.Sum(nil))
	}
	signedBy := func(alg jwa.SignatureAlgorithm, key any) string {
		token := jwt.New()
		for k, v := range claims {
			_ = token.Set(k, v)
		}
		b, err := jwt.Sign(token, jwt.WithKey(alg, key))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	none, _ := json.Marshal(members{"alg": "none", "kid": header["kid"]})
	None, _ := json.Marshal(members{"alg": "NoNe", "kid": header["kid"]})
	jws, _ := json.Marshal(members{
		"payload": parts[1], "protected": parts[0], "signature": parts[2],
	})
	symmetric := members{
		"kty": "oct", "k": b64.EncodeToString([]byte("attacker")), "alg": "HS256",
		"kid": header["kid"],
	}
	damaged := map[string]string{
		"empty":              " ",
		"garbage":            "garbage",
		"dots":               "..",
		"two parts":          parts[0] + "." + parts[1],
		"four parts":         good + ".x",
		"signature stripped": parts[0] + "." + parts[1] + ".",
		"signature of another token": parts[0] + "." + parts[1] + "." + strings.Split(other,
			".")[2],
		"payload of another token": parts[0] + "." + strings.Split(other, ".")[1] + "." +
			parts[2],
		"signature cut":                   good[:len(good)-4],
		"signature changed":               flip(good, len(good)-20),
		"payload changed":                 flip(good, len(parts[0])+20),
		"header changed":                  flip(good, 5),
		"spare bits of the signature set": spareBits(good),
		"padding":                         good + "=",
		"a line break":                    parts[0] + "." + parts[1] + ".%0A" + parts[2],
		"alg none without signature":      b64.EncodeToString(none) + "." + parts[1] + ".",
		"alg none with signature": b64.EncodeToString(none) + "." + parts[1] + "." +
			parts[2],
		"alg NoNe":                    b64.EncodeToString(None) + "." + parts[1] + ".",
		"alg none, signed":            headerWith("alg", "none"),
		"alg HS384 with our key":      with384(),
		"alg says HS512":              headerWith("alg", "HS512"),
		"alg says RS256":              headerWith("alg", "RS256"),
		"no alg":                      headerWith("alg", nil),
		"alg a number":                headerWith("alg", 256),
		"RS256 by a key of one's own": signedBy(jwa.RS256, rsaKey),
		"ES256 by a key of one's own": signedBy(jwa.ES256, ecKey),
		"HS256 by a key of one's own": signedBy(jwa.HS256, []byte("attacker")),
		"HS256 by an empty key":       sign("", header, claims),
		"no kid":                      headerWith("kid", nil),
		"another kid":                 headerWith("kid", "other"),
		"kid a path": sign("", with(header, "kid", "../../../../dev/null"),
			claims),
		"kid an injection": sign("x", with(header, "kid", "x' UNION SELECT 'x"),
			claims),
		"embedded jwk": sign("attacker", with(header, "jwk", symmetric), claims),
		"jku": sign("attacker",
			with(header, "jku", s.url+"/openapi.json"), claims),
		"x5u": sign("attacker",
			with(header, "x5u", s.url+"/openapi.json"), claims),
		"x5c": sign("attacker", with(header, "x5c", []string{"AAAA"}),
			claims),
		"the JSON serialization":   string(jws),
		"claims without signature": `{"sub":"1"}`,
		"no exp":                   claimsWith("exp", nil),
		"expired": s.forge(header,
			with(with(claims, "iat", now.Add(-time.Hour).Unix()), "exp",
				now.Add(-time.Minute).Unix())),
		"expired a second ago": claimsWith("exp", now.Add(-time.Second).Unix()),
		"exp far ahead":        claimsWith("exp", now.Add(24*time.Hour).Unix()),
		"exp beyond time":      claimsWith("exp", 1e18),
		"exp text":             claimsWith("exp", "tomorrow"),
		"no iat":               claimsWith("iat", nil),
		"iat ahead": s.forge(header,
			with(with(claims, "iat", now.Add(time.Minute).Unix()), "exp",
				now.Add(2*time.Minute).Unix())),
		"nbf ahead":               claimsWith("nbf", now.Add(time.Minute).Unix()),
		"no iss":                  claimsWith("iss", nil),
		"another iss":             claimsWith("iss", "other"),
		"no aud":                  claimsWith("aud", nil),
		"another aud":             claimsWith("aud", "other"),
		"no typ":                  claimsWith("typ", nil),
		"another typ":             claimsWith("typ", "refresh"),
		"no jti":                  claimsWith("jti", nil),
		"an empty jti":            claimsWith("jti", ""),
		"no sub":                  claimsWith("sub", nil),
		"sub text":                claimsWith("sub", "admin"),
		"sub another user":        claimsWith("sub", fmt.Sprint(s.users[store.Viewer].ID)),
		"no sid":                  claimsWith("sid", nil),
		"sid a number":            claimsWith("sid", 1),
		"sid an injection":        claimsWith("sid", "' OR '1'='1"),
		"sid in capitals":         claimsWith("sid", strings.ToUpper(sid)+"\x00"),
		"sid unknown":             claimsWith("sid", "00000000-0000-0000-0000-000000000000"),
		"a refresh token":         s.login("admin").RefreshToken,
		"a ticket":                "wt_" + strings.Repeat("A", 43),
		"9 KiB of claims, signed": claimsWith("x", strings.Repeat("x", 7<<10)),
		"a list of claims":        s.forge(header, []int{1}),
		"claims twice": parts[0] + "." +
			b64.EncodeToString([]byte(`{"sub":"1"}{"sub":"1"}`)) + "." + parts[2],
	}
	if len(damaged) < 40 {
		t.Errorf("damaged tokens: got %d, want 40", len(damaged))
	}
	for name, token := range damaged {
		if res := s.send("GET", "/api/auth/me", "", "", "Authorization",
			"Bearer "+token); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: got %d: %s", name, res.StatusCode, res.body)
		}
	}
	for name, header := range map[string]string{
		"no scheme": good, "basic": "Basic " + good, "two tokens": "Bearer " + good + " " + good,
		"a comma": "Bearer " + good + ", Bearer " + good,
	} {
		if res := s.send("GET", "/api/auth/me", "", "", "Authorization",
			header); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: got %d: %s", name, res.StatusCode, res.body)
		}
	}
	if res := s.raw("GET", "/api/auth/me?token="+good, ""); res != http.StatusUnauthorized {
		t.Errorf("a token in the address: got %d", res)
	}
	if got := s.raw("GET", "/api/auth/me", strings.Repeat("A", 1<<20)); got < 400 || got >= 500 {
		t.Errorf("a token of 1 MB: got %d", got)
	}
	if res := s.send("GET", "/api/auth/me", good, ""); res.StatusCode != http.StatusOK {
		t.Errorf("the good token: got %d: %s", res.StatusCode, res.body)
	}
	if res := s.send("GET", "/api/auth/me", s.forge(header, claims),
		""); res.StatusCode != http.StatusOK {
		t.Errorf("a forgery without a fault, which shows that the others fail for theirs: got "+
			"%d: %s", res.StatusCode, res.body)
	}
}

// flip changes the character at i to another one of the alphabet.
func flip(token string, i int) string {
	c := byte('A')
	if token[i] == c {
		c = 'B'
	}
	return token[:i] + string(c) + token[i+1:]
}

// spareBits writes the same signature in another way: its last character has two bits that no
// decoder reads.
func spareBits(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + string(alphabet[last|1])
}
