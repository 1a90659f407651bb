package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// minRemindSeconds is the shortest time between two reminders.
const minRemindSeconds = 60

// ListNotificationRoutes answers GET /api/notifications/routes.
func (s *Server) ListNotificationRoutes(
	ctx context.Context, req api.ListNotificationRoutesRequestObject,
) (api.ListNotificationRoutesResponseObject, error) {
	after, err := idCursor(req.Params.Cursor)
	if err != nil {
		return nil, err
	}
	list, err := s.store.Routes(ctx, after, *req.Params.Limit+1)
	if err != nil {
		return nil, err
	}
	list, link := page(ctx, list, *req.Params.Limit,
		func(r store.Route) string { return encodeID(r.ID) })
	return api.ListNotificationRoutes200JSONResponse{
		Body:    mapSlice(list, routeJSON),
		Headers: api.ListNotificationRoutes200ResponseHeaders{Link: link},
	}, nil
}

// CreateNotificationRoute answers POST /api/notifications/routes.
func (s *Server) CreateNotificationRoute(
	ctx context.Context, req api.CreateNotificationRouteRequestObject,
) (api.CreateNotificationRouteResponseObject, error) {
	b := req.Body
	r := store.Route{
		Name:                b.Name,
		IsActive:            orTrue(b.IsActive),
		ChannelID:           b.ChannelID,
		EscalationChannelID: valueOrNil(b.EscalationChannelID),
		Severities:          toStrings(orZero(b.Severities)),
		Events:              toStrings(orZero(b.Events)),
		Labels:              store.LabelMap(orZero(b.Labels)),
		GroupSeconds:        2,
		RemindSeconds:       orZero(b.RemindSeconds),
		EscalateSeconds:     orZero(b.EscalateSeconds),
		Subject:             orZero(b.Subject),
		Line:                orZero(b.Line),
		TimeZone:            orZero(b.TimeZone),
	}
	setIfGiven(&r.GroupSeconds, b.GroupSeconds)
	if err := s.checkRoute(ctx, r); err != nil {
		return nil, err
	}
	r, err := s.store.CreateRoute(ctx, r)
	switch {
	case errors.Is(err, store.ErrConflict):
		return nil, alreadyTaken("name", b.Name)
	case errors.Is(err, store.ErrNotFound):
		return nil, &problem{
			status: http.StatusConflict,
			detail: fmt.Sprintf("There are %d routes already; delete one first.", store.MaxRoutes),
		}
	case err != nil:
		return nil, err
	}
	return api.CreateNotificationRoute201JSONResponse{
		Body: routeJSON(r),
		Headers: api.CreateNotificationRoute201ResponseHeaders{
			ETag:     etag(r.Version),
			Location: address(ctx, "/api/notifications/routes/%d", r.ID),
		},
	}, nil
}

