package store

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/lib/pq"
)

// TLS describes how connections to a database are protected.
type TLS struct {
	Mode   pq.SSLMode
	Given  bool   // by the address, by PGSSLMODE or by a service file
	Socket bool   // connections are made over a Unix socket, where there is no TLS
	Remote string // the first host that is not this machine; empty if there is none
}

// DatabaseTLS returns the protection that connections to dsn get. Without an sslmode it is prefer,
// as in libpq, if every host is this machine, and require otherwise.
func DatabaseTLS(dsn string) (TLS, error) {
	cfg, err := pq.NewConfig(dsn)
	if err != nil {
		return TLS{}, fmt.Errorf("database address: %w", err)
	}
	first := pq.ConfigMultihost{Host: cfg.Host, Hostaddr: cfg.Hostaddr}
	t := TLS{Mode: cfg.SSLMode, Socket: !first.Hostaddr.IsValid() && isSocket(first.Host)}
	for _, h := range append([]pq.ConfigMultihost{first}, cfg.Multi...) {
		if h.Hostaddr.IsValid() {
			h.Host = h.Hostaddr.String()
		}
		if t.Remote == "" && !isLocal(h.Host) {
			t.Remote = h.Host
		}
	}
	switch {
	case t.Socket: // lib/pq has set the mode to disable, also when another was given
	case t.Mode != "":
		t.Given = true
	case t.Remote != "" || cfg.SSLNegotiation == pq.SSLNegotiationDirect:
		t.Mode = pq.SSLModeRequire
	default:
		t.Mode = pq.SSLModePrefer
	}
	return t, nil
}

// withTLS returns dsn with the sslmode of DatabaseTLS, so that the driver's default does not
// matter.
func withTLS(dsn string) (string, error) {
	t, err := DatabaseTLS(dsn)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		// an sslmode in dsn is the same and wins
		return fmt.Sprintf("sslmode=%s %s", t.Mode, dsn), nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("database address: %w", err)
	}
	query := u.Query()
	query.Set("sslmode", string(t.Mode))
	u.RawQuery = query.Encode()
	return u.String(), nil
}

func isSocket(host string) bool { return filepath.IsAbs(host) || strings.HasPrefix(host, "@") }

// isLocal reports whether a connection to host stays on this machine.
func isLocal(host string) bool {
	addr, err := netip.ParseAddr(cmp.Or(host, "::1"))
	return err == nil && addr.IsLoopback() || isSocket(host) ||
		strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}
