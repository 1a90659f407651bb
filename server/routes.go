package server

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// registerOthers registers the operations for which no code is generated, because their answers are
// not JSON of the contract.
func (s *Server) registerOthers(
	e *echo.Echo, reg *prometheus.Registry, mqtt []MQTTServer,
) error {
	docs, err := docsHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r,
			&problem{
				status: http.StatusNotFound,
				detail: "This page does not exist; start at " + address(r.Context(), "/docs") + ".",
			})
	}))
	if err != nil {
		return err
	}
	spec, err := newServedContract()
	if err != nil {
		return err
	}
	async, err := newAsyncAPI(mqtt)
	if err != nil {
		return err
	}
	e.GET("/metrics",
		echo.WrapHandler(promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg})))
	e.GET("/openapi.json", spec.serve)
	e.GET("/", func(c echo.Context) error {
		return c.Redirect(http.StatusFound, address(c.Request().Context(), "/docs"))
	})
	e.GET("/docs", echo.WrapHandler(docs))
	e.GET("/docs/assets/:file", echo.WrapHandler(docs))
	e.GET("/docs/guide/:page", echo.WrapHandler(docs))
	e.GET("/redoc", echo.WrapHandler(docs))
	e.GET("/asyncapi", echo.WrapHandler(docs))
	e.GET("/asyncapi.yaml", func(c echo.Context) error {
		return async.serve(c, "application/vnd.aai.asyncapi+yaml", async.yaml)
	})
	e.GET("/asyncapi.json", func(c echo.Context) error {
		return async.serve(c, "application/json", async.json)
	})
	e.GET("/ws", s.openWebSocket)
	e.GET("/ws/sensors/:id", s.openSensorWebSocket)
	e.GET("/ws/alarms", s.openAlarmWebSocket)
	return nil
}
