package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/oei-ms/oei-ms/store"
)

// Validate reports every setting that cannot work, or that production must not have.
func (c *Config) Validate() error { return errors.Join(c.faults(nil)...) }

// faults returns what Validate reports, without the keys in bad, whose faults are known.
func (c *Config) faults(bad map[string]bool) []error {
	parts := []error{
		c.Store.Validate(), c.Cache.Validate(), c.Ingest.Validate(), c.Push.Validate(),
		c.Notify.Validate(), c.Monitor.Validate(), c.Server.Validate(), c.Query.Validate(),
		c.authFaults(),
		c.general(), c.databaseFaults(),
	}
	if c.OwnBroker() {
		parts = append(parts, c.Broker.Validate(), c.brokerFaults())
	} else {
		parts = append(parts, c.MQTT.Validate())
	}
	if c.PrivateDatabase() {
		parts = append(parts, c.Cluster.Validate())
	}
	if c.Environment == Production {
		parts = append(parts, c.productionFaults())
	}
	var faults []error
	for _, err := range flatten(errors.Join(parts...)) {
		s, ok := c.about(err)
		switch {
		case ok && bad[s.key]:
			continue
		case ok:
			err = c.located(s, err)
		}
		if !slices.ContainsFunc(faults, func(f error) bool { return f.Error() == err.Error() }) {
			faults = append(faults, err)
		}
	}
	return faults
}

// flatten lists the errors that were joined, and those joined in them.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		if err == nil {
			return nil
		}
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

// about returns the setting that a fault begins with.
func (c *Config) about(err error) (setting, bool) {
	name, _, _ := strings.Cut(err.Error(), ":")
	for _, s := range c.settings() {
		if slices.Contains(s.names, name) {
			return s, true
		}
	}
	return setting{}, false
}

func (c *Config) general() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults,
			fmt.Errorf(format, args...))
	}
	if c.Environment != Development && c.Environment != Production {
		fault("ENVIRONMENT: %q is not known; use development or production", c.Environment)
	}
	if _, ok := levels[strings.ToLower(c.Log.Level)]; !ok {
		fault("LOG_LEVEL: %q is not known; use debug, info, warn or error", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		fault("OEI_LOG_FORMAT: %q is not known; use text or json", c.Log.Format)
	}
	if strings.HasPrefix(c.DataDir, "~") {
		fault("DATA_DIR: %q begins with ~, which only a shell understands; write the full path",
			c.DataDir)
	}
	if c.DataDir == "" && c.Auth.SecretKey == "" {
		fault("DATA_DIR: is empty; set a directory for the generated secret key, or set SECRET_KEY")
	}
	if !listenable(c.Server.Host) {
		fault("HOST: %q is not an address to listen on; "+
			"use 0.0.0.0, 127.0.0.1, :: or a name, and PORT for the port", c.Server.Host)
	}
	return errors.Join(faults...)
}

// listenable reports whether host can be an address to listen on.
func listenable(host string) bool {
	return !strings.ContainsAny(host, "/ ") && !strings.HasPrefix(host, "[") && !isHostPort(host)
}

// isHostPort reports whether s is a host with a port; an IPv6 address has several colons.
func isHostPort(s string) bool { return strings.Count(s, ":") == 1 }

// authFaults reports the faults in the settings of logins. An absent secret key is no fault: the
// start generates one.
func (c *Config) authFaults() error {
	a := c.Auth
	if a.SecretKey == "" {
		a.SecretKey = strings.Repeat("-", keyBytes)
	}
	return a.Validate()
}

// brokerFaults checks the settings that the broker in this process shares with other sections.
func (c *Config) brokerFaults() error {
	var faults []error
	if c.MQTT.Port < 0 || c.MQTT.Port > 65535 {
		faults = append(faults,
			fmt.Errorf("MQTT_PORT: %d is not a port; use 1 to 65535", c.MQTT.Port))
	}
	if !listenable(c.Broker.Host) {
		faults = append(faults,
			fmt.Errorf("OEI_BROKER_HOST: %q is not an address to listen on; "+
				"use 0.0.0.0, 127.0.0.1, :: or a name", c.Broker.Host))
	}
	taken := map[int]string{c.Server.Port: "the API's PORT"}
	for _, p := range []struct {
		name string
		port int
	}{
		{"MQTT_PORT", c.plainPort()},
		{"OEI_BROKER_TLS_PORT", c.Broker.TLSPort},
		{"OEI_BROKER_WEBSOCKET_PORT", c.Broker.WebSocketPort},
	} {
		if by := taken[p.port]; by != "" && p.port > 0 {
			faults = append(faults,
				fmt.Errorf("%s: %d is also %s; use another", p.name, p.port, by))
		}
		taken[p.port] = p.name
	}
	if c.Broker.MaxPacket < c.Ingest.MaxPayload {
		faults = append(faults,
			fmt.Errorf("OEI_BROKER_MAX_PACKET: %d is not enough for a message of "+
				"OEI_INGEST_MAX_PAYLOAD; use more than %d", c.Broker.MaxPacket,
				c.Ingest.MaxPayload))
	}
	return errors.Join(faults...)
}

