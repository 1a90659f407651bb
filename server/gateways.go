package server

import (
	"context"
	"errors"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// ListGateways answers GET /api/gateways.
func (s *Server) ListGateways(
	ctx context.Context, req api.ListGatewaysRequestObject,
) (api.ListGatewaysResponseObject, error) {
	p := req.Params
	after, err := idCursor(p.Cursor)
	if err != nil {
		return nil, err
	}
	f := store.GatewayFilter{
		Key:      p.Key,
		Status:   (*string)(p.Status),
		IsActive: p.IsActive,
		IsSystem: systemFilter(p.IsSystem, false),
	}
	list, err := s.store.Gateways(ctx, f, after, *p.Limit+1)
	if err != nil {
		return nil, err
	}
	list, link := page(ctx, list, *p.Limit, func(g store.Gateway) string { return encodeID(g.ID) })
	total, err := totalCount(ctx, *p.Count, s.store.CountGateways, f)
	if err != nil {
		return nil, err
	}
	return api.ListGateways200JSONResponse{
		Body:    mapSlice(list, gatewayJSON),
		Headers: api.ListGateways200ResponseHeaders{Link: link, XTotalCount: total},
	}, nil
}

// CreateGateway answers POST /api/gateways.
func (s *Server) CreateGateway(
	ctx context.Context, req api.CreateGatewayRequestObject,
) (api.CreateGatewayResponseObject, error) {
	b := req.Body
	metadata, err := encodeObject("metadata", orZero(b.Metadata))
	if err != nil {
		return nil, err
	}
	g := store.Gateway{
		Key:      orZero(b.Key),
		Name:     b.Name,
		Location: orZero(b.Location),
		IsActive: orTrue(b.IsActive),
		Metadata: metadata,
	}
	if b.Key == nil {
		g.Key = s.contract.keyFor(b.Name, "gateway")
		g, err = s.store.CreateGatewayWithFreeKey(ctx, g)
	} else {
		g, err = s.store.CreateGateway(ctx, g)
	}
	if errors.Is(err, store.ErrConflict) {
		return nil, alreadyTaken("key", g.Key)
	}
	if err != nil {
		return nil, err
	}
	return api.CreateGateway201JSONResponse{
		Body: gatewayJSON(g),
		Headers: api.CreateGateway201ResponseHeaders{
			ETag:     etag(g.Version),
			Location: address(ctx, "/api/gateways/%d", g.ID),
		},
	}, nil
}

// GetGateway answers GET /api/gateways/{id}.
func (s *Server) GetGateway(
	ctx context.Context, req api.GetGatewayRequestObject,
) (api.GetGatewayResponseObject, error) {
	g, err := s.store.Gateway(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return api.GetGateway200JSONResponse{GatewayWithETagJSONResponse: gatewayWithETag(g)}, nil
}

// UpdateGateway answers PUT /api/gateways/{id}.
func (s *Server) UpdateGateway(
	ctx context.Context, req api.UpdateGatewayRequestObject,
) (api.UpdateGatewayResponseObject, error) {
	b := req.Body
	version, err := ifMatch(req.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	change := store.GatewayChange{
		Key:      b.Key,
		Name:     b.Name,
		Location: b.Location,
		IsActive: b.IsActive,
	}
	if b.Metadata != nil {
		metadata, err := encodeObject("metadata", *b.Metadata)
		if err != nil {
			return nil, err
		}
		change.Metadata = &metadata
	}
	g, err := s.store.UpdateGateway(ctx, req.ID, version, change)
	if errors.Is(err, store.ErrConflict) {
		return nil, alreadyTaken("key", orZero(b.Key))
	}
	if err != nil {
		return nil, err
	}
	return api.UpdateGateway200JSONResponse{GatewayWithETagJSONResponse: gatewayWithETag(g)}, nil
}

// DeleteGateway answers DELETE /api/gateways/{id}.
func (s *Server) DeleteGateway(
	ctx context.Context, req api.DeleteGatewayRequestObject,
) (api.DeleteGatewayResponseObject, error) {
	p := req.Params
	version, err := ifMatch(p.IfMatch)
	if err != nil {
		return nil, err
	}
	d, err := s.store.DeleteGateway(ctx, req.ID, version, *p.Cascade, *p.DryRun)
	if err != nil {
		return nil, err
	}
	return api.DeleteGateway200JSONResponse{
		DeletedJSONResponse: deletionResponse(d, *p.DryRun),
	}, nil
}

func gatewayWithETag(g store.Gateway) api.GatewayWithETagJSONResponse {
	return api.GatewayWithETagJSONResponse{
		Body:    gatewayJSON(g),
		Headers: api.GatewayWithETagResponseHeaders{ETag: etag(g.Version)},
	}
}

func gatewayJSON(g store.Gateway) api.Gateway {
	return api.Gateway{
		ID:          g.ID,
		Key:         g.Key,
		Name:        g.Name,
		Location:    g.Location,
		IsActive:    g.IsActive,
		IsSystem:    g.IsSystem,
		Status:      api.GatewayStatus(g.Status),
		LastSeenAt:  timeOrNull(g.LastSeenAt),
		ClockSkewMs: orNull(g.ClockSkewMs),
		Metadata:    decodeObject[api.Metadata](g.Metadata),
		CreatedAt:   g.CreatedAt.UTC(), UpdatedAt: g.UpdatedAt.UTC(),
	}
}

func deletionResponse(d store.Deletion, dryRun bool) api.DeletedJSONResponse {
	return api.DeletedJSONResponse{
		DryRun: dryRun, Gateways: d.Gateways, Sensors: d.Sensors, Alarms: d.Alarms,
		FirstReadingAt: timeOrNull(d.First), LastReadingAt: timeOrNull(d.Last),
	}
}
