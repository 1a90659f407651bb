package server

import (
	"github.com/labstack/echo/v4"
)

// validate returns a *problem unless the request has the form that op requires.
func (s *Server) validate(c echo.Context, op *operation) error {
	if err := checkHeaders(c.Request().Header); err != nil {
		return err
	}
	if err := checkParameters(c, op); err != nil {
		return err
	}
	return s.checkBody(c, op)
}
