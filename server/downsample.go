package server

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/cache"
	"github.com/oei-ms/oei-ms/internal/jsonenc"
	"github.com/oei-ms/oei-ms/series"
	"github.com/oei-ms/oei-ms/store"
)

// downsampleRequest is a request for downsampled readings that can be answered.
type downsampleRequest struct {
	query     series.DownsampleQuery
	method    api.DownsamplingMethod
	summaries map[int64]string // the members of the sensors; nil: not included
}

// GetDownsampledReadings answers GET /api/data/downsampled.
func (s *Server) GetDownsampledReadings(
	ctx context.Context, req api.GetDownsampledReadingsRequestObject,
) (api.GetDownsampledReadingsResponseObject, error) {
	p := req.Params
	now := time.Now()
	d, err := newDownsampleRequest(p)
	if err != nil {
		return nil, err
	}
	if d.summaries, err = s.sensorMembers(ctx, p.Include, d.query.Sensors); err != nil {
		return nil, err
	}
	a, err := s.answer(ctx, d)
	if err != nil {
		return nil, err
	}
	return taggedResponse(a, !p.End.After(now), p.IfNoneMatch), nil
}

// newDownsampleRequest returns the request that p makes, or a 400.
func newDownsampleRequest(p api.GetDownsampledReadingsParams) (*downsampleRequest, error) {
	q := series.DownsampleQuery{
		Sensors: distinct(slices.Sorted(slices.Values(p.SensorID))),
		Start:   p.Start.UTC(),
		End:     p.End.UTC(),
		Method:  series.MinMax,
		Points:  *p.Points,
	}
	if *p.Method == api.DownsamplingMethodLttb {
		q.Method = series.LTTB
	}
	if err := checkRange(p.Start, p.End); err != nil {
		return nil, err
	}
	return &downsampleRequest{query: q, method: *p.Method},
		checkPoints("points", q.Points, len(q.Sensors))
}

func (d *downsampleRequest) cacheQuery() cache.Query {
	q := &d.query
	return cacheQuery(q.Sensors, q.Start, q.End, nil, "downsampled", q.Method, q.Points,
		d.summaries)
}

func (d *downsampleRequest) cost(ctx context.Context, st *store.Store) (int64, error) {
	return st.DownsampleCost(ctx, d.query)
}

func (d *downsampleRequest) read(ctx context.Context, st *store.Store) ([]byte, error) {
	found, source, err := st.Downsample(ctx, d.query)
	if err != nil {
		return nil, err
	}
	return d.encode(found, source), nil
}

// encode writes the answer by hand: it may have very many readings.
func (d *downsampleRequest) encode(found map[int64][]store.Reading, source series.Source) []byte {
	b := fmt.Appendf(nil, `{"source":%q,"method":%q,"series":[`, source, d.method)
	for i, id := range d.query.Sensors {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"sensor_id":`...)
		b = strconv.AppendInt(b, id, 10)
		b = append(b, d.summaries[id]...)
		b = append(b, `,"readings":[`...)
		for n, r := range found[id] {
			if n > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"timestamp":"`...)
			b = jsonenc.AppendTime(b, r.Timestamp)
			b = append(b, `","value":`...)
			b = jsonenc.AppendNumber(b, r.Value)
			b = append(b, `,"quality":"`...)
			b = append(b, r.Quality.String()...)
			b = append(b, `"}`...)
		}
		b = append(b, "]}"...)
	}
	return append(b, "]}\n"...)
}
