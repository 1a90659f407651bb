package notify

import (
	"crypto/tls"
	"net/netip"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// Trust has the notifier verify the SMTP server by conf.
func (n *Notifier) Trust(conf *tls.Config) { n.mailer.tls = conf }

// IsPublic reports whether webhooks may go to addr.
func IsPublic(addr string) bool { return guard{}.check(netip.MustParseAddr(addr)) == nil }

// Render renders a template with e.
func Render(template string, e store.NotificationEvent) string {
	return render(template, e, 1, time.UTC)
}

// Clock formats a time.
func Clock(t time.Time, zone *time.Location) string { return clock(t, zone) }

// Lease returns the lease of a delivery in seconds.
func (n *Notifier) Lease() int { return int(n.lease().Seconds()) }
