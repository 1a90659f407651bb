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

// certificates are what the broker proves itself with, and knows its clients by. They are read anew
// when their files change.
type certificates struct {
	cfg Config
	log *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	version string // of the files, as they were last tried
	config  *tls.Config
}

// lookInterval is how often the files are looked at, when somebody connects.
const lookInterval = time.Second

func newCertificates(cfg Config, log *slog.Logger) (*certificates, error) {
	c := &certificates{cfg: cfg, log: log, version: cfg.tlsVersion(), looked: time.Now()}
	var err error
	c.config, err = cfg.tlsConfig()
	return c, err
}

// open does the TLS handshake.
func (c *certificates) open(conn net.Conn) (net.Conn, string, error) {
	t := tls.Server(conn, c.current())
	if err := t.HandshakeContext(context.Background()); err != nil { // it has a deadline
		return nil, "", err
	}
	name := ""
	if state := t.ConnectionState(); len(state.VerifiedChains) > 0 {
		name = state.PeerCertificates[0].Subject.CommonName
	}
	return t, name, nil
}

// current is what the files say. While they say nothing that can be used, what they said before
// stays in force.
func (c *certificates) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.looked) < lookInterval {
		return c.config
	}
	c.looked = now
	version := c.cfg.tlsVersion()
	if version == c.version {
		return c.config
	}
	c.version = version
	config, err := c.cfg.tlsConfig()
	if err != nil {
		c.log.Error("cannot use the changed certificate of the mqtt broker, the one before stays",
			"error", err)
		return c.config
	}
	c.log.Info("the mqtt broker uses a new certificate", "file", c.cfg.TLSCertificate)
	c.config = config
	return config
}

// tlsVersion tells one state of the files from another.
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

// tlsConfig reads the files. An error names the setting and what would be right.
func (c Config) tlsConfig() (*tls.Config, error) {
	cert, err := os.ReadFile(c.TLSCertificate)
	if err != nil {
		return nil, fmt.Errorf("OEI_BROKER_TLS_CERTIFICATE: %w; name a file with a certificate in PEM, and those between it and its root", err)
	}
	key, err := os.ReadFile(c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf(
			"OEI_BROKER_TLS_KEY: %w; name the file with the certificate's private key in PEM", err,
		)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("OEI_BROKER_TLS_KEY: %s does not go with the certificate in %s (%w); use the key it was made for, both in PEM",
			c.TLSKey, c.TLSCertificate, err)
	}
	switch now := time.Now(); {
	case now.After(pair.Leaf.NotAfter):
		return nil, fmt.Errorf("OEI_BROKER_TLS_CERTIFICATE: %s has expired on %s; renew it",
			c.TLSCertificate, pair.Leaf.NotAfter.Format(time.DateTime))
	case now.Before(pair.Leaf.NotBefore):
		return nil, fmt.Errorf("OEI_BROKER_TLS_CERTIFICATE: %s is not valid before %s; set the clock or use another",
			c.TLSCertificate, pair.Leaf.NotBefore.Format(time.DateTime))
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if c.TLSClientCA != "" {
		ca, err := os.ReadFile(c.TLSClientCA)
		if err != nil {
			return nil, fmt.Errorf("OEI_BROKER_TLS_CLIENT_CA: %w; name a file with the certificates, in PEM, of who signs those of gateways", err)
		}
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if !config.ClientCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf(
				"OEI_BROKER_TLS_CLIENT_CA: %s has no certificate in PEM; name a file that has",
				c.TLSClientCA,
			)
		}
	}
	return config, nil
}

// tlsFaults are those of the settings of TLS.
func (c Config) tlsFaults() error {
	on, used := c.TLSCertificate != "" || c.TLSKey != "", c.TLSPort != 0 || c.WebSocketPort != 0
	switch {
	case c.TLSPort != 0 && !on:
		return errors.New("OEI_BROKER_TLS_CERTIFICATE: is empty; name the file with the certificate for OEI_BROKER_TLS_PORT, and its key by OEI_BROKER_TLS_KEY")
	case on && !used:
		return errors.New("OEI_BROKER_TLS_PORT: is 0, and the certificate is of no use; use 8883, or leave OEI_BROKER_TLS_CERTIFICATE and OEI_BROKER_TLS_KEY out")
	case !on && c.TLSClientCA != "":
		return errors.New("OEI_BROKER_TLS_CLIENT_CA: is of no use without OEI_BROKER_TLS_CERTIFICATE; set that too, or leave it out")
	case on:
		_, err := c.tlsConfig()
		return err
	}
	return nil
}
