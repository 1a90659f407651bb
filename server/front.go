package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// front prepares every request before it is routed: it sets the address of the client from the
// headers of trusted proxies, finds the prefix under which the client sees the service, takes the
// base path off, and turns HEAD into GET, whose body net/http leaves out.
type front struct {
	proxies  []netip.Prefix
	basePath string
	next     http.Handler
	log      *slog.Logger
	warnings *rate.Limiter // of headers that are ignored
}

func newFront(cfg Config, next http.Handler, log *slog.Logger) (*front, error) {
	proxies, err := cfg.proxies()
	if err != nil {
		return nil, err
	}
	basePath, err := cfg.basePath()
	if err != nil {
		return nil, err
	}
	return &front{
		proxies:  proxies,
		basePath: basePath,
		next:     next,
		log:      log,
		warnings: rate.NewLimiter(rate.Every(time.Minute), 1),
	}, nil
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	routed(r)
	r2 := *r
	r2.RemoteAddr = f.clientAddr(r)
	if r.Method == http.MethodHead && r.Header.Get("Upgrade") == "" {
		r2.Method = http.MethodGet
	}
	below, isBelow := cutPath(r.URL, f.basePath)
	r2.URL = below
	if prefix := f.prefix(r, isBelow); prefix != "" {
		r2 = *r2.WithContext(context.WithValue(r.Context(), prefixKey{}, prefix))
	}
	f.next.ServeHTTP(w, &r2)
}

// clientAddr follows X-Forwarded-For from the connection backwards, as long as the addresses are
// those of trusted proxies.
func (f *front) clientAddr(r *http.Request) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || len(f.proxies) == 0 {
		return r.RemoteAddr
	}
	addr := at.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && isWithin(addr, f.proxies); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = hop.Unmap()
	}
	return netip.AddrPortFrom(addr, at.Port()).String()
}

func isWithin(addr netip.Addr, networks []netip.Prefix) bool {
	for _, n := range networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// prefix returns what the client sees before the paths of the service. A proxy that has taken a
// prefix off says so in X-Forwarded-Prefix; what it has left is the base path, if the request
// is below that.
func (f *front) prefix(r *http.Request, isBelow bool) string {
	forwarded := f.forwardedPrefix(r)
	switch {
	case forwarded == "":
		return f.basePath
	case isBelow && !strings.HasSuffix(forwarded, f.basePath):
		return forwarded + f.basePath
	}
	return forwarded
}

// forwardedPrefix returns the X-Forwarded-Prefix of a trusted proxy, else "". Each proxy on the
// way adds its own, from the outermost to the innermost.
func (f *front) forwardedPrefix(r *http.Request) string {
	values := r.Header.Values("X-Forwarded-Prefix")
	if len(values) == 0 {
		return ""
	}
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !isWithin(at.Addr().Unmap(), f.proxies) {
		return ""
	}
	prefix := ""
	for value := range strings.SplitSeq(strings.Join(values, ","), ",") {
		path, err := parsePath(strings.TrimSpace(value))
		if prefix += path; err != nil || len(prefix) > maxBasePath {
			f.warn(r.Context(), err)
			return ""
		}
	}
	return prefix
}

func (f *front) warn(ctx context.Context, err error) {
	if f.warnings.Allow() {
		f.log.LogAttrs(ctx, slog.LevelWarn, "forwarded prefix ignored",
			slog.Any("error", err),
			slog.String("hint", "let the proxy send X-Forwarded-Prefix as /oei"))
	}
}

type prefixKey struct{}

// prefixOf returns the prefix of the request, or "".
func prefixOf(ctx context.Context) string {
	prefix, _ := ctx.Value(prefixKey{}).(string)
	return prefix
}

// cutPath returns u without base before its path, and true; or u when it is not below base.
func cutPath(u *url.URL, base string) (*url.URL, bool) {
	path, ok := cutBase(u.Path, base)
	raw, ok2 := cutBase(u.RawPath, base)
	if base == "" || !ok || u.RawPath != "" && !ok2 {
		return u, false
	}
	below := *u
	below.Path, below.RawPath = path, ""
	if u.RawPath != "" {
		below.RawPath = raw
	}
	return &below, true
}

func cutBase(path, base string) (string, bool) {
	if path == base {
		return "/", true
	}
	rest, ok := strings.CutPrefix(path, base+"/")
	return "/" + rest, ok
}
