package server_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/server"
)

func TestConfig_NamesEveryFault(t *testing.T) {
	c := server.DefaultConfig()
	c.Port = 70000
	c.AllowedOrigins, c.TrustedProxies, c.RequestTimeout = []string{"https://x/"}, []string{
		"10.0.0.0/33",
	}, 0
	err := c.Validate()
	for _, want := range []string{
		"PORT: 70000 is not a port; use 1 to 65535",
		"OEI_SERVER_ALLOWED_ORIGINS",
		"OEI_SERVER_TRUSTED_PROXIES", "OEI_SERVER_REQUEST_TIMEOUT",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate: got %v, want %s in it", err, want)
		}
	}
	query := server.QueryConfig{MaxConcurrent: -1, MaxWait: time.Hour}
	err = query.Validate()
	for _, want := range []string{"OEI_QUERY_MAX_CONCURRENT: -1", "OEI_QUERY_MAX_WAIT: 1h0m0s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate: got %v, want %s in it", err, want)
		}
	}
	if err := errors.Join(server.DefaultConfig().Validate(),
		server.DefaultQueryConfig().Validate()); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
