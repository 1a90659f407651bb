package server

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// ListReadings answers GET /api/data.
func (s *Server) ListReadings(
	ctx context.Context, req api.ListReadingsRequestObject,
) (api.ListReadingsResponseObject, error) {
	p := req.Params
	after, err := readingCursor(p.Cursor)
	if err != nil {
		return nil, err
	}
	if err := checkSpan(p.Start, p.End); err != nil {
		return nil, err
	}
	q := store.ReadingsQuery{
		Sensors:   p.SensorID,
		Start:     p.Start,
		End:       p.End,
		Ascending: *p.Order == api.SortOrderAsc,
		After:     after,
		Limit:     *p.Limit + 1,
	}
	if p.Quality != nil {
		quality, _ := store.ParseQuality(string(*p.Quality)) // the contract has checked it
		q.Quality = &quality
	}
	release, err := s.limiter.acquire(ctx, int64(len(distinct(p.SensorID))*q.Limit))
	if err != nil {
		return nil, err
	}
	defer release()
	list, err := s.store.Readings(ctx, q)
	if err != nil {
		return nil, err
	}
	if err := s.checkSensorsWithout(ctx, p.SensorID, list); err != nil {
		return nil, err
	}
	truncated := len(list) > *p.Limit
	list, link := page(ctx, list, *p.Limit, encodeReading)
	body := appendList(nil, list, appendReading)
	return streamedResponse(func(w http.ResponseWriter) error {
		w.Header().Set("X-Truncated", strconv.FormatBool(truncated))
		if truncated {
			w.Header().Set("X-Next-Cursor", encodeReading(list[len(list)-1]))
		}
		return listResponse(body, link)(w)
	}), nil
}

// ListLatestReadings answers GET /api/data/latest.
func (s *Server) ListLatestReadings(
	ctx context.Context, req api.ListLatestReadingsRequestObject,
) (api.ListLatestReadingsResponseObject, error) {
	p := req.Params
	after, err := idCursor(p.Cursor)
	if err != nil {
		return nil, err
	}
	list, err := s.store.Latest(ctx, store.LatestQuery{
		Sensors:   p.SensorID,
		GatewayID: p.GatewayID,
		Type:      p.Type,
		IsSystem:  systemFilter(p.IsSystem, len(p.SensorID) > 0 || p.GatewayID != nil),
		After:     after,
		Limit:     *p.Limit + 1,
	})
	if err != nil {
		return nil, err
	}
	if err := s.checkSensorsWithout(ctx, p.SensorID, list); err != nil {
		return nil, err
	}
	if err := s.checkFilterIDs(ctx, len(list), p.Cursor == nil,
		referencedIDs{Gateway: p.GatewayID}); err != nil {
		return nil, err
	}
	list, link := page(ctx, list, *p.Limit,
		func(r store.Reading) string { return encodeID(r.SensorID) })
	summaries, err := s.sensorMembers(ctx, p.Include,
		mapSlice(list, func(r store.Reading) int64 { return r.SensorID }))
	if err != nil {
		return nil, err
	}
	now, stale := time.Now(), time.Duration(*p.StaleAfterSeconds)*time.Second
	body := appendList(nil, list, func(b []byte, r *store.Reading) []byte {
		return appendLatest(b, r, summaries[r.SensorID], now, stale)
	})
	return listResponse(body, link), nil
}

// DeleteReadings answers DELETE /api/data.
func (s *Server) DeleteReadings(
	ctx context.Context, req api.DeleteReadingsRequestObject,
) (api.DeleteReadingsResponseObject, error) {
	p := req.Params
	if err := checkSpan(&p.Start, &p.End); err != nil {
		return nil, err
	}
	if err := s.checkSensors(ctx, []int64{p.SensorID}); err != nil {
		return nil, err
	}
	d, err := s.store.DeleteReadings(ctx, p.SensorID, p.Start, p.End, *p.DryRun)
	if err != nil {
		return nil, err
	}
	return api.DeleteReadings200JSONResponse{
		DryRun:         *p.DryRun,
		Readings:       d.Readings,
		FirstReadingAt: timeOrNull(d.First),
		LastReadingAt:  timeOrNull(d.Last),
	}, nil
}

func checkSpan(start, end *time.Time) error {
	if start != nil && end != nil && end.Before(*start) {
		return invalid("end", "is before start; use a later end")
	}
	return nil
}

// checkSensors returns a 400 when one of the sensors does not exist.
func (s *Server) checkSensors(ctx context.Context, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	unknown, err := s.store.UnknownSensors(ctx, ids)
	if err != nil || len(unknown) == 0 {
		return err
	}
	return invalid("sensor_id", fmt.Sprintf("there is no sensor %d", unknown[0]))
}

