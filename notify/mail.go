package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	mail "github.com/wneessen/go-mail"

	"github.com/oei-ms/oei-ms/store"
)

// mailer sends e-mail by the configured SMTP server.
type mailer struct {
	cfg Config
	tls *tls.Config // nil: verify by the system's certificates
}

func (s mailer) send(ctx context.Context, c store.Channel, m message) (detail string, err error) {
	if s.cfg.SMTPHost == "" {
		return "", permanent{
			errors.New("no SMTP server is set; set OEI_NOTIFY_SMTP_HOST and OEI_NOTIFY_SMTP_FROM"),
		}
	}
	msg := mail.NewMsg()
	if err := errors.Join(msg.From(s.cfg.SMTPFrom), msg.To(c.Recipients...)); err != nil {
		return "", permanent{fmt.Errorf("address: %w", err)}
	}
	_, domain, _ := strings.Cut(msg.GetFrom()[0].Address, "@")
	// the same in every attempt, so that servers and readers recognize a repetition
	msg.SetMessageIDWithValue(m.Key + "@" + domain)
	msg.SetDateWithValue(m.CreatedAt)
	msg.Subject(plain(m.subject, 200))
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetBodyString(mail.TypeTextPlain, m.text())
	client, err := s.client()
	if err != nil {
		return "", permanent{fmt.Errorf("smtp: %w", err)}
	}
	if err := client.DialAndSendWithContext(ctx, msg); err != nil {
		if ctx.Err() != nil {
			return "", errors.New("the SMTP server did not answer in time")
		}
		return "", fmt.Errorf("smtp: %w", err)
	}
	return fmt.Sprintf("accepted by the SMTP server for %d recipients", len(c.Recipients)), nil
}

func (s mailer) client() (*mail.Client, error) {
	conf := s.tls
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.cfg.SMTPHost}
	}
	options := []mail.Option{
		mail.WithPort(s.cfg.SMTPPort), mail.WithTimeout(max(s.cfg.Timeout, time.Second)),
		mail.WithTLSConfig(conf), mail.WithoutNoop(),
	}
	switch s.cfg.SMTPTLS {
	case "tls":
		options = append(options, mail.WithSSL())
	case "none":
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if s.cfg.SMTPUsername != "" {
		auth := mail.SMTPAuthAutoDiscover
		if s.cfg.SMTPTLS == "none" { // on loopback only, see Validate
			auth = mail.SMTPAuthPlainNoEnc
		}
		options = append(options, mail.WithSMTPAuth(auth), mail.WithUsername(s.cfg.SMTPUsername),
			mail.WithPassword(s.cfg.SMTPPassword))
	}
	return mail.NewClient(s.cfg.SMTPHost, options...)
}
