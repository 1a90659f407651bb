package notify_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/oei-ms/oei-ms/notify"
	"github.com/oei-ms/oei-ms/store"
)

// smtpServer receives mail over TLS, from clients with the password.
type smtpServer struct {
	port  int
	roots *tls.Config // of a client that trusts it

	mu   sync.Mutex
	busy bool // answers 451
	got  []mailMessage
}

type mailMessage struct {
	to   []string
	text string
}

func newSMTPServer(t *testing.T) *smtpServer {
	t.Helper()
	web := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(web.Close)
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	b := &smtpServer{roots: &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}}
	srv := smtp.NewServer(
		smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{b: b}, nil }),
	)
	srv.Domain, srv.TLSConfig = "mail.example", &tls.Config{Certificates: web.TLS.Certificates}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.port = ln.Addr().(*net.TCPAddr).Port
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() { srv.Close(); serving.Wait() })
	return b
}

func (b *smtpServer) messages() []mailMessage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]mailMessage(nil), b.got...)
}

func (b *smtpServer) setBusy(busy bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = busy
}

const smtpPassword = "very-private-password"

type mailSession struct {
	b     *smtpServer
	known bool
	to    []string
}

func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "oei" || password != smtpPassword {
			return errors.New("unknown")
		}
		s.known = true
		return nil
	}), nil
}

func (s *mailSession) Mail(string, *smtp.MailOptions) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	switch {
	case !s.known:
		return smtp.ErrAuthRequired
	case s.b.busy:
		return &smtp.SMTPError{Code: 451, Message: "try again later"}
	}
	return nil
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.got = append(s.b.got, mailMessage{s.to, string(text)})
	return err
}

func (s *mailSession) Reset()        { s.to = nil }
func (s *mailSession) Logout() error { return nil }

// mails configures the SMTP server at port.
func mails(port int) func(*notify.Config) {
	return func(c *notify.Config) {
		c.SMTPHost, c.SMTPPort = "127.0.0.1", port
		c.SMTPUsername, c.SMTPPassword = "oei", smtpPassword
		c.SMTPFrom = "OEI-MS <alarms@plant.example>"
	}
}

func TestEmail_IsSentOverTLSAndRetried(t *testing.T) {
	p, b := newFixture(t), newSMTPServer(t)
	c := p.channel(store.Channel{
		Kind:       store.Email,
		Recipients: []string{"a@example.com", "b@example.com"},
	})
	p.route(store.Route{ChannelID: c.ID, TimeZone: "Asia/Tokyo"})
	p.run(`UPDATE alarms SET name = E'Oil\r\nBcc: evil@example.com' WHERE id = 1`)
	n := p.notifier(mails(b.port))
	n.Trust(b.roots)
	b.setBusy(true)
	p.raise(3, 1)
	p.step(n, noon)
	if d := p.deliveries()[0]; d.Status != "waiting" || !strings.Contains(d.Detail, "451") {
		t.Errorf("while the server is busy: got %s %q", d.Status, d.Detail)
	}
	b.setBusy(false)
	p.step(n, noon.Add(time.Hour))
	d := p.deliveries()[0]
	got := b.messages()
	if d.Status != "delivered" || len(got) != 1 || len(got[0].to) != 2 {
		t.Fatalf("got %s %q, %d messages", d.Status, d.Detail, len(got))
	}
	m, err := mail.ReadMessage(strings.NewReader(got[0].text))
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get("Bcc") != "" || m.Header.Get("Message-ID") != "<"+d.Key+"@plant.example>" ||
		m.Header.Get("Auto-Submitted") != "auto-generated" {
		t.Errorf("headers: got %v", m.Header)
	}
	if text := got[0].text; strings.Count(text,
		"2026-03-04 21:00:00 JST (+09:00) [critical] Press/Oil") != 3 {
		t.Errorf("got %s", text)
	}
	if strings.Contains(p.log.String(), smtpPassword) {
		t.Error("the log contains the password")
	}
}

func TestEmail_FailureSaysWhy(t *testing.T) {
	p, b := newFixture(t), newSMTPServer(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections and does not answer
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := p.channel(store.Channel{Kind: store.Email, Recipients: []string{"a@example.com"}})
	tests := map[string]struct {
		change func(*notify.Config)
		trust  bool
		want   string
	}{
		"no server": {
			func(c *notify.Config) { c.SMTPHost = "" }, true, "no SMTP server is set",
		},
		"an unknown certificate": {func(*notify.Config) {}, false, "certificate"},
		"a wrong password": {
			func(c *notify.Config) { c.SMTPPassword = "wrong" }, true, "smtp",
		},
		"a port without server": {func(c *notify.Config) { c.SMTPPort = 1 }, true, "smtp"},
		"a server that does not answer": {
			func(c *notify.Config) {
				c.SMTPPort, c.Timeout = silent.Addr().(*net.TCPAddr).Port, time.Second
			},
			true, "smtp",
		},
		"a server without TLS, which is required": {
			func(c *notify.Config) { c.SMTPTLS = "tls" }, true, "smtp",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n := p.notifier(mails(b.port), test.change)
			if test.trust {
				n.Trust(b.roots)
			}
			d, err := n.TestChannel(t.Context(), c.ID)
			if err != nil || d.Status != "failed" || !strings.Contains(d.Detail, test.want) &&
				!strings.Contains(d.Detail, "in time") || strings.Contains(d.Detail, smtpPassword) {
				t.Errorf("got %s %q, %v; want %q", d.Status, d.Detail, err, test.want)
			}
		})
	}
	if got := len(b.messages()); got != 0 {
		t.Errorf("%d messages were received, want 0", got)
	}
}
