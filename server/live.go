package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/push"
)

// stream answers GET /ws.
func (s *Server) stream(c echo.Context) error {
	return s.serveLive(c, nil)
}

// streamSensor answers GET /ws/sensors/{id}.
func (s *Server) streamSensor(c echo.Context) error {
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil {
		return invalid("id", "is not an id")
	}
	ctx := c.Request().Context()
	if callOf(ctx).principal != nil { // others are told after their auth frame
		if _, err := s.store.Sensor(ctx, id); err != nil {
			return err
		}
	}
	return s.serveLive(c, []string{fmt.Sprintf("sensors/%d", id)})
}

// streamAlarms answers GET /ws/alarms.
func (s *Server) streamAlarms(c echo.Context) error {
	return s.serveLive(c, []string{"alarms"})
}

// serveLive hands the connection to the hub, which asks for an auth message when the handshake had
// no login.
func (s *Server) serveLive(c echo.Context, topics []string) error {
	var id *push.Identity
	if p := callOf(c.Request().Context()).principal; p != nil {
		id = new(p.identity())
	}
	err := s.hub.Serve(c.Response(), c.Request(), id, topics)
	if refused, ok := errors.AsType[*push.HandshakeError](err); ok {
		return &problem{status: refused.Status, detail: sentence(refused.Reason)}
	}
	return err
}

// CreateTicket answers POST /api/ws/ticket.
func (s *Server) CreateTicket(
	ctx context.Context, _ api.CreateTicketRequestObject,
) (api.CreateTicketResponseObject, error) {
	ticket, err := s.auth.ticket(ctx, callOf(ctx).principal)
	if err != nil {
		return nil, err
	}
	return api.CreateTicket201JSONResponse{Ticket: ticket, ExpiresIn: int(ticketTTL.Seconds())}, nil
}
