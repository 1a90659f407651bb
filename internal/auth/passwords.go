package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// argon holds the cost of new hashes, the second choice of RFC 9106 scaled to 19 MiB: 30 ms on a
// small machine.
var argon = argonParams{memory: 19 << 10, time: 2, threads: 1}

const (
	minPassword, maxPassword = 10, 256 // characters
	saltBytes, hashBytes     = 16, 32
)

type argonParams struct {
	memory, time uint32 // KiB, passes
	threads      uint8
}

// NewPassword generates a password of 26 characters, 130 random bits.
func NewPassword() string { return rand.Text() }

// HashPassword returns the argon2id hash of password as a PHC string, or an error when the password
// is too short or too long.
func HashPassword(password string) (string, error) {
	if err := validatePassword(password); err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	return hashPassword(password), nil
}

func validatePassword(password string) error {
	if n := utf8.RuneCountInString(password); n < minPassword || n > maxPassword {
		return fmt.Errorf("it has %d characters; use %d to %d", n, minPassword, maxPassword)
	}
	if !utf8.ValidString(password) {
		return errors.New("it is not valid UTF-8; use text")
	}
	return nil
}

func hashPassword(password string) string {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	sum := argon2.IDKey([]byte(password), salt, argon.time, argon.memory, argon.threads, hashBytes)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		argon.memory, argon.time, argon.threads, b64.EncodeToString(salt), b64.EncodeToString(sum))
}

// passwords checks and hashes passwords, at most as many at once as there are processors: each
// takes 19 MiB.
type passwords struct {
	slots  chan struct{}
	dummy  string // a hash that is checked for unknown users, at the cost of a user's
	checks prometheus.Counter
}

func newPasswords(reg prometheus.Registerer) *passwords {
	return &passwords{
		slots: make(chan struct{}, runtime.NumCPU()),
		dummy: hashPassword(rand.Text()),
		checks: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Name: "oei_password_checks_total",
			Help: "Passwords checked, including those for unknown usernames.",
		}),
	}
}

// check reports whether password matches hash, and whether hash is outdated. An empty hash, that of
// an unknown user, takes as long and matches nothing. It waits for a free processor until ctx ends.
func (p *passwords) check(
	ctx context.Context, hash, password string,
) (ok, outdated bool, err error) {
	if err := p.acquire(ctx); err != nil {
		return false, false, err
	}
	defer p.release()
	p.checks.Inc()
	if hash == "" {
		_, _ = checkArgon(p.dummy, password)
		return false, false, nil
	}
	// hashes made by the system that this one replaces
	if strings.HasPrefix(hash, "$2a$") || strings.HasPrefix(hash, "$2b$") {
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil, true, nil
	}
	ok, err = checkArgon(hash, password)
	return ok, false, err
}

// hash hashes a new password as soon as a processor is free.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	if err := p.acquire(ctx); err != nil {
		return "", err
	}
	defer p.release()
	return hashPassword(password), nil
}

func (p *passwords) acquire(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait to check a password: %w", ctx.Err())
	}
}

func (p *passwords) release() { <-p.slots }

var errBadHash = errors.New("not a password hash")

// VerifyPassword reports whether hash is that of password, one of argon2id.
func VerifyPassword(hash, password string) (bool, error) { return checkArgon(hash, password) }

// checkArgon compares password with a PHC string of argon2id.
func checkArgon(phc, password string) (bool, error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[1] != "argon2id" ||
		parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return false, errBadHash
	}
	var p argonParams
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time,
		&p.threads); err != nil {
		return false, errBadHash
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || err2 != nil || len(want) == 0 || p.time < 1 || p.threads < 1 ||
		p.memory > 1<<20 {
		return false, errBadHash
	}
	got := argon2.IDKey([]byte(password), salt, p.time, p.memory, p.threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}
