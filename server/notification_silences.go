package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// maxSilence bounds a silence: one without an end would be forgotten.
const maxSilence = 90 * 24 * time.Hour

// ListNotificationSilences answers GET /api/notifications/silences.
func (s *Server) ListNotificationSilences(
	ctx context.Context, req api.ListNotificationSilencesRequestObject,
) (api.ListNotificationSilencesResponseObject, error) {
	before, err := idCursor(req.Params.Cursor)
	if err != nil {
		return nil, err
	}
	list, err := s.store.Silences(ctx, *req.Params.Current, before, *req.Params.Limit+1)
	if err != nil {
		return nil, err
	}
	list, link := page(ctx, list, *req.Params.Limit,
		func(v store.Silence) string { return encodeID(v.ID) })
	return api.ListNotificationSilences200JSONResponse{
		Body:    mapSlice(list, silenceJSON),
		Headers: api.ListNotificationSilences200ResponseHeaders{Link: link},
	}, nil
}

// CreateNotificationSilence answers POST /api/notifications/silences.
func (s *Server) CreateNotificationSilence(
	ctx context.Context, req api.CreateNotificationSilenceRequestObject,
) (api.CreateNotificationSilenceResponseObject, error) {
	b, now := req.Body, time.Now()
	v := store.Silence{
		StartsAt:   now,
		EndsAt:     b.EndsAt,
		AlarmID:    b.AlarmID,
		SensorID:   b.SensorID,
		GatewayID:  b.GatewayID,
		Severities: toStrings(orZero(b.Severities)),
		Labels:     store.LabelMap(orZero(b.Labels)),
		Reason:     b.Reason,
		CreatedBy:  callOf(ctx).principal.Name(),
	}
	setIfGiven(&v.StartsAt, b.StartsAt)
	switch {
	case !v.EndsAt.After(v.StartsAt):
		return nil, invalid("ends_at", "must be after the start")
	case !v.EndsAt.After(now):
		return nil, invalid("ends_at", "is in the past")
	case v.EndsAt.Sub(v.StartsAt) > maxSilence:
		return nil, invalid("ends_at", "is more than 90 days after the start")
	case v.AlarmID == nil && v.SensorID == nil && v.GatewayID == nil && len(v.Severities) == 0 &&
		len(v.Labels) == 0:
		return nil, invalid("alarm_id",
			"is needed, or sensor_id, gateway_id, severities or labels")
	}
	ids := referencedIDs{Alarm: v.AlarmID, Sensor: v.SensorID, Gateway: v.GatewayID}
	if err := s.checkIDs(ctx, ids); err != nil {
		return nil, err
	}
	v, err := s.store.CreateSilence(ctx, v)
	if err != nil {
		return nil, err
	}
	return api.CreateNotificationSilence201JSONResponse{
		Body: silenceJSON(v),
		Headers: api.CreateNotificationSilence201ResponseHeaders{
			Location: address(ctx, "/api/notifications/silences/%d", v.ID),
		},
	}, nil
}

// GetNotificationSilence answers GET /api/notifications/silences/{id}.
func (s *Server) GetNotificationSilence(
	ctx context.Context, req api.GetNotificationSilenceRequestObject,
) (api.GetNotificationSilenceResponseObject, error) {
	v, err := s.store.Silence(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return api.GetNotificationSilence200JSONResponse(silenceJSON(v)), nil
}

// EndNotificationSilence answers POST /api/notifications/silences/{id}/end.
func (s *Server) EndNotificationSilence(
	ctx context.Context, req api.EndNotificationSilenceRequestObject,
) (api.EndNotificationSilenceResponseObject, error) {
	v, err := s.store.EndSilence(ctx, req.ID, callOf(ctx).principal.Name())
	if errors.Is(err, store.ErrConflict) {
		return nil, &problem{status: http.StatusConflict, detail: "The silence has ended."}
	}
	if err != nil {
		return nil, err
	}
	return api.EndNotificationSilence200JSONResponse(silenceJSON(v)), nil
}

func silenceJSON(v store.Silence) api.NotificationSilence {
	var by *string
	if v.EndedBy != "" {
		by = &v.EndedBy
	}
	return api.NotificationSilence{
		ID:         v.ID,
		StartsAt:   v.StartsAt.UTC(),
		EndsAt:     v.EndsAt.UTC(),
		AlarmID:    orNull(v.AlarmID),
		SensorID:   orNull(v.SensorID),
		GatewayID:  orNull(v.GatewayID),
		Severities: fromStrings[api.Severity](v.Severities),
		Labels:     labelsJSON(v.Labels),
		Reason:     v.Reason,
		CreatedBy:  v.CreatedBy,
		EndedBy:    orNull(by),
		HeldBack:   v.HeldBack,
		CreatedAt:  v.CreatedAt.UTC(),
	}
}
