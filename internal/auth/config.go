package auth

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// minSecretKey is the minimum length of the secret key, in bytes.
const minSecretKey = 32

// MaxRequestsPerMinute bounds the limit of an API key, as the contract does.
const MaxRequestsPerMinute = 1_000_000

// Config holds the settings of logins. Users find them in the section server.
type Config struct {
	SecretKey     string        `mapstructure:"secret_key"` // signs access tokens
	AccessTTL     time.Duration `mapstructure:"access_ttl"`
	RefreshTTL    time.Duration `mapstructure:"refresh_ttl"` // from the last refresh
	AdminUsername string        `mapstructure:"admin_username"`
	// AdminPassword may be empty: the first start generates one.
	AdminPassword string `mapstructure:"admin_password"`
	// APIKeyRequestsPerMinute is the limit of API keys that have none of their own, at each
	// instance.
	APIKeyRequestsPerMinute int `mapstructure:"api_key_requests_per_minute"`
	// RedisURL may be empty: each instance then counts failed logins by itself.
	RedisURL string `mapstructure:"redis_url"`
}

// DefaultConfig lacks a secret key.
func DefaultConfig() Config {
	return Config{
		AccessTTL:     30 * time.Minute,
		RefreshTTL:    7 * 24 * time.Hour,
		AdminUsername: "admin",

		APIKeyRequestsPerMinute: 1200,
	}
}

// Validate reports every setting that cannot work. It never shows a secret.
func (c Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.SecretKey) < minSecretKey {
		fault("SECRET_KEY: it has %d characters; use %d random ones or more",
			len(c.SecretKey), minSecretKey)
	}
	if n := len(c.AdminUsername); n < 1 || n > 50 {
		fault("ADMIN_USERNAME: it has %d characters; use 1 to 50", n)
	}
	if c.AdminPassword != "" {
		if err := validatePassword(c.AdminPassword); err != nil {
			fault("ADMIN_PASSWORD: %w", err)
		}
	}
	if n := c.APIKeyRequestsPerMinute; n < 1 || n > MaxRequestsPerMinute {
		fault("OEI_SERVER_API_KEY_REQUESTS_PER_MINUTE: %d is out of range; use 1 to %d",
			n, MaxRequestsPerMinute)
	}
	if u, err := url.Parse(c.RedisURL); c.RedisURL != "" &&
		(err != nil || u.Scheme != "redis" && u.Scheme != "rediss" && u.Scheme != "unix") {
		fault("REDIS_URL: it is not an address of Redis; " +
			"use redis://[user:password@]host[:port][/db] or rediss:// for TLS")
	}
	for _, d := range []struct {
		name            string
		value, min, max time.Duration
	}{
		{"ACCESS_TOKEN_EXPIRE_MINUTES", c.AccessTTL, time.Second, 24 * time.Hour},
		{"OEI_SERVER_REFRESH_TTL", c.RefreshTTL, c.AccessTTL, 365 * 24 * time.Hour},
	} {
		if d.value < d.min || d.value > d.max {
			fault("%s: %v is out of range; use %v to %v", d.name, d.value, d.min, d.max)
		}
	}
	return errors.Join(errs...)
}
