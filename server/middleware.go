package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/oei-ms/oei-ms/internal/auth"
)

// call holds the facts of a request on its way through the server.
type call struct {
	id        string // for the log and for the client
	addr      string // the client's, without port
	url       url.URL
	prefix    string // before the paths of the service, in the addresses that the client uses
	operation string // in the contract, or none; so are method and endpoint
	method    string
	endpoint  string
	logAtInfo bool
	principal *auth.Principal // nil for a public operation
	header    http.Header     // of the answer

	whole          context.Context // the context of the request without its time limit
	acceptEncoding []string
}

type callKey struct{}

// callOf returns an empty call outside of a request.
func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

// address returns the address of a path of the service as the client must write it.
func address(ctx context.Context, format string, args ...any) string {
	return callOf(ctx).prefix + fmt.Sprintf(format, args...)
}

type httpMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newHTTPMetrics(reg prometheus.Registerer) httpMetrics {
	f := promauto.With(reg)
	return httpMetrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total",
			Help: "Requests answered, by operation and status; " +
				"499 when the client had disconnected.",
		}, []string{"operation", "method", "endpoint", "status"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_request_duration_seconds", Help: "Time to answer a request, by operation.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"operation", "method", "endpoint"}),
	}
}

// count counts an answer.
func (m httpMetrics) count(operation, method, endpoint string, status int) {
	m.requests.WithLabelValues(operation, method, endpoint, strconv.Itoa(status)).Inc()
}

// observe gives a request its id, headers and time limit. It answers errors, and counts and logs
// answers.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		started := time.Now()
		r := c.Request()
		addr, _, splitErr := net.SplitHostPort(r.RemoteAddr)
		if splitErr != nil {
			addr = r.RemoteAddr
		}
		call := &call{
			id:             requestID(r),
			addr:           addr,
			url:            *r.URL,
			prefix:         prefixOf(r.Context()),
			operation:      none,
			method:         none,
			endpoint:       none,
			header:         c.Response().Header(),
			acceptEncoding: r.Header.Values("Accept-Encoding"),
		}
		base := context.WithValue(r.Context(), callKey{}, call)
		call.whole = base
		ctx, cancel := context.WithTimeout(base, s.cfg.RequestTimeout)
		defer cancel()
		c.SetRequest(r.WithContext(ctx))
		setHeaders(c.Response().Header(), call.id)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
			cut := err != nil && c.Response().Committed
			if err != nil {
				s.fail(c.Response(), c.Request(), err)
				err = nil
			}
			s.record(base, c, call, time.Since(started))
			if cut {
				// the client must notice that the answer is not complete
				panic(http.ErrAbortHandler)
			}
		}()
		return next(c)
	}
}

var saneID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// requestID returns the id that a proxy or client has sent, if it is fit for a log, or a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-ID"); saneID.MatchString(id) {
		return id
	}
	return rand.Text()
}

// setHeaders sets the headers of every answer, which handlers may change.
func setHeaders(h http.Header, id string) {
	h.Set("X-Request-ID", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
}

func (s *Server) record(ctx context.Context, c echo.Context, call *call, took time.Duration) {
	status := c.Response().Status
	if !c.Response().Committed && status == http.StatusOK {
		status = http.StatusSwitchingProtocols // the hub has taken the connection
	}
	s.metrics.count(call.operation, call.method, call.endpoint, status)
	s.metrics.seconds.WithLabelValues(call.operation, call.method, call.endpoint).Observe(
		took.Seconds(),
	)
	level := slog.LevelDebug
	if call.logAtInfo {
		level = slog.LevelInfo
	}
	if !s.log.Enabled(ctx, level) {
		return
	}
	path, _ := auth.HideAPIKeys(call.url.Path)
	attrs := []slog.Attr{
		slog.String("request_id", call.id), slog.String("method", c.Request().Method),
		slog.String("path", path),
		slog.String("operation", call.operation), slog.Int("status", status),
		slog.Duration("took", took), slog.String("remote", call.addr),
	}
	if call.principal != nil {
		attrs = append(attrs, call.principal.LogAttr())
	}
	s.log.LogAttrs(ctx, level, "request", attrs...)
}
