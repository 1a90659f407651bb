package notify

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// errForbidden means that webhooks may not go to an address.
var errForbidden = errors.New(
	"the address is private or reserved; allow it with OEI_NOTIFY_ALLOWED_TARGETS",
)

// guard keeps webhooks from internal addresses: users who may set a URL must not reach services
// that only this machine can reach.
type guard struct{ allowed []netip.Prefix }

// control is for net.Dialer. It checks the address of each connection after the name is resolved,
// so that a name cannot pass a check with one address and connect to another.
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

// isPublic reports whether addr is globally reachable.
func isPublic(addr netip.Addr) bool {
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.IsLoopback() ||
		addr.IsLinkLocalUnicast() {
		return false
	}
	// this also excludes addresses that contain an IPv4 address, as 64:ff9b:: and ::a.b.c.d
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

// reserved are the networks that the registries of IANA call not globally reachable and netip does
// not know, and those that lead to an IPv4 address.
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
