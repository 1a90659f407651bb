package notify

import (
	"crypto/tls"
	"net/netip"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// Trust makes the notifier verify the SMTP server by conf.
func (n *Notifier) Trust(conf *tls.Config) { n.mailer.tls = conf }

// IsPublic is what webhooks may go to.
func IsPublic(addr string) bool { return guard{}.check(netip.MustParseAddr(addr)) == nil }

// Render fills a template in.
func Render(template string, e store.NoticeEvent) string { return render(template, e, 1, time.UTC) }

// Clock writes a time.
func Clock(t time.Time, zone *time.Location) string { return clock(t, zone) }

// Lease is how long an attempt may take.
func (n *Notifier) Lease() int { return int(n.lease().Seconds()) }
