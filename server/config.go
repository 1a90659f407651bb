// Package server answers the contract: it authenticates and validates requests, calls the store and
// turns errors into problems. It is the only package that knows HTTP statuses.
package server

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/oei-ms/oei-ms/internal/origin"
)

// Config holds the settings of the API. Those of logins are in auth.Config.
type Config struct {
	Host string `mapstructure:"host"`
	Port int    `mapstructure:"port"` // 0: any free port
	// AllowedOrigins are the origins whose pages may call the API, as https://host[:port].
	AllowedOrigins []string `mapstructure:"allowed_origins"`
	// TrustedProxies are the addresses and networks whose X-Forwarded-For and X-Forwarded-Prefix
	// are trusted.
	TrustedProxies []string `mapstructure:"trusted_proxies"`
	// BasePath is the path below which clients see the service, such as /oei; empty: the root.
	BasePath  string `mapstructure:"base_path"`
	BodyLimit int64  `mapstructure:"body_limit"` // bytes

	// RequestTimeout begins with the head of the request and ends with the answer.
	RequestTimeout    time.Duration `mapstructure:"request_timeout"`
	ReadHeaderTimeout time.Duration `mapstructure:"read_header_timeout"`
	ReadTimeout       time.Duration `mapstructure:"read_timeout"`
	WriteTimeout      time.Duration `mapstructure:"write_timeout"`
	IdleTimeout       time.Duration `mapstructure:"idle_timeout"`
	// DrainTimeout is what running requests have when the server stops.
	DrainTimeout time.Duration `mapstructure:"drain_timeout"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Host:              "0.0.0.0",
		Port:              8000,
		BodyLimit:         2 << 20,
		RequestTimeout:    6 * time.Second,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		DrainTimeout:      8 * time.Second,
	}
}

// Validate reports every setting that cannot work. It never shows a secret.
func (c Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Port < 0 || c.Port > 65535 {
		fault("PORT: %d is not a port; use 1 to 65535", c.Port)
	}
	if c.BodyLimit < 1<<10 || c.BodyLimit > 64<<20 {
		fault("OEI_SERVER_BODY_LIMIT: %d is out of range; use 1024 to 67108864 bytes", c.BodyLimit)
	}
	if err := origin.Check("OEI_SERVER_ALLOWED_ORIGINS", c.AllowedOrigins); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.proxies(); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.basePath(); err != nil {
		errs = append(errs, err)
	}
	for _, d := range []struct {
		name       string
		value      time.Duration
		least, top time.Duration
	}{
		{"OEI_SERVER_REQUEST_TIMEOUT", c.RequestTimeout, 100 * time.Millisecond, 5 * time.Minute},
		{
			"OEI_SERVER_READ_HEADER_TIMEOUT", c.ReadHeaderTimeout, 100 * time.Millisecond,
			5 * time.Minute,
		},
		{"OEI_SERVER_READ_TIMEOUT", c.ReadTimeout, 100 * time.Millisecond, 5 * time.Minute},
		{"OEI_SERVER_WRITE_TIMEOUT", c.WriteTimeout, c.RequestTimeout, time.Hour},
		{"OEI_SERVER_IDLE_TIMEOUT", c.IdleTimeout, time.Second, time.Hour},
		{"OEI_SERVER_DRAIN_TIMEOUT", c.DrainTimeout, 0, 5 * time.Minute},
	} {
		if d.value < d.least || d.value > d.top {
			fault("%s: %v is out of range; use %v to %v", d.name, d.value, d.least, d.top)
		}
	}
	return errors.Join(errs...)
}

// proxies returns the networks of TrustedProxies.
func (c Config) proxies() ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, s := range c.TrustedProxies {
		network, err := netip.ParsePrefix(s)
		if !strings.Contains(s, "/") {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(s); err == nil {
				network = netip.PrefixFrom(addr, addr.BitLen())
			}
		}
		if err != nil {
			return nil, fmt.Errorf("OEI_SERVER_TRUSTED_PROXIES: %q is not a network; use the "+
				"form 10.0.0.0/8 or 10.0.0.1", s)
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}
