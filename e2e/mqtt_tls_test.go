package e2e

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
	"regexp"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/gorilla/websocket"
)

// TestMQTTOverTLS_WithClientCertificate has a gateway log in by its certificate at a server without
// plain MQTT.
func TestMQTTOverTLS_WithClientCertificate(t *testing.T) {
	t.Parallel()
	cert, key, pair := selfSigned(t, "secure-1")
	p := launch(t, dataDir(t), []string{"serve"}, "OEI_BROKER_PLAIN=false",
		"OEI_BROKER_TLS_PORT=-1", "OEI_BROKER_WEBSOCKET_PORT=-1",
		"OEI_BROKER_TLS_CERTIFICATE="+cert, "OEI_BROKER_TLS_KEY="+key,
		"OEI_BROKER_TLS_CLIENT_CA="+cert)
	p.waitReady()
	secure := regexp.MustCompile(`MQTT v5 +(\S+) with TLS\n +MQTT v5 +(wss://\S+)\n`).
		FindStringSubmatch(p.out.String())
	if secure == nil {
		t.Fatalf("it says:\n%s", p.out)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(pair.Leaf)
	config := &tls.Config{
		RootCAs:      trusted,
		Certificates: []tls.Certificate{pair},
		ServerName:   "localhost",
	}
	login := func(conn net.Conn) (byte, error) {
		c := paho.NewClient(paho.ClientConfig{Conn: conn})
		ack, err := c.Connect(t.Context(),
			&paho.Connect{ClientID: "secure-1", CleanStart: true, KeepAlive: 30})
		if err == nil {
			_ = c.Disconnect(&paho.Disconnect{})
			<-c.Done()
		}
		if ack == nil {
			return 0xff, err
		}
		return ack.ReasonCode, err
	}
	conn, err := tls.Dial("tcp", secure[1], config)
	if err != nil {
		t.Fatal(err)
	}
	if code, err := login(conn); code != 0x86 {
		t.Errorf("before it is registered: got %#x, %v", code, err)
	}
	p.register(p.login(), "secure-1")
	if conn, err = tls.Dial("tcp", secure[1], config); err != nil {
		t.Fatal(err)
	}
	if code, err := login(conn); code != 0 || err != nil {
		t.Errorf("by TLS: got %#x, %v", code, err)
	}
	d := websocket.Dialer{Subprotocols: []string{"mqtt"}, TLSClientConfig: config}
	ws, _, err := d.Dial(secure[2], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
}

// selfSigned writes a certificate for this machine and its key to files.
func selfSigned(t *testing.T, name string) (cert, key string, pair tls.Certificate) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		NotAfter:              time.Now().Add(time.Hour),
		DNSNames:              []string{"localhost"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{
			x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth,
		},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey,
		private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: der},
		key:  {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pair, err = tls.LoadX509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	return cert, key, pair
}
