// Package origin compares the origins of web pages, for CORS, WebSocket and MQTT over WebSocket. It
// compares them in normal form: in lower case and without the default port.
package origin

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// Normalize returns the normal form of scheme://host[:port]; ok is false for any other text.
func Normalize(text string) (origin string, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.Path != "" || strings.ContainsAny(text, "?#") {
		return "", false
	}
	host, standard := strings.ToLower(u.Hostname()), defaultPorts[u.Scheme]
	notASCII := func(r rune) bool { return r >= utf8.RuneSelf } // browsers send the name as xn--…
	if host == "" || standard == "" || strings.ContainsFunc(host, notASCII) {
		return "", false
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.String()
	}
	port := u.Port()
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		port = strconv.FormatUint(n, 10)
	} else if port != "" {
		return "", false
	}
	switch {
	case port != "" && port != standard:
		host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return u.Scheme + "://" + host, true
}

// Check returns an error that names each malformed origin of a setting.
func Check(setting string, origins []string) error {
	var errs []error
	for _, o := range origins {
		if _, ok := Normalize(o); !ok {
			errs = append(errs, fmt.Errorf(
				"%s: %q is not an origin; use the form https://host or https://host:port", setting,
				o))
		}
	}
	return errors.Join(errs...)
}

// Listed reports whether origin is one of origins.
func Listed(origin string, origins []string) bool {
	wanted, ok := Normalize(origin)
	return ok && slices.ContainsFunc(origins, func(o string) bool {
		o, _ = Normalize(o)
		return o == wanted
	})
}

// Allowed reports whether the page that sent r may open a WebSocket: a page of the server's own
// host, which a proxy must pass on, or of one of origins. Clients that send no Origin may, too.
func Allowed(r *http.Request, origins []string) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	scheme, _, _ := strings.Cut(origin, "://")
	return Listed(origin, []string{scheme + "://" + r.Host}) || Listed(origin, origins)
}
