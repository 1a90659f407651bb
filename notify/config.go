package notify

import (
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"time"
)

// Config says how notifications are sent.
type Config struct {
	// AllowedTargets are private addresses that webhooks may go to, as 10.1.2.3 or 10.1.0.0/16.
	AllowedTargets []string      `mapstructure:"allowed_targets"`
	Timeout        time.Duration `mapstructure:"timeout"` // of an attempt
	MaxAttempts    int           `mapstructure:"max_attempts"`
	Workers        int           `mapstructure:"workers"`   // concurrent attempts
	Retention      time.Duration `mapstructure:"retention"` // of finished deliveries
	// TimeZone is that of times in texts, for routes without one.
	TimeZone     string `mapstructure:"time_zone"`
	SMTPHost     string `mapstructure:"smtp_host"` // empty: e-mail channels fail
	SMTPPort     int    `mapstructure:"smtp_port"`
	SMTPTLS      string `mapstructure:"smtp_tls"` // starttls, tls or none
	SMTPUsername string `mapstructure:"smtp_username"`
	SMTPPassword string `mapstructure:"smtp_password"`
	SMTPFrom     string `mapstructure:"smtp_from"`
}

// DefaultConfig suits one instance as well as several that share the work.
func DefaultConfig() Config {
	return Config{
		Timeout:     10 * time.Second,
		MaxAttempts: 12,
		Workers:     8,
		Retention:   30 * 24 * time.Hour,
		TimeZone:    "UTC",
		SMTPPort:    587,
		SMTPTLS:     "starttls",
	}
}

// Validate returns the faults of all settings, each with the remedy.
func (c Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, err := prefixes(c.AllowedTargets); err != nil {
		fault("OEI_NOTIFY_ALLOWED_TARGETS: %v; use addresses such as 10.1.2.3 or 10.1.0.0/16", err)
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > time.Minute {
		fault("OEI_NOTIFY_TIMEOUT: %v is out of range; use 100ms to 1m", c.Timeout)
	}
	if c.MaxAttempts < 1 || c.MaxAttempts > 100 {
		fault("OEI_NOTIFY_MAX_ATTEMPTS: %d is out of range; use 1 to 100", c.MaxAttempts)
	}
	if c.Workers < 1 || c.Workers > 100 {
		fault("OEI_NOTIFY_WORKERS: %d is out of range; use 1 to 100", c.Workers)
	}
	if c.Retention < time.Hour {
		fault("OEI_NOTIFY_RETENTION: %v is too short; use 1h or more", c.Retention)
	}
	if err := checkZone(c.TimeZone); err != nil {
		fault("OEI_NOTIFY_TIME_ZONE: %w", err)
	}
	if c.SMTPTLS != "starttls" && c.SMTPTLS != "tls" && c.SMTPTLS != "none" {
		fault("OEI_NOTIFY_SMTP_TLS: %q is not known; use starttls, tls or none", c.SMTPTLS)
	}
	if c.SMTPHost == "" {
		return errors.Join(errs...)
	}
	if c.SMTPPort < 1 || c.SMTPPort > 65535 {
		fault("OEI_NOTIFY_SMTP_PORT: %d is not a port; use 1 to 65535", c.SMTPPort)
	}
	if _, err := mail.ParseAddress(c.SMTPFrom); err != nil {
		fault("OEI_NOTIFY_SMTP_FROM: %q is not an address; use one such as alarms@plant.example",
			c.SMTPFrom)
	}
	if c.SMTPTLS == "none" && c.SMTPPassword != "" && !isLoopback(c.SMTPHost) {
		fault("OEI_NOTIFY_SMTP_TLS: none would send the password in the clear; use starttls or tls")
	}
	return errors.Join(errs...)
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// prefixes parses a list of networks; an address is a network of one.
func prefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			addr, err := netip.ParseAddr(s)
			if err != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("%q is not an address or network", s)
			}
			p = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