// checkSensorsWithout is checkSensors of those ids that have no reading in list.
func (s *Server) checkSensorsWithout(
	ctx context.Context, ids []int64, list []store.Reading,
) error {
	found := map[int64]bool{}
	for i := range list {
		found[list[i].SensorID] = true
	}
	return s.checkSensors(ctx,
		slices.DeleteFunc(slices.Clone(ids), func(id int64) bool { return found[id] }))
}

// WriteReadings answers POST /api/data.
func (s *Server) WriteReadings(
	ctx context.Context, req api.WriteReadingsRequestObject,
) (api.WriteReadingsResponseObject, error) {
	written, replayed, err := runOnce(ctx, s, req.Params.IdempotencyKey, req.Body,
		func(ctx context.Context) (api.ReadingsWriteResult, error) {
			sensors, err := s.resolveSensors(ctx, req.Body.Readings)
			if err != nil {
				return api.ReadingsWriteResult{}, err
			}
			now := time.Now()
			list := mapSlice(req.Body.Readings,
				func(r api.ReadingCreate) store.Reading { return newReading(r, now) })
			for i := range list {
				list[i].SensorID = sensors[i]
			}
			results, err := s.write(ctx, list)
			return writeResultJSON(results), err
		})
	if err != nil {
		return nil, err
	}
	res := api.WriteReadings200JSONResponse{Body: written}
	if replayed {
		res.Headers.IdempotencyReplayed = &replayed
	}
	return res, nil
}

// resolveSensors returns the id of the sensor of each reading; 0 where its gateway has no such
// sensor.
func (s *Server) resolveSensors(ctx context.Context, list []api.ReadingCreate) ([]int64, error) {
	refs := make([]store.Ref, len(list))
	named := make([]store.Ref, 0, len(list))
	ids := make([]int64, len(list))
	var faults faults
	for i, r := range list {
		ids[i], refs[i] = r.SensorID, store.Ref{
			Gateway: orZero(r.Gateway),
			Sensor:  orZero(r.Sensor),
		}
		switch field := fmt.Sprintf("readings[%d].", i); {
		case ids[i] != 0 && refs[i] != store.Ref{}:
			faults.add(field+"sensor_id",
				"cannot be given together with gateway and sensor; leave one of them out")
		case ids[i] != 0:
		case refs[i].Gateway == "" && refs[i].Sensor == "":
			faults.add(field+"sensor_id", "is missing; give it, or gateway and sensor")
		case refs[i].Gateway == "":
			faults.add(field+"gateway", "is missing; sensor needs it")
		case refs[i].Sensor == "":
			faults.add(field+"sensor", "is missing; gateway needs it")
		default:
			named = append(named, refs[i])
		}
		if faults.full() {
			break
		}
	}
	if err := faults.problem(); err != nil || len(named) == 0 {
		return ids, err
	}
	points, err := s.store.SensorInfos(ctx, named)
	for i, ref := range refs {
		if p := points[ref]; ids[i] == 0 && p.OwnerID == p.GatewayID {
			ids[i] = p.SensorID
		}
	}
	return ids, err
}

func writeResultJSON(results []store.ReadingResult) api.ReadingsWriteResult {
	out := api.ReadingsWriteResult{Results: make([]api.ReadingOutcome, len(results))}
	counts := map[store.Outcome]*int{
		store.Stored: &out.Stored, store.Duplicate: &out.Duplicates, store.Conflict: &out.Conflicts,
		store.Rejected: &out.Rejected,
	}
	for i, r := range results {
		*counts[r.Outcome]++
		out.Results[i].Status = api.ReadingOutcomeStatus(r.Outcome.String())
		if r.Outcome == store.Rejected {
			out.Results[i].Reason = new(api.RejectionReason(r.Reason))
			out.Results[i].Detail = &r.Detail
		}
	}
	return out
}

// newReading returns the reading that a client has sent. An absent timestamp is now. An absent
// quality follows from the severity in the two highest bits of the status code (OPC UA part 4,
// 7.39), and is good without a code.
func newReading(r api.ReadingCreate, now time.Time) store.Reading {
	code := uint32(orZero(r.StatusCode))
	out := store.Reading{
		Timestamp:  now,
		Received:   now,
		Value:      math.NaN(),
		Quality:    min(store.Quality(code>>30), store.Bad),
		StatusCode: code,
	}
	if r.Timestamp != nil {
		out.Timestamp = *r.Timestamp
	}
	out.Timestamp = out.Timestamp.UTC().Truncate(time.Microsecond)
	if out.Timestamp.IsZero() { // the zero time means that there is none
		out.Timestamp = out.Timestamp.Add(time.Microsecond)
	}
	if r.Quality != nil {
		out.Quality, _ = store.ParseQuality(string(*r.Quality)) // the contract has checked it
	}
	if v := valueOrNil(r.Value); v != nil {
		out.Value = *v
	} else if code == 0 {
		out.Quality = store.Bad
	}
	return out
}

func valueJSON(v float64) nullable.Nullable[float64] {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nullable.NewNullNullable[float64]()
	}
	return nullable.NewNullableWithValue(v)
}
