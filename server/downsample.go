package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/jsonenc"
	"github.com/oei-ms/oei-ms/series"
	"github.com/oei-ms/oei-ms/store"
)

// VisitGetDownsampledReadingsResponse makes it an answer of downsampled readings.
func (f streamed) VisitGetDownsampledReadingsResponse(w http.ResponseWriter) error { return f(w) }

// GetDownsampledReadings answers GET /api/data/downsampled.
func (s *Server) GetDownsampledReadings(
	ctx context.Context, req api.GetDownsampledReadingsRequestObject,
) (api.GetDownsampledReadingsResponseObject, error) {
	p := req.Params
	now := time.Now()
	q, err := downsampledQuery(p)
	if err != nil {
		return nil, err
	}
	summaries, err := s.sensorMembers(ctx, p.Include, q.Sensors)
	if err != nil {
		return nil, err
	}
	about := s.question(q.Sensors, q.Start, q.End, nil, "downsampled", q.Method, q.Points, summaries)
	body, err := s.answer(ctx, about,
		func(ctx context.Context) (int64, error) { return s.store.DownsampleCost(ctx, q) },
		func(ctx context.Context) ([]byte, error) {
			found, source, err := s.store.Downsample(ctx, q)
			if err != nil {
				return nil, tooMuch(err)
			}
			return seal(encodeDownsampled(q, found, summaries, source, *p.Method)), nil
		})
	if err != nil {
		return nil, err
	}
	return tagged(body, !p.End.After(now), p.IfNoneMatch), nil
}

// downsampledQuery returns the query that p asks for, or a 400.
func downsampledQuery(p api.GetDownsampledReadingsParams) (series.DownsampleQuery, error) {
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
		return q, err
	}
	return q, checkPoints("points", q.Points, len(q.Sensors))
}

func encodeDownsampled(
	q series.DownsampleQuery, found map[int64][]store.Reading, summaries map[int64]string,
	source series.Source, method api.DownsamplingMethod,
) []byte {
	b := fmt.Appendf(make([]byte, tagLength), `{"source":%q,"method":%q,"series":[`, source, method)
	for i, id := range q.Sensors {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"sensor_id":`...)
		b = strconv.AppendInt(b, id, 10)
		b = append(b, summaries[id]...)
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
