package server

import (
	"context"
	"database/sql"
	"errors"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// ListSensors answers GET /api/sensors.
func (s *Server) ListSensors(
	ctx context.Context, req api.ListSensorsRequestObject,
) (api.ListSensorsResponseObject, error) {
	p := req.Params
	after, err := idCursor(p.Cursor)
	if err != nil {
		return nil, err
	}
	f := store.SensorFilter{
		GatewayID: p.GatewayID,
		Key:       p.Key,
		Type:      p.Type,
		IsActive:  p.IsActive,
		IsSystem:  systemFilter(p.IsSystem, p.GatewayID != nil),
	}
	list, err := s.store.Sensors(ctx, f, after, *p.Limit+1)
	if err != nil {
		return nil, err
	}
	if err := s.checkFilterIDs(ctx, len(list), p.Cursor == nil,
		referencedIDs{Gateway: p.GatewayID}); err != nil {
		return nil, err
	}
	list, link := page(ctx, list, *p.Limit, func(v store.Sensor) string { return encodeID(v.ID) })
	total, err := totalCount(ctx, *p.Count, s.store.CountSensors, f)
	if err != nil {
		return nil, err
	}
	return api.ListSensors200JSONResponse{
		Body:    mapSlice(list, sensorJSON),
		Headers: api.ListSensors200ResponseHeaders{Link: link, XTotalCount: total},
	}, nil
}

// CreateSensor answers POST /api/sensors.
func (s *Server) CreateSensor(
	ctx context.Context, req api.CreateSensorRequestObject,
) (api.CreateSensorResponseObject, error) {
	b := req.Body
	tags, err := encodeObject("tags", orZero(b.Tags))
	if err != nil {
		return nil, err
	}
	v := store.Sensor{
		GatewayID: b.GatewayID,
		Key:       orZero(b.Key),
		Name:      b.Name,
		Type:      b.Type,
		Unit:      orZero(b.Unit),
		Location:  orZero(b.Location),
		IsActive:  orTrue(b.IsActive),
		MinValue:  valueOrNil(b.MinValue),
		MaxValue:  valueOrNil(b.MaxValue),
		Retention: valueOrNil(b.RetentionDays), Tags: tags,
	}
	if b.Key == nil {
		v.Key = s.contract.keyFor(b.Name, "sensor")
		v, err = s.store.CreateSensorWithFreeKey(ctx, v)
	} else {
		v, err = s.store.CreateSensor(ctx, v)
	}
	if _, ok := errors.AsType[*store.SystemOwnedError](err); ok {
		return nil, invalid("gateway_id", "is the gateway of the server itself; use another")
	}
	if errors.Is(err, store.ErrInUse) {
		return nil, invalid("gateway_id", "does not exist; use the id of a gateway")
	}
	if err != nil {
		return nil, sensorProblem(err, orZero(b.Key), b.MinValue.IsSpecified())
	}
	return api.CreateSensor201JSONResponse{
		Body: sensorJSON(v),
		Headers: api.CreateSensor201ResponseHeaders{
			ETag:     etag(v.Version),
			Location: address(ctx, "/api/sensors/%d", v.ID),
		},
	}, nil
}

// GetSensor answers GET /api/sensors/{id}.
func (s *Server) GetSensor(
	ctx context.Context, req api.GetSensorRequestObject,
) (api.GetSensorResponseObject, error) {
	v, err := s.store.Sensor(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return api.GetSensor200JSONResponse{SensorWithETagJSONResponse: sensorWithETag(v)}, nil
}

// UpdateSensor answers PUT /api/sensors/{id}.
func (s *Server) UpdateSensor(
	ctx context.Context, req api.UpdateSensorRequestObject,
) (api.UpdateSensorResponseObject, error) {
	b := req.Body
	version, err := ifMatch(req.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	change := store.SensorChange{
		Key:       b.Key,
		Name:      b.Name,
		Type:      b.Type,
		Unit:      b.Unit,
		Location:  b.Location,
		IsActive:  b.IsActive,
		MinValue:  changed(b.MinValue),
		MaxValue:  changed(b.MaxValue),
		Retention: changed(b.RetentionDays),
	}
	if b.Tags != nil {
		tags, err := encodeObject("tags", *b.Tags)
		if err != nil {
			return nil, err
		}
		change.Tags = &tags
	}
	v, err := s.store.UpdateSensor(ctx, req.ID, version, change)
	if err != nil {
		return nil, sensorProblem(err, orZero(b.Key), b.MinValue.IsSpecified())
	}
	return api.UpdateSensor200JSONResponse{SensorWithETagJSONResponse: sensorWithETag(v)}, nil
}

// DeleteSensor answers DELETE /api/sensors/{id}.
func (s *Server) DeleteSensor(
	ctx context.Context, req api.DeleteSensorRequestObject,
) (api.DeleteSensorResponseObject, error) {
	version, err := ifMatch(req.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	d, err := s.store.DeleteSensor(ctx, req.ID, version, *req.Params.DryRun)
	if err != nil {
		return nil, err
	}
	return api.DeleteSensor200JSONResponse{
		DeletedJSONResponse: deletionResponse(d, *req.Params.DryRun),
	}, nil
}

// sensorProblem names the field that the database refuses.
func sensorProblem(err error, key string, minGiven bool) error {
	switch {
	case errors.Is(err, store.ErrConflict):
		return alreadyTaken("key", key)
	case errors.Is(err, store.ErrInvalid) && minGiven:
		return invalid("min_value", "is above max_value")
	case errors.Is(err, store.ErrInvalid):
		return invalid("max_value", "is below min_value")
	}
	return err
}

// changed returns nil for an absent member, and a value that is not Valid for null.
func changed[T any](v nullable.Nullable[T]) *sql.Null[T] {
	if !v.IsSpecified() {
		return nil
	}
	value, err := v.Get()
	return &sql.Null[T]{V: value, Valid: err == nil}
}

func sensorWithETag(v store.Sensor) api.SensorWithETagJSONResponse {
	return api.SensorWithETagJSONResponse{
		Body:    sensorJSON(v),
		Headers: api.SensorWithETagResponseHeaders{ETag: etag(v.Version)},
	}
}

func sensorJSON(v store.Sensor) api.Sensor {
	return api.Sensor{
		ID:             v.ID,
		Key:            v.Key,
		Name:           v.Name,
		Type:           v.Type,
		Unit:           v.Unit,
		GatewayID:      v.GatewayID,
		AboutGatewayID: orNull(v.AboutGatewayID),
		Location:       v.Location,
		IsActive:       v.IsActive,
		MinValue:       orNull(v.MinValue),
		MaxValue:       orNull(v.MaxValue),
		RetentionDays:  orNull(v.Retention),
		Tags:           decodeObject[api.Tags](v.Tags),
		CreatedAt:      v.CreatedAt.UTC(), UpdatedAt: v.UpdatedAt.UTC(),
	}
}
