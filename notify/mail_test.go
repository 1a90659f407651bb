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

// mailbox is an SMTP server that takes mail over TLS, from whoever knows the password.
type mailbox struct {
	port  int
	roots *tls.Config // what trusts it

	mu   sync.Mutex
	busy bool // refuses for now
	got  []letter
}

type letter struct {
	to   []string
	text string
}

func newMailbox(t *testing.T) *mailbox {
	t.Helper()
	web := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(web.Close)
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	b := &mailbox{roots: &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}}
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

func (b *mailbox) letters() []letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]letter(nil), b.got...)
}

func (b *mailbox) isBusy(busy bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = busy
}

const smtpPassword = "very-private-password"

type mailSession struct {
	b     *mailbox
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
	s.b.got = append(s.b.got, letter{s.to, string(text)})
	return err
}

func (s *mailSession) Reset()        { s.to = nil }
func (s *mailSession) Logout() error { return nil }

// mails makes a notifier send mail to port.
func mails(port int) func(*notify.Config) {
	return func(c *notify.Config) {
		c.SMTPHost, c.SMTPPort, c.SMTPUsername, c.SMTPPassword, c.SMTPFrom = "127.0.0.1", port, "oei", smtpPassword, "OEI-MS <alarms@plant.example>"
	}
}

func TestEmailIsSentOverTLSAndTriedAgain(t *testing.T) {
	p, b := newPlant(t), newMailbox(t)
	c := p.channel(store.Channel{
		Kind:       store.Email,
		Recipients: []string{"a@example.com", "b@example.com"},
	})
	p.route(store.Route{ChannelID: c.ID, TimeZone: "Asia/Tokyo"})
	p.run(`UPDATE alarms SET name = E'Oil\r\nBcc: evil@example.com' WHERE id = 1`)
	n := p.notifier(mails(b.port))
	n.Trust(b.roots)
	b.isBusy(true)
	p.raised(3, 1)
	p.step(n, noon)
	if d := p.deliveries()[0]; d.Status != "waiting" || !strings.Contains(d.Detail, "451") {
		t.Errorf("while the server is busy: got %s %q", d.Status, d.Detail)
	}
	b.isBusy(false)
	p.step(n, noon.Add(time.Hour))
	d := p.deliveries()[0]
	got := b.letters()
	if d.Status != "delivered" || len(got) != 1 || len(got[0].to) != 2 {
		t.Fatalf("got %s %q, %d letters", d.Status, d.Detail, len(got))
	}
	m, err := mail.ReadMessage(strings.NewReader(got[0].text))
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get("Bcc") != "" || m.Header.Get("Message-ID") != "<"+d.Key+"@plant.example>" ||
		m.Header.Get("Auto-Submitted") != "auto-generated" {
		t.Errorf("head: got %v", m.Header)
	}
	if text := got[0].text; strings.Count(text,
		"2026-03-04 21:00:00 JST (+09:00) [critical] Press/Oil") != 3 {
		t.Errorf("got %s", text)
	}
	if strings.Contains(p.log.String(), smtpPassword) {
		t.Error("the log holds the password")
	}
}

func TestEmailThatCannotBeSentSaysWhy(t *testing.T) {
	p, b := newPlant(t), newMailbox(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
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
		"a certificate nobody knows": {func(*notify.Config) {}, false, "certificate"},
		"a wrong password": {
			func(c *notify.Config) { c.SMTPPassword = "wrong" }, true, "smtp",
		},
		"a server that is not there": {func(c *notify.Config) { c.SMTPPort = 1 }, true, "smtp"},
		"a server that says nothing": {
			func(c *notify.Config) { c.SMTPPort, c.Timeout = silent.Addr().(*net.TCPAddr).Port, time.Second },
			true, "smtp",
		},
		"one without TLS, though it must": {
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
	if got := len(b.letters()); got != 0 {
		t.Errorf("%d letters came", got)
	}
}