// GetNotificationRoute answers GET /api/notifications/routes/{id}.
func (s *Server) GetNotificationRoute(
	ctx context.Context, req api.GetNotificationRouteRequestObject,
) (api.GetNotificationRouteResponseObject, error) {
	r, err := s.store.Route(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return api.GetNotificationRoute200JSONResponse{
		Body:    routeJSON(r),
		Headers: api.GetNotificationRoute200ResponseHeaders{ETag: etag(r.Version)},
	}, nil
}

// UpdateNotificationRoute answers PUT /api/notifications/routes/{id}.
func (s *Server) UpdateNotificationRoute(
	ctx context.Context, req api.UpdateNotificationRouteRequestObject,
) (api.UpdateNotificationRouteResponseObject, error) {
	r, err := s.store.Route(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if err := checkIfMatch(req.Params.IfMatch, r.Version); err != nil {
		return nil, err
	}
	b := req.Body
	setIfGiven(&r.Name, b.Name)
	setIfGiven(&r.IsActive, b.IsActive)
	setIfGiven(&r.ChannelID, b.ChannelID)
	setIfGiven(&r.GroupSeconds, b.GroupSeconds)
	setIfGiven(&r.RemindSeconds, b.RemindSeconds)
	setIfGiven(&r.EscalateSeconds, b.EscalateSeconds)
	setIfGiven(&r.Subject, b.Subject)
	setIfGiven(&r.Line, b.Line)
	setIfGiven(&r.TimeZone, b.TimeZone)
	if b.EscalationChannelID.IsSpecified() {
		r.EscalationChannelID = valueOrNil(b.EscalationChannelID)
	}
	if b.Severities != nil {
		r.Severities = toStrings(*b.Severities)
	}
	if b.Events != nil {
		r.Events = toStrings(*b.Events)
	}
	if b.Labels != nil {
		r.Labels = store.LabelMap(*b.Labels)
	}
	if err := s.checkRoute(ctx, r); err != nil {
		return nil, err
	}
	r, err = s.store.UpdateRoute(ctx, r)
	if errors.Is(err, store.ErrConflict) {
		return nil, alreadyTaken("name", orZero(b.Name))
	}
	if err != nil {
		return nil, err
	}
	return api.UpdateNotificationRoute200JSONResponse{
		Body:    routeJSON(r),
		Headers: api.UpdateNotificationRoute200ResponseHeaders{ETag: etag(r.Version)},
	}, nil
}

// DeleteNotificationRoute answers DELETE /api/notifications/routes/{id}.
func (s *Server) DeleteNotificationRoute(
	ctx context.Context, req api.DeleteNotificationRouteRequestObject,
) (api.DeleteNotificationRouteResponseObject, error) {
	version, err := ifMatch(req.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	if err := s.store.DeleteRoute(ctx, req.ID, version); err != nil {
		return nil, err
	}
	return api.DeleteNotificationRoute204Response{}, nil
}

// checkRoute refuses invalid templates and times, unknown channels, and an escalation without
// channel.
func (s *Server) checkRoute(ctx context.Context, r store.Route) error {
	for name, template := range map[string]string{"subject": r.Subject, "line": r.Line} {
		if err := s.notifications.CheckTemplate(template); err != nil {
			return invalid(name, err.Error())
		}
	}
	if _, err := time.LoadLocation(r.TimeZone); err != nil || r.TimeZone == "Local" {
		return invalid("time_zone",
			"is not in the IANA database; use a name such as Europe/Berlin, or UTC")
	}
	if r.RemindSeconds > 0 && r.RemindSeconds < minRemindSeconds {
		return invalid("remind_seconds",
			fmt.Sprintf("is less than %d; use 0 for no reminders", minRemindSeconds))
	}
	if r.EscalateSeconds > 0 && r.EscalationChannelID == nil {
		return invalid("escalation_channel_id", "is needed with escalate_seconds")
	}
	if err := s.checkChannelExists(ctx, "channel_id", &r.ChannelID); err != nil {
		return err
	}
	return s.checkChannelExists(ctx, "escalation_channel_id", r.EscalationChannelID)
}

// checkChannelExists refuses an unknown channel. A nil id passes.
func (s *Server) checkChannelExists(ctx context.Context, field string, id *int64) error {
	if id == nil {
		return nil
	}
	_, err := s.store.Channel(ctx, *id)
	if errors.Is(err, store.ErrNotFound) {
		return invalid(field, fmt.Sprintf("there is no channel %d", *id))
	}
	return err
}

func routeJSON(r store.Route) api.NotificationRoute {
	return api.NotificationRoute{
		ID:                  r.ID,
		Name:                r.Name,
		IsActive:            r.IsActive,
		ChannelID:           r.ChannelID,
		EscalationChannelID: orNull(r.EscalationChannelID),
		Severities:          fromStrings[api.Severity](r.Severities),
		Events:              fromStrings[api.AlarmEventKind](r.Events),
		Labels:              labelsJSON(r.Labels),
		GroupSeconds:        r.GroupSeconds,
		RemindSeconds:       r.RemindSeconds,
		EscalateSeconds:     r.EscalateSeconds,
		Subject:             r.Subject,
		Line:                r.Line,
		TimeZone:            r.TimeZone,
		CreatedAt:           r.CreatedAt.UTC(),
		UpdatedAt:           r.UpdatedAt.UTC(),
	}
}

func labelsJSON(m store.LabelMap) api.Tags {
	if m == nil {
		return api.Tags{}
	}
	return api.Tags(m)
}