// plainPort returns the port for MQTT without TLS; 0 when there is none, or any free one.
func (c *Config) plainPort() int {
	if c.Broker.Plain {
		return c.MQTT.Port
	}
	return 0
}

// takesPlainMQTT reports whether the broker in this process accepts MQTT without TLS, by TCP or
// WebSocket.
func (c *Config) takesPlainMQTT() bool {
	return c.OwnBroker() &&
		(c.Broker.Plain || c.Broker.WebSocketPort != 0 && c.Broker.TLSCertificate == "")
}

// databaseFaults checks the form of the address, and never shows it: it may hold a password.
func (c *Config) databaseFaults() error {
	if c.PrivateDatabase() {
		return nil
	}
	tls, err := store.DatabaseTLS(c.Database.URL)
	if err == nil && tls.Socket && tls.Remote != "" {
		return fmt.Errorf("DATABASE_URL: after a Unix socket the driver would connect to %s "+
			"without TLS; list either sockets or hosts", tls.Remote)
	}
	scheme, _, ok := strings.Cut(c.Database.URL, "://")
	pairs := !ok || strings.Contains(scheme, "=") // key=value pairs, whose values may contain ://
	if err == nil && (pairs || scheme == "postgres" || scheme == "postgresql") {
		return nil
	}
	const right = "is not an address of PostgreSQL; use postgres://user:password@host:5432/database"
	var malformed *url.Error
	if errors.As(err, &malformed) {
		return fmt.Errorf("DATABASE_URL: %s, and write special characters of the password as %%xx",
			right)
	}
	return errors.New("DATABASE_URL: " + right)
}

// productionFaults reports settings that are fit for trials only.
func (c *Config) productionFaults() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults,
			fmt.Errorf(format, args...))
	}
	if key := c.Auth.SecretKey; key != "" && weakKey(key) {
		fault("SECRET_KEY: it can be guessed; use at least 32 random bytes, " +
			"such as `openssl rand -base64 32` prints, or unset it to have one generated")
	}
	if word := c.Auth.AdminPassword; word != "" &&
		slices.Contains(knownWords, strings.ToLower(word)) {
		fault("ADMIN_PASSWORD: it is well known; use another, or unset it to have one generated")
	}
	plainMQTT := c.takesPlainMQTT() && !loopback(c.BrokerHost())
	if !c.AllowPlaintext && !loopback(c.Server.Host) {
		what := "HTTP"
		if plainMQTT && c.Broker.Host == "" {
			what = "HTTP and MQTT"
		}
		fault("HOST: %s accepts %s without TLS from other machines; "+
			"use 127.0.0.1 behind a proxy with TLS, or set ALLOW_PLAINTEXT=true",
			c.Server.Host, what)
	}
	if !c.AllowPlaintext && plainMQTT && c.Broker.Host != "" {
		fault("OEI_BROKER_HOST: %s accepts MQTT without TLS from other machines; "+
			"use OEI_BROKER_PLAIN=false with OEI_BROKER_TLS_PORT and a certificate, "+
			"or set ALLOW_PLAINTEXT=true", c.Broker.Host)
	}
	tls, err := store.DatabaseTLS(c.Database.URL)
	if err == nil && !c.PrivateDatabase() && tls.Remote != "" &&
		!strings.HasPrefix(string(tls.Mode), "verify-") {
		fault("DATABASE_URL: sslmode=%s does not verify the server at %s; use sslmode=verify-full",
			tls.Mode, tls.Remote)
	}
	return errors.Join(faults...)
}

// knownWords are secrets of published examples, in lower case.
var knownWords = []string{
	"secret", "secretkey", "secret-key", "secret_key", "changeme", "change-me", "change_me",
	"changeit", "password", "password1",
	"password123", "passw0rd", "admin", "admin123", "admin1234", "administrator", "letmein",
	"1234567890", "12345678", "qwerty", "mysecret",
	"my-secret-key", "supersecret", "super-secret-key", "your-secret-key", "your-secret-key-here",
	"dev", "development", "test",
}

// weakKey reports whether key is too short, from an example, or has too few different characters to
// be random.
func weakKey(key string) bool {
	lower := strings.ToLower(key)
	if len(key) < keyBytes || lower == fastAPIExample {
		return true
	}
	for _, word := range []string{
		"change", "your-", "your_", "secret", "example", "password", "default", "0123456789",
	} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	different := map[rune]bool{}
	for _, r := range key {
		different[r] = true
	}
	return len(different) < 10
}

// fastAPIExample is the key in the documentation of FastAPI, which many programs use unchanged.
const fastAPIExample = "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7"

// loopback reports whether only this machine can reach host.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
