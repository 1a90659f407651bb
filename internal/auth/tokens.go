package auth

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"
)

const (
	tokenParty = "oei-ms" // issuer and audience
	tokenType  = "access"

	refreshPrefix = "rt_"
	ticketPrefix  = "wt_"

	maxTokenBytes     = 8 << 10
	maxVerifiedTokens = 10_000 // remembered
)

// tokenSkew is how far the clocks of two instances may differ.
const tokenSkew = 10 * time.Second

// claims are the claims of an access token.
type claims struct {
	UserID  int64
	Session string
	Expires time.Time
}

// tokens makes and verifies access tokens. Safe for concurrent use.
type tokens struct {
	key        jwk.Key
	set        jwk.Set
	ttl        time.Duration
	successors []byte // key of successor

	mu       sync.Mutex
	verified map[[sha256.Size]byte]claims // by the hash of the token: verifying costs 80 µs
}

func newTokens(secret string, ttl time.Duration) (*tokens, error) {
	key, err := jwk.FromRaw([]byte(secret))
	if err != nil {
		return nil, fmt.Errorf("secret key: %w", err)
	}
	successors, err := hkdf.Key(sha256.New, []byte(secret), nil, "successors of refresh tokens",
		sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("secret key: %w", err)
	}
	kid := sha256.Sum256([]byte("kid of " + secret))
	set := jwk.NewSet()
	if err := errors.Join(
		key.Set(jwk.AlgorithmKey, jwa.HS256),
		key.Set(jwk.KeyIDKey, hex.EncodeToString(kid[:8])),
		set.AddKey(key),
	); err != nil {
		return nil, fmt.Errorf("secret key: %w", err)
	}
	return &tokens{
		key:        key,
		set:        set,
		ttl:        ttl,
		successors: successors,
		verified:   make(map[[sha256.Size]byte]claims),
	}, nil
}

// issue makes an access token for a session of user.
func (t *tokens) issue(user int64, session string) (string, error) {
	now := time.Now()
	token, err := jwt.NewBuilder().
		Issuer(tokenParty).Audience([]string{tokenParty}).Claim("typ",
		tokenType).JwtID(rand.Text()).
		IssuedAt(now).Expiration(now.Add(t.ttl)).
		Subject(strconv.FormatInt(user, 10)).Claim("sid", session).Build()
	if err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	signed, err := jwt.Sign(token, jwt.WithKey(jwa.HS256, t.key))
	if err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	return string(signed), nil
}

// verify returns the claims of a token that this system has signed and that has not expired, else
// ErrInvalidToken.
func (t *tokens) verify(token string) (claims, error) {
	if len(token) > maxTokenBytes {
		return claims{}, ErrInvalidToken
	}
	sum := sha256.Sum256([]byte(token))
	t.mu.Lock()
	c, known := t.verified[sum]
	t.mu.Unlock()
	if !known {
		var err error
		if c, err = t.parse(token); err != nil {
			return claims{}, err
		}
		t.remember(sum, c)
	}
	if !time.Now().Before(c.Expires) {
		return claims{}, ErrInvalidToken
	}
	return c, nil
}

func (t *tokens) parse(token string) (claims, error) {
	if !isCompact(token) || !namesAlgorithm(token, jwa.HS256) {
		return claims{}, ErrInvalidToken
	}
	// The key is taken from the set by its id. Keys that the token contains or refers to are
	// ignored.
	parsed, err := jwt.Parse([]byte(token), jwt.WithKeySet(t.set),
		jwt.WithIssuer(tokenParty), jwt.WithAudience(tokenParty),
		jwt.WithClaimValue("typ", tokenType),
		jwt.WithRequiredClaim(jwt.ExpirationKey), jwt.WithRequiredClaim(jwt.IssuedAtKey),
		jwt.WithRequiredClaim(jwt.JwtIDKey),
		jwt.WithRequiredClaim(jwt.SubjectKey), jwt.WithRequiredClaim("sid"),
		jwt.WithAcceptableSkew(tokenSkew))
	if err != nil {
		return claims{}, ErrInvalidToken
	}
	user, err := strconv.ParseInt(parsed.Subject(), 10, 64)
	sid, _ := parsed.Get("sid")
	session, _ := sid.(string)
	if err != nil || !isUUID(session) || parsed.JwtID() == "" ||
		parsed.Expiration().Sub(parsed.IssuedAt()) > t.ttl {
		return claims{}, ErrInvalidToken
	}
	return claims{UserID: user, Session: session, Expires: parsed.Expiration()}, nil
}

// isCompact reports whether token is a JWS in its one canonical spelling.
func isCompact(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || strings.ContainsAny(token, "\r\n") { // the decoder skips them
		return false
	}
	for _, p := range parts {
		if _, err := base64.RawURLEncoding.Strict().DecodeString(p); err != nil || p == "" {
			return false
		}
	}
	return true
}

// namesAlgorithm reports whether the header of token names alg: the library is content with the
// algorithm of the key.
func namesAlgorithm(token string, alg jwa.SignatureAlgorithm) bool {
	message, err := jws.ParseString(token)
	return err == nil && len(message.Signatures()) == 1 &&
		message.Signatures()[0].ProtectedHeaders().Algorithm() == alg
}

func (t *tokens) remember(sum [sha256.Size]byte, c claims) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.verified) >= maxVerifiedTokens {
		clear(t.verified)
	}
	t.verified[sum] = c
}

// successor returns the refresh token that follows refresh. Every instance computes the same one,
// also after a restart, so that a repeated refresh gets the same answer although the database holds
// only hashes. It cannot be computed without the secret key.
func (t *tokens) successor(refresh string) string {
	mac := hmac.New(sha256.New, t.successors)
	_, _ = mac.Write([]byte(refresh)) // never fails
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// NewSecret returns prefix and 256 random bits.
func NewSecret(prefix string) string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}

// isUUID reports whether s has the form of a session id. PostgreSQL would refuse any other form
// with an error.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdef", rune(c)) {
			return false
		}
	}
	return true
}
