package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/jsonenc"
	"github.com/oei-ms/oei-ms/series"
	"github.com/oei-ms/oei-ms/store"
)

const (
	mostPoints  = 50000 // of an answer: sensors times buckets
	chartPoints = 500   // when nobody says how many
)

// VisitGetHistoryResponse makes it an answer to the history.
func (f streamed) VisitGetHistoryResponse(w http.ResponseWriter) error { return f(w) }

// historyRequest is a request for history that was found to be answerable.
type historyRequest struct {
	sensors  []int64 // in order, each once
	start    time.Time
	end      time.Time // where the answer ends
	next     bool      // the request goes on behind it
	interval series.Interval
	bounds   []time.Time
	zone     *time.Location
}

// GetHistory answers GET /api/data/history.
func (s *Server) GetHistory(
	ctx context.Context, req api.GetHistoryRequestObject,
) (api.GetHistoryResponseObject, error) {
	p := req.Params
	now := time.Now()
	h, err := newHistoryRequest(p)
	if err != nil {
		return nil, err
	}
	aggs := distinct(p.Agg)
	if len(aggs) == 0 {
		aggs = []api.Aggregate{api.AggregateAvg}
	}
	q := series.HistoryQuery{
		Sensors: h.sensors,
		Start:   h.start,
		End:     h.end,
		Bounds:  h.bounds,
		Ends:    slices.ContainsFunc(aggs, needsEnds),
		Now:     now,
	}
	summaries, err := s.sensorMembers(ctx, p.Include, h.sensors)
	if err != nil {
		return nil, err
	}
	columns := *p.Format == api.SeriesFormatColumns
	about := s.question(h.sensors, h.start, h.end, h.bounds, "history", h.interval, h.zone, h.next,
		aggs, *p.Fill, columns, summaries)
	body, err := s.answer(ctx, about,
		func(ctx context.Context) (int64, error) { return s.store.HistoryCost(ctx, q) }, func(ctx context.Context) ([]byte, error) {
			found, source, err := s.store.History(ctx, q)
			if err != nil {
				return nil, tooMuch(err)
			}
			return seal(h.encode(found, summaries, source, aggs, *p.Fill, columns)), nil
		})
	if err != nil {
		return nil, err
	}
	return tagged(body, !h.end.After(now), p.IfNoneMatch), nil
}

// tagLength is that of an ETag in front of a body.
const tagLength = 26

// seal puts the ETag of a body into the room in front of it, the first tagLength bytes.
func seal(body []byte) []byte {
	sum := sha256.Sum256(body[tagLength:])
	hex.Encode(body[1:], sum[:12])
	body[0], body[tagLength-1] = '"', '"'
	return body
}

