package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/internal/cache"
	"github.com/oei-ms/oei-ms/internal/origin"
	"github.com/oei-ms/oei-ms/push"
	"github.com/oei-ms/oei-ms/store"
)

// maxHeaderBytes allows for the maximum length of a token.
const maxHeaderBytes = 32 << 10

// Deps holds the collaborators of a server; all but Cache are required.
type Deps struct {
	Store *store.Store
	Cache *cache.Cache
	Auth  *auth.Auth
	Hub   *push.Hub
	// Write stores readings like a publish over MQTT. It returns one result for each, in order,
	// after the commit.
	Write         func(ctx context.Context, rs []store.Reading) ([]store.ReadingResult, error)
	Notifications Notifications
	Checks        []Check
	MQTT          []MQTTServer // where gateways connect
	Version       Version
	Log           *slog.Logger
	Registry      *prometheus.Registry // served at /metrics
}

// Version is that of the program; Commit is empty when it is unknown.
type Version struct{ Commit, Go, Version string }

// Server answers the contract.
type Server struct {
	cfg           Config
	store         *store.Store
	cache         *cache.Cache
	auth          *auth.Auth
	hub           *push.Hub
	write         func(context.Context, []store.Reading) ([]store.ReadingResult, error)
	notifications Notifications
	health        *health
	version       api.Version
	log           *slog.Logger
	contract      *contract
	metrics       httpMetrics
	limiter       *queryLimiter

	publicBodies *bodyBudget
	connections  *connections
	handler      http.Handler
	draining     atomic.Bool
}

var _ api.StrictServerInterface = (*Server)(nil)

// New returns an error when an operation of the contract has no route or no security, and when a
// route is not in the contract.
func New(cfg Config, query QueryConfig, d Deps) (*Server, error) {
	contract, err := readContract()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:           cfg,
		store:         d.Store,
		cache:         d.Cache,
		auth:          d.Auth,
		hub:           d.Hub,
		write:         d.Write,
		notifications: d.Notifications,
		log:           d.Log,
		contract:      contract,
		health:        newHealth(d.Checks),
		version:       api.Version(d.Version),
		metrics:       newHTTPMetrics(d.Registry),
		limiter:       newQueryLimiter(query, d.Registry),

		publicBodies: newBodyBudget(d.Registry),
	}
	s.connections = newConnections(d.Log, s.metrics, d.Registry)
	e := echo.New()
	e.Use(s.observe)
	if len(cfg.AllowedOrigins) > 0 {
		e.Use(middleware.CORSWithConfig(middleware.CORSConfig{
			AllowOriginFunc: func(o string) (bool, error) {
				return origin.Listed(o,
					cfg.AllowedOrigins), nil
			},
			AllowMethods: []string{
				http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete,
			},
			AllowHeaders: []string{
				"Authorization", "Content-Type", keyHeader, "If-Match", "If-None-Match",
				apiKeyHeader, "X-Request-ID",
			},
			ExposeHeaders: []string{
				"Content-Disposition", "Deprecation", "ETag", "Idempotency-Replayed", "Link",
				"Location", "RateLimit", "RateLimit-Policy", "Retry-After", "Sunset",
				"X-Next-Cursor", "X-Request-ID",
				"X-Total-Count", "X-Truncated",
			},
			MaxAge: 600,
		}))
	}
	e.Use(s.enforce)
	api.RegisterHandlers(e, api.NewStrictHandler(s, []api.StrictMiddlewareFunc{refuseNothing}))
	if err := s.registerOthers(e, d.Registry, d.MQTT); err != nil {
		return nil, err
	}
	if err := contract.covers(e.Routes()); err != nil {
		return nil, err
	}
	if s.handler, err = newFront(cfg, e, d.Log); err != nil {
		return nil, err
	}
	return s, nil
}

// refuseNothing turns a nil answer of a handler into an error: the generated code would send 200.
func refuseNothing(next api.StrictHandlerFunc, operation string) api.StrictHandlerFunc {
	return func(c echo.Context, req any) (any, error) {
		res, err := next(c, req)
		if err == nil && res == nil {
			return nil, fmt.Errorf("%s answered nothing", operation)
		}
		return res, err
	}
}

// Handler returns the handler of all operations.
func (s *Server) Handler() http.Handler { return s.handler }

// Run serves on ln until ctx ends, then lets running requests end within DrainTimeout. It closes
// ln.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: s.cfg.ReadHeaderTimeout,
		ReadTimeout:       s.cfg.ReadTimeout,
		WriteTimeout:      s.cfg.WriteTimeout,
		IdleTimeout:       s.cfg.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext:       s.connections.keep,
		ConnState:         s.connections.follow,

		DisableGeneralOptionsHandler: true,

		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	s.connections.Listener = ln
	// Serve retries by itself after running out of file descriptors
	go func() { served <- srv.Serve(s.connections) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.DrainTimeout)
	defer cancel()
	err := srv.Shutdown(drain)
	if err != nil {
		s.log.WarnContext(ctx, "requests were cut off by the stop", slog.Any("error", err))
		err = srv.Close()
	}
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		return errors.Join(err, e)
	}
	return err
}
