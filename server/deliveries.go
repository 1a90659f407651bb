package server

import (
	"context"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// ListDeliveries answers GET /api/notifications/deliveries.
func (s *Server) ListDeliveries(
	ctx context.Context, req api.ListDeliveriesRequestObject,
) (api.ListDeliveriesResponseObject, error) {
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
	names := named{Alarm: p.AlarmID, Channel: p.ChannelID, Route: p.RouteID}
	if err := s.whenEmpty(ctx, len(list), p.Cursor == nil, names); err != nil {
		return nil, err
	}
	list, link := page(ctx, list, *p.Limit,
		func(d store.Delivery) string { return encodeInstant(d.CreatedAt, d.ID) })
	res := api.ListDeliveries200JSONResponse{Body: each(list, deliveryJSON(ctx))}
	res.Headers.Link = link
	if *p.Count {
		n, err := s.store.CountDeliveries(ctx, f)
		if err != nil {
			return nil, err
		}
		res.Headers.XTotalCount = &n
	}
	return res, nil
}

// GetDelivery answers GET /api/notifications/deliveries/{id}.
func (s *Server) GetDelivery(
	ctx context.Context, req api.GetDeliveryRequestObject,
) (api.GetDeliveryResponseObject, error) {
	d, err := s.store.Delivery(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	j := deliveryJSON(ctx)(d)
	return api.GetDelivery200JSONResponse{
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
		Events:     each(d.Events, notifiedJSON),
	}, nil
}

// deliveryJSON returns what writes deliveries for the caller. Their details can name internal
// hosts.
func deliveryJSON(ctx context.Context) func(store.Delivery) api.Delivery {
	mayReadDetail := callOf(ctx).principal.User.Role.Includes(store.Engineer)
	return func(d store.Delivery) api.Delivery {
		due := &d.DueAt
		if d.FinishedAt != nil {
			due = nil
		}
		if !mayReadDetail {
			d.Detail = ""
		}
		return api.Delivery{
			ID:         d.ID,
			Key:        d.Key,
			ChannelID:  d.ChannelID,
			RouteID:    orNull(d.RouteID),
			Kind:       api.DeliveryKind(d.Kind),
			Status:     api.DeliveryStatus(d.Status),
			EventCount: d.EventCount,
			Attempts:   d.Attempts,
			Detail:     d.Detail,
			DueAt:      timeOrNull(due),
			CreatedAt:  d.CreatedAt.UTC(),
			FinishedAt: timeOrNull(d.FinishedAt),
		}
	}
}

func notifiedJSON(e store.NoticeEvent) api.NotifiedEvent {
	return api.NotifiedEvent{
		Epoch:       e.Epoch,
		Offset:      e.Offset,
		At:          e.At.UTC(),
		AlarmID:     e.AlarmID,
		SensorID:    e.SensorID,
		GatewayID:   e.GatewayID,
		Occurrence:  e.Occurrence,
		Version:     e.Version,
		Alarm:       e.Alarm,
		Sensor:      e.Sensor,
		Gateway:     e.Gateway,
		SensorName:  e.SensorName,
		GatewayName: e.GatewayName,
		Kind:        e.Kind,
		State:       e.State,
		Severity:    e.Severity,
		Level:       e.Level,
		Value:       orNull(e.Value),
		Unit:        e.Unit,
		Message:     e.Message,
		User:        e.User,
		Comment:     e.Comment,
		Labels:      labelsJSON(e.Labels),
	}
}