// tagged answers with a sealed body, or with 304 when its range is closed and the client has it.
func tagged(sealed []byte, closed bool, ifNoneMatch *string) streamed {
	return func(w http.ResponseWriter) error {
		tag, body := string(sealed[:tagLength]), sealed[tagLength:]
		if closed {
			w.Header().Set("ETag", tag)
			// a late reading may have come meanwhile
			w.Header().Set("Cache-Control", "private, no-cache")
			if strings.Contains(orZero(ifNoneMatch), tag) {
				w.WriteHeader(http.StatusNotModified)
				return nil
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_, err := w.Write(body)
		return err
	}
}

// newHistoryRequest is a 400 with what to do instead for what cannot be answered. Whether there are
// such sensors is not looked at.
func newHistoryRequest(p api.GetHistoryParams) (*historyRequest, error) {
	h := &historyRequest{
		sensors: distinct(slices.Sorted(slices.Values(p.SensorID))),
		start:   p.Start.UTC(),
		end:     p.End.UTC(),
	}
	var err error
	if h.zone, err = rangeAndZone(p.Start, p.End, *p.Timezone); err != nil {
		return nil, err
	}
	most := mostPoints / len(h.sensors)
	if p.Interval != nil && p.Points != nil {
		return nil, invalid("points",
			"cannot be given together with interval; leave one of them out")
	}
	if err := checkPoints("points", orZero(p.Points), len(h.sensors)); err != nil {
		return nil, err
	}
	if err := checkPoints("limit", orZero(p.Limit), len(h.sensors)); err != nil {
		return nil, err
	}
	if p.Interval == nil {
		points := min(chartPoints, most)
		if p.Points != nil {
			points = *p.Points
		}
		var ok bool
		if h.interval, ok = series.IntervalFor(h.start, h.end, h.zone, points); !ok {
			return nil, invalid("points",
				"is too few for this range even in months; use more, or a shorter range")
		}
	} else {
		h.interval, _ = series.ParseInterval(string(*p.Interval)) // the contract has checked it
	}
	h.bounds, h.next = h.interval.Bounds(h.start, h.end, h.zone,
		min(most, cmp.Or(orZero(p.Limit), most)))
	if h.next && p.Limit == nil {
		return nil, tooFine(h.start, h.end, h.zone, len(h.sensors))
	}
	h.end = earlier(h.end, h.bounds[len(h.bounds)-1])
	return h, nil
}

// checkPoints refuses to answer with more than mostPoints in all.
func checkPoints(field string, points, sensors int) error {
	if most := mostPoints / sensors; points > most {
		return invalid(field,
			fmt.Sprintf("is too much for %d sensors; use at most %d, or ask for fewer sensors",
				sensors, most))
	}
	return nil
}

// tooFine names the finest interval that would do.
func tooFine(start, end time.Time, zone *time.Location, sensors int) error {
	reason := fmt.Sprintf("gives more than %d points; ", mostPoints)
	if i, ok := series.IntervalFor(start, end, zone, mostPoints/sensors); ok {
		return invalid("interval",
			reason+"use "+i.String()+" or longer, fewer sensors, a shorter range, or limit")
	}
	return invalid("interval", reason+"use a shorter range, or limit")
}

// tooMuch is a 400 when the readings asked for could not be read in the time a statement has.
func tooMuch(err error) error {
	if errors.Is(err, store.ErrTooMuch) {
		return invalid("end",
			"leaves too many readings to look at; use a shorter range, fewer sensors, or an interval of whole hours")
	}
	return err
}

// checkRange refuses a range of time that is empty or outside of the years 1 to 9999.
func checkRange(start, end time.Time) error {
	if !end.After(start) {
		return invalid("end", "is not after start")
	}
	if start.Year() < 1 || end.Year() > 9999 {
		return invalid("start", "is not in the years 1 to 9999")
	}
	return nil
}

// rangeAndZone checks a range of time and returns the time zone of its buckets.
func rangeAndZone(start, end time.Time, timezone string) (*time.Location, error) {
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

// encode writes the answer by hand, behind room for its tag: it may have very many points.
func (h *historyRequest) encode(
	found map[int64][]series.Bucket, summaries map[int64]string, source series.Source,
	aggs []api.Aggregate,
	fill api.HistoryFill, columns bool,
) []byte {
	b := fmt.Appendf(make([]byte, tagLength),
		`{"source":%q,"interval":%q,"timezone":%q,"coverage":{"start":"`, source, h.interval,
		h.zone)
	b = jsonenc.AppendTime(b, h.start)
	b = append(b, `","end":"`...)
	b = jsonenc.AppendTime(b, h.end)
	b = append(b, `"},"next":`...)
	if h.next {
		b = append(b, '"')
		b = jsonenc.AppendTime(b, h.end)
		b = append(b, '"')
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"series":[`...)
	for i, id := range h.sensors {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"sensor_id":`...)
		b = strconv.AppendInt(b, id, 10)
		b = append(b, summaries[id]...)
		t := newTable(found[id], h.bounds, aggs, fill)
		if columns {
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
