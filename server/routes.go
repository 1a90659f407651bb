package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/oei-ms/oei-ms/gen/api"
)

// registerOthers registers the operations for which no code is generated, because their answers are
// not JSON of the contract.
func (s *Server) registerOthers(e *echo.Echo, reg *prometheus.Registry) error {
	docs, err := docsHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r,
			&problem{
				status: http.StatusNotFound,
				detail: "This page does not exist; start at /docs.",
			})
	}))
	if err != nil {
		return err
	}
	spec, err := api.GetSpecJSON()
	if err != nil {
		return fmt.Errorf("contract: %w", err)
	}
	sum := sha256.Sum256(spec)
	etag := `"` + hex.EncodeToString(sum[:8]) + `"`

	e.GET("/metrics",
		echo.WrapHandler(promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg})))
	e.GET("/openapi.json", func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", etag)
		http.ServeContent(c.Response(), c.Request(), "", time.Time{}, bytes.NewReader(spec))
		return nil
	})
	e.GET("/", func(c echo.Context) error { return c.Redirect(http.StatusFound, "/docs") })
	e.GET("/docs", echo.WrapHandler(docs))
	e.GET("/docs/assets/:file", echo.WrapHandler(docs))
	e.GET("/docs/guide/:page", echo.WrapHandler(docs))
	e.GET("/redoc", echo.WrapHandler(docs))
	e.GET("/ws", s.openWebSocket)
	e.GET("/ws/sensors/:id", s.openSensorWebSocket)
	e.GET("/ws/alarms", s.openAlarmWebSocket)
	return nil
}
