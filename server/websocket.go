package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/push"
)

// openWebSocket answers GET /ws.
func (s *Server) openWebSocket(c echo.Context) error {
	topics := c.QueryParams()["topic"]
	ctx := c.Request().Context()
	if callOf(ctx).principal == nil { // the client is told after its auth frame
		return s.serveLive(c, topics)
	}
	for i, err := range checkTopics(ctx, s.store, topics) {
		switch {
		case errors.Is(err, push.ErrUnknownTopic):
			return invalid("topic", fmt.Sprintf("%q does not exist", topics[i]))
		case err != nil:
			return err
		}
	}
	return s.serveLive(c, topics)
}

// openSensorWebSocket answers GET /ws/sensors/{id}.
func (s *Server) openSensorWebSocket(c echo.Context) error {
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil {
		return invalid("id", "is not an id; use a positive integer")
	}
	ctx := c.Request().Context()
	if callOf(ctx).principal != nil { // other clients are told after their auth frame
		if _, err := s.store.Sensor(ctx, id); err != nil {
			return err
		}
	}
	return s.serveLive(c, []string{fmt.Sprintf("sensors/%d", id)})
}

// openAlarmWebSocket answers GET /ws/alarms.
func (s *Server) openAlarmWebSocket(c echo.Context) error {
	return s.serveLive(c, []string{"alarms"})
}

// serveLive passes the connection to the hub, which waits for an auth message when the handshake
// had no login.
func (s *Server) serveLive(c echo.Context, topics []string) error {
	var id *push.Identity
	if p := callOf(c.Request().Context()).principal; p != nil {
		id = new(identity(p))
	}
	err := s.hub.Serve(c.Response(), c.Request(), id, topics)
	if refused, ok := errors.AsType[*push.HandshakeError](err); ok {
		p := &problem{status: refused.Status, detail: sentence(refused.Reason)}
		if refused.Status == http.StatusTooManyRequests { // all clients of a restarted server
			p.retry = retryAfter{min: 1, max: 5}
		}
		return p
	}
	return err
}

// CreateWebSocketTicket answers POST /api/ws/ticket.
func (s *Server) CreateWebSocketTicket(
	ctx context.Context, _ api.CreateWebSocketTicketRequestObject,
) (api.CreateWebSocketTicketResponseObject, error) {
	ticket, err := s.auth.NewTicket(ctx, callOf(ctx).principal)
	if err != nil {
		return nil, err
	}
	return api.CreateWebSocketTicket201JSONResponse{
		Ticket:    ticket,
		ExpiresIn: int(auth.TicketTTL.Seconds()),
	}, nil
}
