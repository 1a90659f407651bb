package broker

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/testutil"
)

// dialTLS connects to the port for TLS.
func (b *testBroker) dialTLS(c *tls.Config) *client {
	b.t.Helper()
	conn, err := tls.Dial("tcp", b.tls, c)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.over(conn)
}

func TestTLS_Connections(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	b := newTestBroker(t, func(c *Config) { c.TLSPort = AnyPort; a.files(c) })
	bare := func(c *packets.Connect) {
		c.UsernameFlag, c.Username, c.PasswordFlag, c.Password = false, "", false, nil
	}
	named := func(c *packets.Connect) { c.PasswordFlag, c.Password = false, nil }
	wrong := func(c *packets.Connect) { c.Password = []byte("x") }
	none := func(*packets.Connect) {}
	g9 := func(c *packets.Connect) { bare(c); c.ClientID = "g9" }
	tests := map[string]struct {
		certificate string
		connect     func(*packets.Connect)
		want        string
	}{
		"a secret":                                  {"", none, "CONNACK 0x00"},
		"a wrong secret":                            {"", wrong, "CONNACK 0x86"},
		"nothing":                                   {"", bare, "CONNACK 0x85"},
		"a name only":                               {"", named, "CONNACK 0x86"},
		"a certificate":                             {"g1", bare, "CONNACK 0x00"},
		"a certificate and a name":                  {"g1", named, "CONNACK 0x00"},
		"a certificate and a secret":                {"g1", none, "CONNACK 0x00"},
		"a certificate and a wrong secret":          {"g1", wrong, "CONNACK 0x86"},
		"another's certificate":                     {"g2", named, "CONNACK 0x86"},
		"another's certificate, and its own secret": {"g2", none, "CONNACK 0x86"},
		"another's certificate without a name":      {"g2", bare, "CONNACK 0x85"},
		"a certificate of an unknown gateway":       {"g9", g9, "CONNACK 0x86"},
		"a certificate and a suffix to tell them apart": {
			"g1", func(c *packets.Connect) { bare(c); c.ClientID = "g1:b" }, "CONNACK 0x00",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := b.dialTLS(a.trusting(tt.certificate, a))
			if got := c.login("g1", tt.connect); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("a certificate of an unknown authority", func(t *testing.T) {
		// its end of the handshake is the first to be done
		c := b.dialTLS(a.trusting("g1", stranger))
		if got := c.login("g1", bare); got != "closed" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("no TLS at all", func(t *testing.T) {
		conn, err := net.Dial("tcp", b.tls)
		if err != nil {
			t.Fatal(err)
		}
		b.over(conn).login("g1")
		b.over(conn).ends(limit)
	})
	t.Run("a certificate counts for nothing without TLS", func(t *testing.T) {
		if got := b.dial().login("g1", bare); got != "CONNACK 0x85" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a message, and a will", func(t *testing.T) {
		c := b.dialTLS(a.trusting("g2", a))
		c.login("g2", bare, will("gateways/g2/status", `{"status":"offline","why":"will"}`))
		c.publish(1, 1, topic, strings.Repeat("x", 100_000))
		m := b.next(1)[0]
		if m.Gateway != "g2" || len(m.Payload) != 100_000 {
			t.Errorf("submitted: %d bytes by %s", len(m.Payload), m.Gateway)
		}
		m.Done(ingest.Receipt{})
		c.reads("PUBACK 1 0x00")
		c.close()
		testutil.Eventually(t, testutil.Timeout, "the will came",
			func() bool {
				return strings.Contains(b.submittedStatuses(),
					`g2 by g2 {"status":"offline","why":"will"}`)
			}, b.submittedStatuses)
	})
	t.Run("a gateway out of use is disconnected, and not let in again", func(t *testing.T) {
		c := b.dialTLS(a.trusting("g3", a))
		c.login("g3", bare)
		b.set(func() { b.revoked[9000+'3'] = true })
		c.reads("DISCONNECT 0x87", "closed")
		if got := b.dialTLS(a.trusting("g3", a)).login("g3", bare); got != "CONNACK 0x86" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("the database is away", func(t *testing.T) {
		b.set(func() { b.down = true })
		defer b.set(func() { b.down = false })
		if got := b.dialTLS(a.trusting("g1", a)).login("g1", bare); got != "CONNACK 0x88" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a renewed certificate is used without a restart, a broken one is not",
		func(t *testing.T) {
			shown := func() string {
				conn, err := tls.Dial("tcp", b.tls, a.trusting("", nil))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
			}
			if got := shown(); got != "broker" {
				t.Errorf("got %s", got)
			}
			writeFile(t, b.cfg.TLSKey, []byte("half"))
			time.Sleep(statInterval + 100*time.Millisecond)
			if got := shown(); got != "broker" {
				t.Errorf("got %s", got)
			}
			a.renew(b.cfg, "renewed")
			testutil.Eventually(t, testutil.Timeout, "the new one is used",
				func() bool { return shown() == "renewed" })
		})
}

func TestTLS_HandshakesTimeOut(t *testing.T) {
	a := newAuthority(t)
	b := newTestBroker(t, func(c *Config) {
		c.TLSPort, c.WebSocketPort, c.ConnectTimeout = AnyPort, AnyPort, time.Second
		a.files(c)
	})
	for _, addr := range []string{b.tls, b.ws} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		b.over(conn).ends(5 * time.Second)
	}
}

func TestTLS_InvalidSettings(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	good := DefaultConfig()
	good.TLSPort = 8883
	a.files(&good)
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, content)
		return path
	}
	_, otherKey := other.issue("other", time.Now().Add(time.Hour))
	expired, expiredKey := a.issue("expired", time.Now().Add(-time.Hour))
	for name, tt := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"no certificate file": {
			func(c *Config) { c.TLSCertificate = dir + "/none" },
			[]string{"OEI_BROKER_TLS_CERTIFICATE: ", "no such file", "name a file"},
		},
		"no key file": {
			func(c *Config) { c.TLSKey = dir + "/none" },
			[]string{"OEI_BROKER_TLS_KEY: ", "no such file", "name the file"},
		},
		"no CA file": {
			func(c *Config) { c.TLSClientCA = dir + "/none" },
			[]string{"OEI_BROKER_TLS_CLIENT_CA: ", "no such file"},
		},
		"another certificate's key": {
			func(c *Config) { c.TLSKey = file("key", otherKey) },
			[]string{"OEI_BROKER_TLS_KEY: ", "does not belong to", "use the certificate's own key"},
		},
		"a CA file without a certificate": {
			func(c *Config) { c.TLSClientCA = file("ca", []byte("x")) },
			[]string{"OEI_BROKER_TLS_CLIENT_CA: ", "no certificate"},
		},
		"an expired certificate": {
			func(c *Config) {
				c.TLSCertificate = file("c", expired)
				c.TLSKey = file("k", expiredKey)
			},
			[]string{"OEI_BROKER_TLS_CERTIFICATE: ", "expired", "renew"},
		},
		"a port without a file": {
			func(c *Config) { c.TLSCertificate, c.TLSKey = "", "" },
			[]string{"OEI_BROKER_TLS_CERTIFICATE: is empty"},
		},
		"files without a port": {
			func(c *Config) { c.TLSPort = 0 }, []string{"OEI_BROKER_TLS_PORT: is 0"},
		},
		"a CA without files": {
			func(c *Config) { c.TLSPort, c.TLSCertificate, c.TLSKey = 0, "", "" },
			[]string{"OEI_BROKER_TLS_CLIENT_CA: has no effect"},
		},
		"no open port": {
			func(c *Config) { *c = DefaultConfig(); c.Plain = false },
			[]string{"OEI_BROKER_PLAIN: false leaves no port open"},
		},
		"invalid ports": {
			func(c *Config) { c.TLSPort, c.WebSocketPort = 70000, -2 },
			[]string{"OEI_BROKER_TLS_PORT: 70000", "OEI_BROKER_WEBSOCKET_PORT: -2"},
		},
		"an origin with a path": {
			func(c *Config) { c.AllowedOrigins = []string{"https://a/b"} },
			[]string{"OEI_BROKER_ALLOWED_ORIGINS: "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			tt.change(&c)
			err := c.Validate()
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %s", err, want)
				}
			}
		})
	}
	var pathErr *os.PathError
	good.TLSKey = "none"
	if _, err := newCertificates(good, nil); !errors.As(err, &pathErr) {
		t.Errorf("got %v", err)
	}
}
