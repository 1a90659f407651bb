package notify

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// errForbidden means that an address is not one that a webhook may go to.
var errForbidden = errors.New(
	"the address is private or reserved; OEI_NOTIFY_ALLOWED_TARGETS can allow it",
)

// guard keeps webhooks from addresses inside: whoever may write a URL must not reach what only this
// machine can.
type guard struct{ allowed []netip.Prefix }

// control is for net.Dialer: it sees the address that is about to be connected to, after every
// look-up of a name, so that a name that changes its address in between is of no use.
func (g guard) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, errForbidden)
	}
	return g.check(ap.Addr())
}

func (g guard) check(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	for _, p := range g.allowed {
		if p.Contains(addr) {
			return nil
		}
	}
	if !isPublic(addr) {
		return errForbidden
	}
	return nil
}

// isPublic reports whether addr is one of the Internet at large.
func isPublic(addr netip.Addr) bool {
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.IsLoopback() ||
		addr.IsLinkLocalUnicast() {
		return false
	}
	// also those that hold an IPv4 address, as 64:ff9b:: and ::a.b.c.d
	if addr.Is6() && !unicast6.Contains(addr) {
		return false
	}
	for _, p := range reserved {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

var unicast6 = netip.MustParsePrefix("2000::/3")

// reserved is what the registries of IANA have as not globally reachable, beyond what netip knows,
// and what leads to an IPv4 address by another way.
var reserved = mustPrefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)

func mustPrefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}
