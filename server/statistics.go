package server

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/cache"
	"github.com/oei-ms/oei-ms/internal/timejson"
	"github.com/oei-ms/oei-ms/series"
	"github.com/oei-ms/oei-ms/store"
)

// maxStatistics bounds an answer: sensors times intervals.
const maxStatistics = 5000

// statisticsRequest is a request for statistics that can be answered.
type statisticsRequest struct {
	query       series.HistoryQuery
	interval    series.Interval
	hasInterval bool // false: one interval, the whole range
	zone        *time.Location
	percentiles []string // their names, such as p95
}

// GetStatistics answers GET /api/data/statistics.
func (s *Server) GetStatistics(
	ctx context.Context, req api.GetStatisticsRequestObject,
) (api.GetStatisticsResponseObject, error) {
	r, err := newStatisticsRequest(req.Params)
	if err != nil {
		return nil, err
	}
	a, err := s.answer(ctx, r)
	if err != nil {
		return nil, err
	}
	return jsonResponse(a.Body), nil
}

// newStatisticsRequest returns the request that p makes, or a 400.
func newStatisticsRequest(p api.GetStatisticsParams) (*statisticsRequest, error) {
	r := &statisticsRequest{hasInterval: p.Interval != nil, percentiles: p.Percentiles}
	var err error
	if r.zone, err = parseRange(p.Start, p.End, *p.Timezone); err != nil {
		return nil, err
	}
	if r.hasInterval {
		r.interval, _ = series.ParseInterval(string(*p.Interval)) // the contract has checked it
	}
	sensors := distinct(slices.Sorted(slices.Values(p.SensorID)))
	limit := maxStatistics / len(sensors)
	bounds, more := r.interval.Bounds(p.Start, p.End, r.zone, limit)
	if more {
		remedy := "a shorter range"
		if len(sensors) > 1 {
			remedy = "fewer sensors, or " + remedy
		}
		if i, ok := series.IntervalFor(p.Start, p.End, r.zone, limit); ok {
			remedy = i.String() + " or longer, " + remedy
		}
		return nil, invalid("interval",
			fmt.Sprintf("gives more than %d statistics; use %s", maxStatistics, remedy))
	}
	r.query = series.HistoryQuery{
		Sensors: sensors,
		Start:   p.Start,
		End:     p.End,
		Bounds:  bounds,
		Ends:    true,
		Now:     time.Now(),
		Gap:     time.Duration(*p.GapSeconds) * time.Second,
	}
	if len(r.percentiles) == 0 {
		r.percentiles = []string{"p05", "p50", "p95"}
	}
	for _, name := range r.percentiles {
		percent, _ := strconv.Atoi(name[1:]) // the contract has checked it
		r.query.Percentiles = append(r.query.Percentiles, float64(percent)/100)
	}
	return r, nil
}

func (r *statisticsRequest) cacheQuery() cache.Query {
	q := &r.query
	return cacheQuery(q.Sensors, q.Start, q.End, q.Bounds, "statistics", r.hasInterval, r.interval,
		r.zone, r.percentiles, q.Gap)
}

func (r *statisticsRequest) cost(ctx context.Context, st *store.Store) (int64, error) {
	return st.HistoryCost(ctx, r.query)
}

func (r *statisticsRequest) read(ctx context.Context, st *store.Store) ([]byte, error) {
	found, source, err := st.History(ctx, r.query)
	if err != nil {
		return nil, err
	}
	body, err := timejson.Marshal(r.answer(found, source))
	return append(body, '\n'), err
}

func (r *statisticsRequest) answer(
	found map[int64][]series.Bucket, source series.Source,
) api.Statistics {
	q := &r.query
	answer := api.Statistics{
		Source:           api.DataSource(source),
		Timezone:         r.zone.String(),
		Interval:         nullable.NewNullNullable[string](),
		PercentileMethod: api.StatisticsPercentileMethodExact,
		Series:           make([]api.SensorStatistics, len(q.Sensors)),
	}
	if r.hasInterval {
		answer.Interval = nullable.NewNullableWithValue(r.interval.String())
	}
	for i, id := range q.Sensors {
		for _, b := range found[id] {
			answer.PercentileError = max(answer.PercentileError, b.PercentileError)
		}
		intervals := mapSlice(found[id], func(b series.Bucket) api.IntervalStatistics {
			return statisticsJSON(b, r.percentiles, q.Start, q.End)
		})
		answer.Series[i] = api.SensorStatistics{SensorID: id, Intervals: intervals}
	}
	if answer.PercentileError > 0 {
		answer.PercentileMethod = api.StatisticsPercentileMethodSketch
	}
	return answer
}

// statisticsJSON returns the statistics of b, which may reach beyond the requested [start, end).
func statisticsJSON(b series.Bucket, names []string, start, end time.Time) api.IntervalStatistics {
	from, to := b.Start, earlier(b.End, end)
	if from.Before(start) {
		from = start
	}
	out := api.IntervalStatistics{
		Start:             b.Start.UTC(),
		End:               b.End.UTC(),
		Count:             b.Readings,
		Usable:            b.Usable,
		Min:               valueJSON(b.Min),
		Max:               valueJSON(b.Max),
		Sum:               valueJSON(b.Sum),
		Avg:               valueJSON(b.Avg()),
		TimeWeightedAvg:   valueJSON(b.TimeWeighted),
		Stddev:            valueJSON(b.Stddev()),
		Delta:             valueJSON(b.Last - b.First),
		Percentiles:       map[string]float64{},
		PercentGood:       b.PercentGood(),
		Gaps:              b.Gaps,
		LongestGapSeconds: b.MaxGap.Seconds(),
		Rate:              float64(b.Readings) / seconds(from, to),
		First:             nullable.NewNullNullable[api.TimedValue](),
		Last:              nullable.NewNullNullable[api.TimedValue](),
	}
	for i, v := range b.Percentiles {
		out.Percentiles[names[i]] = v
	}
	if b.Usable > 0 {
		out.First = nullable.NewNullableWithValue(api.TimedValue{
			Timestamp: b.FirstAt.UTC(),
			Value:     b.First,
		})
		out.Last = nullable.NewNullableWithValue(api.TimedValue{
			Timestamp: b.LastAt.UTC(),
			Value:     b.Last,
		})
	}
	return out
}
