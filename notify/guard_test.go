package notify_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/notify"
	"github.com/oei-ms/oei-ms/store"
)

func TestGuard_AllowsPublicAddressesOnly(t *testing.T) {
	for _, addr := range []string{
		"127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255",
		"192.168.1.1", "169.254.169.254", "100.64.0.1",
		"100.127.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1",
		"203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::",
		"2001::1", "2001:db8::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1",
		"fe80::1%eth0", "fec0::1", "ff02::1", "100::1",
	} {
		if notify.IsPublic(addr) {
			t.Errorf("%s is public, want private", addr)
		}
	}
	for _, addr := range []string{
		"1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.1.1", "::ffff:8.8.8.8",
		"2606:4700::1111", "2a00:1450::1",
	} {
		if !notify.IsPublic(addr) {
			t.Errorf("%s is private, want public", addr)
		}
	}
}

func TestWebhook_ReachesNoInternalAddress(t *testing.T) {
	p := newFixture(t)
	inside := newReceiver(t, always(200))
	port := inside.URL[strings.LastIndex(inside.URL, ":"):]
	closed, open := p.notifier(func(c *notify.Config) { c.AllowedTargets = nil }), p.notifier()
	t.Setenv("HTTP_PROXY", inside.URL)
	t.Setenv("http_proxy", inside.URL)
	for _, host := range []string{
		"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "2130706433",
		"0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1.", "[::1]", "0", "0.0.0.0", "LOCALHOST",
	} {
		d, err := closed.TestChannel(t.Context(), p.webhook("http://"+host+port+"/").ID)
		if err != nil || d.Status != "failed" {
			t.Errorf("%s: got %s %q, %v", host, d.Status, d.Detail, err)
		}
	}
	if got := len(inside.all()); got != 0 {
		t.Errorf("%d requests reached the internal server, want 0", got)
	}
	for _, address := range []string{
		"http://user:pw@example.com/", "ftp://example.com/", "http://example.com:0/", "http:///x",
		"http://10.0.0.1/", "http://[fe80::1%25eth0]/", "https://example.com/#x",
		"file:///etc/passwd",
	} {
		if field, reason := closed.CheckChannel(store.Channel{
			Kind:   store.Webhook,
			URL:    address,
			Secret: secret,
		}); field != "url" {
			t.Errorf("%s: got field %q, %q; want url", address, field, reason)
		}
	}
	away := httptest.NewServer(http.RedirectHandler(inside.URL, http.StatusTemporaryRedirect))
	defer away.Close()
	if d, err := open.TestChannel(t.Context(), p.webhook(away.URL).ID); err != nil ||
		d.Status != "failed" || !strings.Contains(d.Detail, "redirect") || len(inside.all()) != 0 {
		t.Errorf("a redirect: got %s %q, %v, and %d requests", d.Status, d.Detail, err,
			len(inside.all()))
	}
	invalid := p.webhook("http://receiver.invalid/")
	if d, err := open.TestChannel(t.Context(), invalid.ID); err != nil ||
		d.Status != "failed" || len(inside.all()) != 0 {
		t.Errorf("with a proxy in the environment: got %s %q, %v, and %d requests", d.Status,
			d.Detail, err, len(inside.all()))
	}
	if d, err := open.TestChannel(t.Context(), p.webhook(inside.URL).ID); err != nil ||
		d.Status != "delivered" || len(inside.all()) != 1 {
		t.Errorf("an allowed address: got %s %q, %v", d.Status, d.Detail, err)
	}
	for _, hidden := range []string{secret, secret[6:], port} {
		if strings.Contains(p.log.String(), hidden) {
			t.Errorf("the log contains %q", hidden)
		}
	}
}

func TestTemplates_AreSafe(t *testing.T) {
	for template, want := range map[string]bool{
		"": true, "{alarm} at {value} {unit}": true, "100 %": true, "{unknown}": false, "{": false,
		"}": false, "{{alarm}}": false, "{alarm": false, "{}": false, "{{range .}}": false,
	} {
		if err := notify.CheckTemplate(template); (err == nil) != want {
			t.Errorf("%q: got %v", template, err)
		}
	}
	e := store.NotificationEvent{
		Alarm:   "{message}\r\nBcc: x@example.com",
		Message: strings.Repeat("é", 5000),
		Comment: "\u202egnp",
	}
	if got := notify.Render("{alarm}", e); got != "{message} Bcc: x@example.com" {
		t.Errorf("a value with a template and a header: got %q", got)
	}
	e.Value = new(12345678.9)
	if got := notify.Render("{value}", e); got != "12345678.9" {
		t.Errorf("a value: got %q", got)
	}
	if got := notify.Render("{message}{message}", e); len(got) > 1000 {
		t.Errorf("a long value: got %d bytes", len(got))
	}
}
