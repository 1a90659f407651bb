package server

import (
	"context"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/eventjson"
	"github.com/oei-ms/oei-ms/store"
)

// ListNotificationDeliveries answers GET /api/notifications/deliveries.
func (s *Server) ListNotificationDeliveries(
	ctx context.Context, req api.ListNotificationDeliveriesRequestObject,
) (api.ListNotificationDeliveriesResponseObject, error) {
	p := req.Params
	at, id, err := instantCursor(p.Cursor, 64)
	if err != nil {
		return nil, err
	}
	if err := checkSpan(p.Start, p.End); err != nil {
		return nil, err
	}
	f := store.DeliveryFilter{
		ChannelID: p.ChannelID,
		RouteID:   p.RouteID,
		AlarmID:   p.AlarmID,
		Kind:      (*string)(p.Kind),
		Status:    (*string)(p.Status),
		Start:     p.Start,
		End:       p.End,
	}
	list, err := s.store.Deliveries(ctx, f, at, id, *p.Limit+1)
	if err != nil {
		return nil, err
	}
	names := referencedIDs{Alarm: p.AlarmID, Channel: p.ChannelID, Route: p.RouteID}
	if err := s.checkFilterIDs(ctx, len(list), p.Cursor == nil, names); err != nil {
		return nil, err
	}
	list, link := page(ctx, list, *p.Limit,
		func(d store.Delivery) string { return encodeInstant(d.CreatedAt, d.ID) })
	total, err := totalCount(ctx, *p.Count, s.store.CountDeliveries, f)
	if err != nil {
		return nil, err
	}
	return api.ListNotificationDeliveries200JSONResponse{
		Body:    mapSlice(list, deliveryJSON(ctx)),
		Headers: api.ListNotificationDeliveries200ResponseHeaders{Link: link, XTotalCount: total},
	}, nil
}

// GetNotificationDelivery answers GET /api/notifications/deliveries/{id}.
func (s *Server) GetNotificationDelivery(
	ctx context.Context, req api.GetNotificationDeliveryRequestObject,
) (api.GetNotificationDeliveryResponseObject, error) {
	d, err := s.store.Delivery(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	j := deliveryJSON(ctx)(d)
	return api.GetNotificationDelivery200JSONResponse{
		ID:         j.ID,
		Key:        j.Key,
		ChannelID:  j.ChannelID,
		RouteID:    j.RouteID,
		Kind:       j.Kind,
		Status:     j.Status,
		EventCount: j.EventCount,
		Attempts:   j.Attempts,
		Detail:     j.Detail,
		DueAt:      j.DueAt,
		CreatedAt:  j.CreatedAt,
		FinishedAt: j.FinishedAt,
		Events:     mapSlice(d.Events, eventjson.Notification),
	}, nil
}

// deliveryJSON returns a function that converts deliveries for the caller. Viewers and operators do
// not get the details, which can name internal hosts.
func deliveryJSON(ctx context.Context) func(store.Delivery) api.NotificationDelivery {
	mayReadDetail := callOf(ctx).principal.Role().Includes(store.Engineer)
	return func(d store.Delivery) api.NotificationDelivery {
		due := &d.DueAt
		if d.FinishedAt != nil {
			due = nil
		}
		if !mayReadDetail {
			d.Detail = ""
		}
		return api.NotificationDelivery{
			ID:         d.ID,
			Key:        d.Key,
			ChannelID:  d.ChannelID,
			RouteID:    orNull(d.RouteID),
			Kind:       api.NotificationDeliveryKind(d.Kind),
			Status:     api.NotificationDeliveryStatus(d.Status),
			EventCount: d.EventCount,
			Attempts:   d.Attempts,
			Detail:     d.Detail,
			DueAt:      timeOrNull(due),
			CreatedAt:  d.CreatedAt.UTC(),
			FinishedAt: timeOrNull(d.FinishedAt),
		}
	}
}
