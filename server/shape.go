package server

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// shape is the answer, sealed, to a request for history that names a method: readings of each
// sensor that show their shape.
func (s *Server) shape(ctx context.Context, p api.GetHistoryParams) ([]byte, error) {
	q := store.ShapeQuery{
		Sensors: distinct(slices.Sorted(slices.Values(p.SensorID))),
		Start:   p.Start.UTC(),
		End:     p.End.UTC(),
		Method:  store.MinMax,
		Points:  chartPoints,
	}
	if *p.Method == api.DownsamplingMethodLttb {
		q.Method = store.LTTB
	}
	zone, err := spanAndZone(p.Start, p.End, *p.Timezone)
	if err != nil {
		return nil, err
	}
	most := mostPoints / len(q.Sensors)
	if p.Points != nil {
		q.Points = *p.Points
	}
	for _, other := range []struct {
		field string
		given bool
	}{
		{"interval", p.Interval != nil},
		{"agg", len(p.Agg) > 0},
		{"fill", *p.Fill != api.HistoryFillNone},
		{"limit", p.Limit != nil},
	} {
		if other.given {
			return nil, invalid(other.field,
				"is of buckets, which there are none of with method; leave one of them out")
		}
	}
	switch {
	case q.Points < 4:
		return nil, invalid("points", "is too few to show a shape; use 4 or more")
	case q.Points > most:
		return nil, invalid("points",
			fmt.Sprintf("is too much for %d sensors; use at most %d, or ask for fewer sensors",
				len(q.Sensors), most))
	}
	summaries, err := s.sensorMembers(ctx, p.Include, q.Sensors)
	if err != nil {
		return nil, err
	}
	columns := *p.Format == api.SeriesFormatColumns
	about := s.question(q.Sensors, q.Start, q.End, nil, "shape", q.Method, q.Points, zone, columns,
		summaries)
	return s.answer(ctx, about,
		func(ctx context.Context) (int64, error) { return s.store.ShapeCost(ctx, q) }, func(ctx context.Context) ([]byte, error) {
			found, source, err := s.store.Shape(ctx, q)
			if err != nil {
				return nil, tooMuch(err)
			}
			return seal(encodeShape(q, zone, found, summaries, source, *p.Method, columns)), nil
		})
}

func encodeShape(
	q store.ShapeQuery, zone *time.Location, found map[int64][]store.Reading,
	summaries map[int64]string,
	source store.Source, method api.DownsamplingMethod, columns bool,
) []byte {
	b := fmt.Appendf(make([]byte, tagLength),
		`{"source":%q,"method":%q,"timezone":%q,"coverage":{"start":"`, source, method, zone)
	b = appendTime(b, q.Start)
	b = append(b, `","end":"`...)
	b = appendTime(b, q.End)
	b = append(b, `"},"next":null,"series":[`...)
	for i, id := range q.Sensors {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"sensor_id":`...)
		b = strconv.AppendInt(b, id, 10)
		b = append(b, summaries[id]...)
		if columns {
			b = appendPickedColumns(b, found[id])
		} else {
			b = appendPicked(b, found[id])
		}
		b = append(b, '}')
	}
	return append(b, "]}\n"...)
}

func appendPicked(b []byte, rs []store.Reading) []byte {
	b = append(b, `,"readings":[`...)
	for i := range rs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"timestamp":"`...)
		b = appendTime(b, rs[i].Timestamp)
		b = append(b, `","value":`...)
		b = appendNumber(b, rs[i].Value)
		b = append(b, `,"quality":"`...)
		b = append(b, rs[i].Quality.String()...)
		b = append(b, `"}`...)
	}
	return append(b, ']')
}

func appendPickedColumns(b []byte, rs []store.Reading) []byte {
	column := func(name string, put func(b []byte, r *store.Reading) []byte) {
		b = append(b, name...)
		for i := range rs {
			if i > 0 {
				b = append(b, ',')
			}
			b = put(b, &rs[i])
		}
		b = append(b, ']')
	}
	column(`,"reading_columns":{"timestamp":[`,
		func(b []byte, r *store.Reading) []byte {
			return append(appendTime(append(b, '"'),
				r.Timestamp), '"')
		})
	column(`,"value":[`,
		func(b []byte, r *store.Reading) []byte { return appendNumber(b, r.Value) })
	column(`,"quality":[`, func(b []byte, r *store.Reading) []byte {
		return append(append(append(b, '"'), r.Quality.String()...), '"')
	})
	return append(b, '}')
}
