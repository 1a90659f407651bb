package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	self := x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "test"},
		NotAfter:     time.Now().Add(time.Hour),
		IsCA:         true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = a.sign(self, nil)
	return a
}

// sign makes a certificate; without a parent it signs itself.
func (a *authority) sign(
	template x509.Certificate, parent *x509.Certificate,
) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	signer := a.key
	if parent == nil {
		parent, signer = &template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// issue makes a certificate for name.
func (a *authority) issue(name string, notAfter time.Time) (certPEM, keyPEM []byte) {
	a.t.Helper()
	cert, key := a.sign(x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotAfter:     notAfter,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return inPEM("CERTIFICATE", cert.Raw), inPEM("PRIVATE KEY", der)
}

func inPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// files has a broker use a certificate of a's, and know its gateways by them.
func (a *authority) files(c *Config) {
	a.t.Helper()
	dir := a.t.TempDir()
	c.TLSCertificate, c.TLSKey, c.TLSClientCA = filepath.Join(dir, "cert.pem"), filepath.Join(dir,
		"key.pem"), filepath.Join(dir, "ca.pem")
	a.renew(*c, "broker")
	writeFile(a.t, c.TLSClientCA, inPEM("CERTIFICATE", a.cert.Raw))
}

// renew gives the broker another certificate.
func (a *authority) renew(c Config, name string) {
	a.t.Helper()
	cert, key := a.issue(name, time.Now().Add(time.Hour))
	writeFile(a.t, c.TLSCertificate, cert)
	writeFile(a.t, c.TLSKey, key)
}

func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// trusting is how a client connects, which shows a certificate unless name is "".
func (a *authority) trusting(name string, issuer *authority) *tls.Config {
	a.t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AddCert(a.cert)
	if name != "" {
		pair, err := tls.X509KeyPair(issuer.issue(name, time.Now().Add(time.Hour)))
		if err != nil {
			a.t.Fatal(err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &pair, nil
		}
	}
	return c
}
