package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/timejson"
	"github.com/oei-ms/oei-ms/series"
)

// mostStatistics of an answer: sensors times intervals.
const mostStatistics = 5000

// VisitGetStatisticsResponse makes it an answer to the statistics.
func (f streamed) VisitGetStatisticsResponse(w http.ResponseWriter) error { return f(w) }

// GetStatistics answers GET /api/data/statistics.
func (s *Server) GetStatistics(
	ctx context.Context, req api.GetStatisticsRequestObject,
) (api.GetStatisticsResponseObject, error) {
	p := req.Params
	zone, err := rangeAndZone(p.Start, p.End, *p.Timezone)
	if err != nil {
		return nil, err
	}
	sensors := distinct(slices.Sorted(slices.Values(p.SensorID)))
	var interval series.Interval
	if p.Interval != nil {
		interval, _ = series.ParseInterval(string(*p.Interval)) // the contract has checked it
	}
	most := mostStatistics / len(sensors)
	bounds, more := interval.Bounds(p.Start, p.End, zone, most)
	if more {
		remedy := "a shorter range"
		if len(sensors) > 1 {
			remedy = "fewer sensors, or " + remedy
		}
		if i, ok := series.IntervalFor(p.Start, p.End, zone, most); ok {
			remedy = i.String() + " or longer, " + remedy
		}
		return nil, invalid("interval",
			fmt.Sprintf("gives more than %d statistics; use %s", mostStatistics, remedy))
	}
	names := p.Percentiles
	if len(names) == 0 {
		names = []string{"p05", "p50", "p95"}
	}
	q := series.HistoryQuery{
		Sensors: sensors, Start: p.Start, End: p.End, Bounds: bounds, Ends: true, Now: time.Now(),
		Gap: time.Duration(*p.GapSeconds) * time.Second,
	}
	for _, name := range names {
		percent, _ := strconv.Atoi(name[1:]) // the contract has checked it
		q.Percentiles = append(q.Percentiles, float64(percent)/100)
	}
	about := s.question(sensors, q.Start, q.End, q.Bounds, "statistics", p.Interval != nil,
		interval, zone, names, q.Gap)
	body, err := s.answer(ctx, about,
		func(ctx context.Context) (int64, error) { return s.store.HistoryCost(ctx, q) }, func(ctx context.Context) ([]byte, error) {
			found, source, err := s.store.History(ctx, q)
			if err != nil {
				return nil, tooMuch(err)
			}
			answer := statisticsAnswer(&q, found, names)
			answer.Source, answer.Timezone = api.DataSource(source), zone.String()
			if p.Interval != nil {
				answer.Interval = nullable.NewNullableWithValue(interval.String())
			}
			body, err := timejson.Marshal(answer)
			return append(body, '\n'), err
		})
	if err != nil {
		return nil, err
	}
	return streamed(func(w http.ResponseWriter) error {
		w.Header().Set("Content-Type", "application/json")
		_, err := w.Write(body)
		return err
	}), nil
}

// statisticsAnswer lacks what the statistics were made of, and how.
func statisticsAnswer(
	q *series.HistoryQuery, found map[int64][]series.Bucket, names []string,
) api.Statistics {
	answer := api.Statistics{
		Interval:         nullable.NewNullNullable[string](),
		PercentileMethod: api.StatisticsPercentileMethodExact,
		Series:           make([]api.SensorStatistics, len(q.Sensors)),
	}
	for i, id := range q.Sensors {
		for _, b := range found[id] {
			answer.PercentileError = max(answer.PercentileError, b.PercentileError)
		}
		answer.Series[i] = api.SensorStatistics{
			SensorID: id,
			Intervals: each(found[id],
				func(b series.Bucket) api.IntervalStatistics {
					return statisticsJSON(b, names, q.Start,
						q.End)
				}),
		}
	}
	if answer.PercentileError > 0 {
		answer.PercentileMethod = api.StatisticsPercentileMethodSketch
	}
	return answer
}

// statisticsJSON is b, of which [start, end) was asked for.
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
		LongestGapSeconds: b.MaxGap.Seconds(), Rate: float64(b.Readings) / seconds(from, to),
		First: nullable.NewNullNullable[api.TimedValue](),
		Last:  nullable.NewNullNullable[api.TimedValue](),
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
