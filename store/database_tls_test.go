package store_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

func TestDatabaseTLS(t *testing.T) {
	type dsnWithEnv struct{ dsn, env string }
	for in, want := range map[dsnWithEnv]store.TLS{
		{"postgresql://postgres:password@localhost:5432/oei_ms", ""}: {Mode: "prefer"},
		{"postgres://u:p@LOCALHOST./x", ""}:                          {Mode: "prefer"},
		{"postgres://u:p@127.8.9.10/x", ""}:                          {Mode: "prefer"},
		{"postgres://u:p@[::1]:5433/x", ""}:                          {Mode: "prefer"},
		{"postgres://u:p@[::ffff:127.0.0.1]:5432/x", ""}:             {Mode: "prefer"},
		{"postgres:///x?host=localhost", ""}:                         {Mode: "prefer"},
		{"postgres://u:p@localhost,127.0.0.1/x", ""}:                 {Mode: "prefer"},
		{"host=localhost user=u password=", ""}:                      {Mode: "prefer"},
		{"user=u password='a sslmode=disable'", ""}:                  {Mode: "prefer"},
		{"host=db hostaddr=127.0.0.1", ""}:                           {Mode: "prefer"},
		{"postgres://u:p@db/x", ""}: {
			Mode:   "require",
			Remote: "db",
		},
		{"postgresql://u:p@192.168.0.5/x", ""}: {
			Mode:   "require",
			Remote: "192.168.0.5",
		},
		{"postgres://u:p@localhost.example.com/x", ""}: {
			Mode:   "require",
			Remote: "localhost.example.com",
		},
		{"host=localhost hostaddr=10.0.0.1", ""}: {
			Mode:   "require",
			Remote: "10.0.0.1",
		},
		{"postgres://u:p@localhost,db2/x", ""}: {
			Mode:   "require",
			Remote: "db2",
		},
		{"postgres://u:p@localhost/x?sslnegotiation=direct", ""}: {Mode: "require"},
		{"postgres://u:p@localhost/x?sslmode=disable", ""}:       {Mode: "disable", Given: true},
		{"postgres://u:p@db/x?sslmode=verify-full", "disable"}: {
			Mode:   "verify-full",
			Given:  true,
			Remote: "db",
		},
		{"host=db user=u sslmode=allow", ""}: {
			Mode:   "allow",
			Given:  true,
			Remote: "db",
		},
		{"postgres://u:p@localhost/x", "require"}: {Mode: "require", Given: true},
		{"postgres://u:p@db/x", "disable"}: {
			Mode:   "disable",
			Given:  true,
			Remote: "db",
		},
		{"host=/run/postgresql dbname=x", ""}: {
			Mode:   "disable",
			Socket: true,
		},
		{"host=@oei dbname=x", "require"}: {
			Mode:   "disable",
			Socket: true,
		},
		{"postgres:///x?host=/run/postgresql", ""}: {
			Mode:   "disable",
			Socket: true,
		},
	} {
		t.Run(in.dsn+" "+in.env, func(t *testing.T) {
			if in.env != "" {
				t.Setenv("PGSSLMODE", in.env)
			}
			got, err := store.DatabaseTLS(in.dsn)
			if err != nil || got != want {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
			// The driver gets an explicit mode, so that its default does not matter.
			explicit, err := store.WithTLS(in.dsn)
			ok(t, err)
			if !strings.Contains(explicit, "sslmode="+string(want.Mode)) {
				t.Errorf("got %q, want sslmode=%s in it", explicit, want.Mode)
			}
			cfg, err := pq.NewConfig(explicit)
			ok(t, err)
			before, err := pq.NewConfig(in.dsn)
			ok(t, err)
			if cfg.SSLMode != want.Mode || cfg.Host != before.Host ||
				cfg.User != before.User || cfg.Password != before.Password ||
				cfg.Database != before.Database || cfg.Port != before.Port ||
				len(cfg.Multi) != len(before.Multi) {
				t.Errorf("got %+v, want %+v with sslmode %s", cfg, before, want.Mode)
			}
		})
	}
}

// front accepts TCP connections on loopback for a PostgreSQL that listens on a Unix socket only.
type front struct {
	addr                net.Addr
	requests, encrypted atomic.Int32 // connections that requested TLS, and those that got it
}

// startFront starts a front that offers TLS with cert; nil: it offers none.
func startFront(t *testing.T, socket string, cert *tls.Certificate) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	f := &front{addr: listener.Addr()}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go f.serve(c, socket, cert)
		}
	}()
	return f
}

func (f *front) serve(c net.Conn, socket string, cert *tls.Certificate) {
	defer c.Close()
	first := make([]byte, 8)
	if _, err := io.ReadFull(c, first); err != nil {
		return
	}
	const sslRequest = 80877103
	if binary.BigEndian.Uint32(first[4:]) == sslRequest {
		f.requests.Add(1)
		if cert == nil {
			_, _ = c.Write([]byte("N"))
		} else {
			_, _ = c.Write([]byte("S"))
			c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*cert}})
			f.encrypted.Add(1)
		}
		first = nil
	}
	server, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer server.Close()
	_, _ = server.Write(first)
	go func() { _, _ = io.Copy(server, c); _ = server.Close() }()
	_, _ = io.Copy(c, server)
}

func TestOpen_LoopbackWithoutSSLMode(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	ok(t, err)
	cert := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	for name, tt := range map[string]struct {
		cert   *tls.Certificate
		params string
		says   string // of the error
	}{
		"a server without TLS is used without": {nil, "", ""},
		"a server with TLS is used with it":    {cert, "", ""},
		"required TLS has no fallback": {
			nil, "&sslmode=require", "SSL is not enabled",
		},
		"disabled TLS is not requested": {cert, "&sslmode=disable", ""},
	} {
		t.Run(name, func(t *testing.T) {
			own, err := pq.NewConfig(pgtest.DSN(t))
			ok(t, err)
			f := startFront(t, fmt.Sprintf("%s/.s.PGSQL.%d", own.Host, own.Port), tt.cert)
			dsn := fmt.Sprintf("postgresql://%s@%s/%s?synchronous_commit=on%s", own.User, f.addr,
				own.Database, tt.params)
			s, err := store.Open(t.Context(), dsn, store.DefaultConfig(),
				slog.New(slog.DiscardHandler))
			if tt.says != "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v, want it to say %q", err, tt.says)
				}
				return
			}
			ok(t, err)
			defer s.Close()
			_, err = s.Ping(t.Context())
			ok(t, err)
			if asked := f.requests.Load() > 0; asked == (tt.params != "") {
				t.Errorf("asked for TLS: got %v", asked)
			}
			if inside := f.encrypted.Load() > 0; inside != (tt.cert != nil && tt.params == "") {
				t.Errorf("connected by TLS: got %v", inside)
			}
		})
	}
}
