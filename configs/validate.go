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

// faults are what Validate reports, but for those of the keys in bad, whose faults are known
// already.
func (c *Config) faults(bad map[string]bool) []error {
	parts := []error{
		c.Store.Validate(), c.Cache.Validate(), c.Ingest.Validate(), c.Push.Validate(),
		c.Notify.Validate(), c.Watch.Validate(), c.Server.Validate(), c.authFaults(), c.general(), c.databaseFaults(),
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

// about is the setting that a fault begins with.
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
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
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
		fault("DATA_DIR: %q begins with ~, which only a shell understands; write the whole path",
			c.DataDir)
	}
	if c.DataDir == "" && c.Auth.SecretKey == "" {
		fault("DATA_DIR: is empty; name a directory, for the secret key that is made when SECRET_KEY is not set")
	}
	if !listenable(c.Server.Host) {
		fault("HOST: %q is not an address to listen on; use 0.0.0.0, 127.0.0.1, :: or a name, and PORT for the port", c.Server.Host)
	}
	return errors.Join(faults...)
}

// listenable reports whether host can be an address to listen on.
func listenable(host string) bool {
	return !strings.ContainsAny(host, "/ ") && !strings.HasPrefix(host, "[") && !isHostPort(host)
}

// isHostPort reports whether s has a port behind its host; an IPv6 address has several colons.
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

// brokerFaults are those of the settings that the broker in this process shares with others.
func (c *Config) brokerFaults() error {
	var faults []error
	if c.MQTT.Port < 0 || c.MQTT.Port > 65535 {
		faults = append(faults,
			fmt.Errorf("MQTT_PORT: %d is not a port; use 1 to 65535", c.MQTT.Port))
	}
	if !listenable(c.Broker.Host) {
		faults = append(faults,
			fmt.Errorf("OEI_BROKER_HOST: %q is not an address to listen on; use 0.0.0.0, 127.0.0.1, :: or a name", c.Broker.Host))
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
			faults = append(faults, fmt.Errorf("%s: %d is %s too; use another", p.name, p.port, by))
		}
		taken[p.port] = p.name
	}
	if c.Broker.MaxPacket < c.Ingest.MaxPayload {
		faults = append(faults,
			fmt.Errorf("OEI_BROKER_MAX_PACKET: %d is less than a message may have by OEI_INGEST_MAX_PAYLOAD; use more than %d",
				c.Broker.MaxPacket, c.Ingest.MaxPayload))
	}
	return errors.Join(faults...)
}

// plainPort is the port for MQTT without TLS; 0 when there is none, or any.
func (c *Config) plainPort() int {
	if c.Broker.Plain {
		return c.MQTT.Port
	}
	return 0
}

// takesPlainMQTT reports whether the broker in this process takes MQTT without TLS, by WebSocket or
// not.
func (c *Config) takesPlainMQTT() bool {
	return c.OwnBroker() &&
		(c.Broker.Plain || c.Broker.WebSocketPort != 0 && c.Broker.TLSCertificate == "")
}

// databaseFaults says what is wrong with the form of the address, and never shows it: it may hold a
// password.
func (c *Config) databaseFaults() error {
	if c.PrivateDatabase() {
		return nil
	}
	tls, err := store.DatabaseTLS(c.Database.URL)
	if err == nil && tls.Socket && tls.Remote != "" {
		return fmt.Errorf("DATABASE_URL: after a Unix socket the driver would connect to %s without TLS; list either sockets or hosts",
			tls.Remote)
	}
	scheme, _, ok := strings.Cut(c.Database.URL, "://")
	pairs := !ok || strings.Contains(scheme, "=") // key=value, of which a value may have ://
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

// productionFaults are what is fit for trying out only.
func (c *Config) productionFaults() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if key := c.Auth.SecretKey; key != "" && weakKey(key) {
		fault("SECRET_KEY: it can be guessed; use 32 random bytes or more, as `openssl rand -base64 32` gives, or leave it out and one is made")
	}
	if word := c.Auth.AdminPassword; word != "" &&
		slices.Contains(knownWords, strings.ToLower(word)) {
		fault("ADMIN_PASSWORD: everybody knows it; use another, or leave it out and one is made")
	}
	plainMQTT := c.takesPlainMQTT() && !loopback(c.BrokerHost())
	if !c.AllowPlaintext && !loopback(c.Server.Host) {
		what := "HTTP"
		if plainMQTT && c.Broker.Host == "" {
			what = "HTTP and MQTT"
		}
		fault("HOST: %s takes %s without TLS from beyond this machine; use 127.0.0.1 behind a proxy that speaks TLS, or say ALLOW_PLAINTEXT=true",
			c.Server.Host, what)
	}
	if !c.AllowPlaintext && plainMQTT && c.Broker.Host != "" {
		fault("OEI_BROKER_HOST: %s takes MQTT without TLS from beyond this machine; use OEI_BROKER_PLAIN=false with OEI_BROKER_TLS_PORT and a certificate, "+
			"or say ALLOW_PLAINTEXT=true", c.Broker.Host)
	}
	tls, err := store.DatabaseTLS(c.Database.URL)
	if err == nil && !c.PrivateDatabase() && tls.Remote != "" &&
		!strings.HasPrefix(string(tls.Mode), "verify-") {
		fault("DATABASE_URL: sslmode=%s does not verify that the server at %s is the right one; use sslmode=verify-full",
			tls.Mode, tls.Remote)
	}
	return errors.Join(faults...)
}

// knownWords are secrets out of examples, in lower case.
var knownWords = []string{
	"secret", "secretkey", "secret-key", "secret_key", "changeme", "change-me", "change_me",
	"changeit", "password", "password1",
	"password123", "passw0rd", "admin", "admin123", "admin1234", "administrator", "letmein",
	"1234567890", "12345678", "qwerty", "mysecret",
	"my-secret-key", "supersecret", "super-secret-key", "your-secret-key", "your-secret-key-here",
	"dev", "development", "test",
}

// weakKey reports whether key is too short, out of an example, or of too few different characters
// to be random.
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

// fastAPIExample stands in the documentation of FastAPI, and so in many a program.
const fastAPIExample = "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7"

// loopback reports whether only this machine can reach host.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
