package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// certificates holds the broker's TLS configuration, and reads it again when its files change.
type certificates struct {
	cfg Config
	log *slog.Logger

	mu       sync.Mutex
	statedAt time.Time
	version  string // of the files, when they were last read
	config   *tls.Config
}

// statInterval is how often a connection makes it check the files for changes.
const statInterval = time.Second

func newCertificates(cfg Config, log *slog.Logger) (*certificates, error) {
	c := &certificates{cfg: cfg, log: log, version: cfg.tlsVersion(), statedAt: time.Now()}
	var err error
	c.config, err = cfg.tlsConfig()
	return c, err
}

// open does the TLS handshake.
func (c *certificates) open(conn net.Conn) (net.Conn, string, error) {
	t := tls.Server(conn, c.current())
	// without a deadline in the context: the connection has one
	if err := t.HandshakeContext(context.Background()); err != nil {
		return nil, "", err
	}
	name := ""
	if state := t.ConnectionState(); len(state.VerifiedChains) > 0 {
		name = state.PeerCertificates[0].Subject.CommonName
	}
	return t, name, nil
}

// current returns the configuration in the files. While the files are invalid, it returns the
// former configuration.
func (c *certificates) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.statedAt) < statInterval {
		return c.config
	}
	c.statedAt = now
	version := c.cfg.tlsVersion()
	if version == c.version {
		return c.config
	}
	c.version = version
	config, err := c.cfg.tlsConfig()
	if err != nil {
		c.log.Error("reloading mqtt certificate failed", "error", err,
			"hint", "the former certificate stays in use; mend the files")
		return c.config
	}
	c.log.Info("mqtt certificate reloaded", "file", c.cfg.TLSCertificate)
	c.config = config
	return config
}

// tlsVersion returns a string that changes with the files.
func (c Config) tlsVersion() string {
	var v strings.Builder
	for _, path := range []string{c.TLSCertificate, c.TLSKey, c.TLSClientCA} {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintf(&v, "%d %d;", info.ModTime().UnixNano(), info.Size())
		} else {
			v.WriteString("none;")
		}
	}
	return v.String()
}

// tlsConfig reads the files. An error names the setting and its remedy.
func (c Config) tlsConfig() (*tls.Config, error) {
	cert, err := os.ReadFile(c.TLSCertificate)
	if err != nil {
		return nil, fmt.Errorf("OEI_BROKER_TLS_CERTIFICATE: %w; "+
			"name a file with a certificate and its intermediate certificates in PEM", err)
	}
	key, err := os.ReadFile(c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf(
			"OEI_BROKER_TLS_KEY: %w; name the file with the certificate's private key in PEM", err,
		)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("OEI_BROKER_TLS_KEY: %s does not belong to the certificate in %s "+
			"(%w); use the certificate's own key, both in PEM",
			c.TLSKey, c.TLSCertificate, err)
	}
	switch now := time.Now(); {
	case now.After(pair.Leaf.NotAfter):
		return nil, fmt.Errorf("OEI_BROKER_TLS_CERTIFICATE: %s expired on %s; renew it",
			c.TLSCertificate, pair.Leaf.NotAfter.Format(time.DateTime))
	case now.Before(pair.Leaf.NotBefore):
		return nil, fmt.Errorf("OEI_BROKER_TLS_CERTIFICATE: %s is not valid before %s; "+
			"set the clock or use another",
			c.TLSCertificate, pair.Leaf.NotBefore.Format(time.DateTime))
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if c.TLSClientCA != "" {
		ca, err := os.ReadFile(c.TLSClientCA)
		if err != nil {
			return nil, fmt.Errorf("OEI_BROKER_TLS_CLIENT_CA: %w; "+
				"name a file with the certificates, in PEM, that sign those of gateways", err)
		}
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if !config.ClientCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf(
				"OEI_BROKER_TLS_CLIENT_CA: %s contains no certificate in PEM; name a file with one",
				c.TLSClientCA,
			)
		}
	}
	return config, nil
}

// validateTLS reports the first setting of TLS that cannot work.
func (c Config) validateTLS() error {
	on, used := c.TLSCertificate != "" || c.TLSKey != "", c.TLSPort != 0 || c.WebSocketPort != 0
	switch {
	case c.TLSPort != 0 && !on:
		return errors.New("OEI_BROKER_TLS_CERTIFICATE: is empty; name the file with the " +
			"certificate for OEI_BROKER_TLS_PORT, and its key by OEI_BROKER_TLS_KEY")
	case on && !used:
		return errors.New("OEI_BROKER_TLS_PORT: is 0, so the certificate is not used; " +
			"use 8883, or leave OEI_BROKER_TLS_CERTIFICATE and OEI_BROKER_TLS_KEY empty")
	case !on && c.TLSClientCA != "":
		return errors.New("OEI_BROKER_TLS_CLIENT_CA: has no effect without " +
			"OEI_BROKER_TLS_CERTIFICATE; set that too, or leave this empty")
	case on:
		_, err := c.tlsConfig()
		return err
	}
	return nil
}
