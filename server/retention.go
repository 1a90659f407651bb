package server

import (
	"context"
	"time"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// PreviewRetention answers GET /api/data/retention.
func (s *Server) PreviewRetention(
	ctx context.Context, req api.PreviewRetentionRequestObject,
) (api.PreviewRetentionResponseObject, error) {
	p := req.Params
	var after time.Time
	at, _, err := instantCursor(p.Cursor, 32)
	if err != nil {
		return nil, err
	}
	if at != nil {
		after = *at
	}
	list, next, more, err := s.store.PreviewRetention(ctx, time.Now(), after, *p.Limit)
	if err != nil {
		return nil, err
	}
	res := api.PreviewRetention200JSONResponse{Body: mapSlice(list, expiringJSON)}
	if more {
		res.Headers.Link = new(nextPage(ctx, encodeInstant(next, 1)))
	}
	return res, nil
}

func expiringJSON(e store.ExpiringPartition) api.ExpiringPartition {
	return api.ExpiringPartition{
		Partition: e.Name,
		Start:     e.Start.UTC(),
		End:       e.End.UTC(),
		IsDropped: e.Dropped,
		Readings:  orNull(e.Readings),
		Bytes:     orNull(e.Bytes),
		Sensors: mapSlice(e.Sensors, func(v store.ExpiringSensor) api.ExpiringSensor {
			return api.ExpiringSensor{
				SensorID:         v.ID,
				RetentionSeconds: int64(v.Retention.Seconds()),
				Readings:         orNull(v.Readings),
			}
		}),
	}
}
