package server

import (
	"context"
	"errors"
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

const (
	maxPoints     = 50000 // of an answer: sensors times buckets
	defaultPoints = 500
)

// historyRequest is a request for history that can be answered.
type historyRequest struct {
	query     series.HistoryQuery
	hasNext   bool // the requested range goes on after the answer
	interval  series.Interval
	zone      *time.Location
	aggs      []api.Aggregate
	fill      api.HistoryFill
	columns   bool
	summaries map[int64]string // the members of the sensors; nil: not included
}

// GetHistory answers GET /api/data/history.
func (s *Server) GetHistory(
	ctx context.Context, req api.GetHistoryRequestObject,
) (api.GetHistoryResponseObject, error) {
	p := req.Params
	h, err := newHistoryRequest(p)
	if err != nil {
		return nil, err
	}
	if h.summaries, err = s.sensorMembers(ctx, p.Include, h.query.Sensors); err != nil {
		return nil, err
	}
	a, err := s.answer(ctx, h)
	if err != nil {
		return nil, err
	}
	return taggedResponse(a, !h.query.End.After(h.query.Now), p.IfNoneMatch), nil
}

func (h *historyRequest) cacheQuery() cache.Query {
	q := &h.query
	return cacheQuery(q.Sensors, q.Start, q.End, q.Bounds, "history", h.interval, h.zone, h.hasNext,
		h.aggs, h.fill, h.columns, h.summaries)
}

func (h *historyRequest) cost(ctx context.Context, st *store.Store) (int64, error) {
	return st.HistoryCost(ctx, h.query)
}

func (h *historyRequest) read(ctx context.Context, st *store.Store) ([]byte, error) {
	found, source, err := st.History(ctx, h.query)
	if err != nil {
		return nil, err
	}
	return h.encode(found, source), nil
}

// newHistoryRequest returns the request that p makes, or a 400 that says what to change. It does
// not check whether the sensors exist.
func newHistoryRequest(p api.GetHistoryParams) (*historyRequest, error) {
	h := &historyRequest{
		aggs:    distinct(p.Agg),
		fill:    *p.Fill,
		columns: *p.Format == api.SeriesFormatColumns,
	}
	if len(h.aggs) == 0 {
		h.aggs = []api.Aggregate{api.AggregateAvg}
	}
	h.query = series.HistoryQuery{
		Sensors: distinct(slices.Sorted(slices.Values(p.SensorID))),
		Start:   p.Start.UTC(),
		End:     p.End.UTC(),
		Ends:    slices.ContainsFunc(h.aggs, needsEnds),
		Now:     time.Now(),
	}
	var err error
	if h.zone, err = parseRange(p.Start, p.End, *p.Timezone); err != nil {
		return nil, err
	}
	if h.interval, err = h.chooseInterval(p); err != nil {
		return nil, err
	}
	q := &h.query
	limit := maxPoints / len(q.Sensors)
	if p.Limit != nil {
		limit = min(limit, *p.Limit)
	}
	q.Bounds, h.hasNext = h.interval.Bounds(q.Start, q.End, h.zone, limit)
	if h.hasNext && p.Limit == nil {
		return nil, intervalTooShort(q.Start, q.End, h.zone, len(q.Sensors))
	}
	q.End = earlier(q.End, q.Bounds[len(q.Bounds)-1])
	return h, nil
}

// chooseInterval returns the interval that p names, or the one that gives about so many points.
func (h *historyRequest) chooseInterval(p api.GetHistoryParams) (series.Interval, error) {
	var none series.Interval
	sensors := len(h.query.Sensors)
	if p.Interval != nil && p.Points != nil {
		return none, invalid("points",
			"cannot be given together with interval; leave one of them out")
	}
	if err := checkPoints("points", orZero(p.Points), sensors); err != nil {
		return none, err
	}
	if err := checkPoints("limit", orZero(p.Limit), sensors); err != nil {
		return none, err
	}
	if p.Interval != nil {
		i, _ := series.ParseInterval(string(*p.Interval)) // the contract has checked it
		return i, nil
	}
	points := min(defaultPoints, maxPoints/sensors)
	if p.Points != nil {
		points = *p.Points
	}
	i, ok := series.IntervalFor(h.query.Start, h.query.End, h.zone, points)
	if !ok {
		return none, invalid("points",
			"is too few for this range even in months; use more, or a shorter range")
	}
	return i, nil
}

// checkPoints refuses answers with more than maxPoints.
func checkPoints(field string, points, sensors int) error {
	if limit := maxPoints / sensors; points > limit {
		return invalid(field,
			fmt.Sprintf("is too much for %d sensors; use at most %d, or ask for fewer sensors",
				sensors, limit))
	}
	return nil
}

// intervalTooShort is a 400 that names the shortest possible interval.
func intervalTooShort(start, end time.Time, zone *time.Location, sensors int) error {
	reason := fmt.Sprintf("gives more than %d points; ", maxPoints)
	if i, ok := series.IntervalFor(start, end, zone, maxPoints/sensors); ok {
		return invalid("interval",
			reason+"use "+i.String()+" or longer, fewer sensors, a shorter range, or limit")
	}
	return invalid("interval", reason+"use a shorter range, or limit")
}

// tooMuchToRead turns store.ErrTooMuch into a 400: the query reached the time limit of statements.
func tooMuchToRead(err error) error {
	if errors.Is(err, store.ErrTooMuch) {
		return invalid("end",
			"is too far from start: there are too many readings to read in time; "+
				"use a shorter range, fewer sensors, or an interval of whole hours")
	}
	return err
}

// checkRange refuses a range of time that is empty or outside the years 1 to 9999.
func checkRange(start, end time.Time) error {
	if !end.After(start) {
		return invalid("end", "is not after start; use a later end")
	}
	if start.Year() < 1 || end.Year() > 9999 {
		return invalid("start", "is not in the years 1 to 9999")
	}
	return nil
}

// parseRange checks a range of time and returns the time zone of its buckets.
func parseRange(start, end time.Time, timezone string) (*time.Location, error) {
	if err := checkRange(start, end); err != nil {
		return nil, err
	}
	zone, err := series.Zone(timezone)
	if err != nil {
		return nil, invalid("timezone",
			"is not in the IANA database; use a name such as Europe/Berlin, or UTC")
	}
	return zone, nil
}

func needsEnds(a api.Aggregate) bool {
	switch a {
	case api.AggregateFirst, api.AggregateLast, api.AggregateDelta, api.AggregateTimeWeightedAvg:
		return true
	}
	return false
}

// encode writes the answer by hand: it may have very many points.
func (h *historyRequest) encode(
	found map[int64][]series.Bucket, source series.Source,
) []byte {
	q := &h.query
	b := fmt.Appendf(nil,
		`{"source":%q,"interval":%q,"timezone":%q,"coverage":{"start":"`, source, h.interval,
		h.zone)
	b = jsonenc.AppendTime(b, q.Start)
	b = append(b, `","end":"`...)
	b = jsonenc.AppendTime(b, q.End)
	b = append(b, `"},"next":`...)
	if h.hasNext {
		b = append(b, '"')
		b = jsonenc.AppendTime(b, q.End)
		b = append(b, '"')
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"series":[`...)
	for i, id := range q.Sensors {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"sensor_id":`...)
		b = strconv.AppendInt(b, id, 10)
		b = append(b, h.summaries[id]...)
		t := newTable(found[id], q.Bounds, h.aggs, h.fill)
		if h.columns {
			b = t.appendColumns(b)
		} else {
			b = t.appendRows(b)
		}
		b = append(b, '}')
	}
	return append(b, "]}\n"...)
}

func distinct[T comparable](list []T) []T {
	var out []T
	for _, v := range list {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
