package auth

import (
	"strings"
	"testing"
)

func TestConfig_NamesEveryFault(t *testing.T) {
	c := DefaultConfig()
	c.SecretKey, c.AdminPassword, c.RedisURL, c.AccessTTL = "short", "short", "http://x", 0
	err := c.Validate()
	for _, want := range []string{
		"SECRET_KEY: it has 5 characters; use 32 random ones or more",
		"ADMIN_PASSWORD: it has 5 characters; use 10 to 256",
		"REDIS_URL", "ACCESS_TOKEN_EXPIRE_MINUTES",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate: got %v, want %s in it", err, want)
		}
	}
	c = DefaultConfig()
	c.SecretKey = strings.Repeat("x", minSecretKey)
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
