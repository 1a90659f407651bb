package server

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/eventjson"
	"github.com/oei-ms/oei-ms/internal/rfc3339"
	"github.com/oei-ms/oei-ms/store"
)

const (
	maxSimulatedEvents = 10_000 // events of a simulation
	maxReportSpan      = 31 * 24 * time.Hour
)

// ListAlarmEvents answers GET /api/alarms/events.
func (s *Server) ListAlarmEvents(
	ctx context.Context, req api.ListAlarmEventsRequestObject,
) (api.ListAlarmEventsResponseObject, error) {
	p := req.Params
	f := store.AlarmEventFilter{
		SensorID:  p.SensorID,
		GatewayID: p.GatewayID,
		Kind:      (*string)(p.Kind),
		Severity:  (*string)(p.Severity),
		From:      p.Start,
		To:        p.End,
	}
	list, link, err := s.alarmEvents(ctx, f, p.After, p.Cursor, *p.Limit)
	return api.ListAlarmEvents200JSONResponse{
		Body:    list,
		Headers: api.ListAlarmEvents200ResponseHeaders{Link: link},
	}, err
}

// ListEventsForAlarm answers GET /api/alarms/{id}/events.
func (s *Server) ListEventsForAlarm(
	ctx context.Context, req api.ListEventsForAlarmRequestObject,
) (api.ListEventsForAlarmResponseObject, error) {
	p := req.Params
	f := store.AlarmEventFilter{
		AlarmID:  &req.ID,
		Kind:     (*string)(p.Kind),
		Severity: (*string)(p.Severity),
		From:     p.Start,
		To:       p.End,
	}
	list, link, err := s.alarmEvents(ctx, f, p.After, p.Cursor, *p.Limit)
	// a deleted alarm has events, too
	if err == nil && len(list) == 0 && p.After == nil && p.Cursor == nil {
		_, err = s.store.Alarm(ctx, req.ID)
	}
	return api.ListEventsForAlarm200JSONResponse{
		Body:    list,
		Headers: api.ListEventsForAlarm200ResponseHeaders{Link: link},
	}, err
}

func (s *Server) alarmEvents(
	ctx context.Context, f store.AlarmEventFilter, after *int64, cursor *string, limit int,
) ([]api.AlarmEvent, *string, error) {
	if err := checkSpan(f.From, f.To); err != nil {
		return nil, nil, err
	}
	behind, err := offsetCursor(cursor)
	if err != nil {
		return nil, nil, err
	}
	list, err := s.store.FilterAlarmEvents(ctx, f, max(behind, orZero(after)), limit+1)
	if err != nil {
		return nil, nil, err
	}
	names := referencedIDs{Sensor: f.SensorID, Gateway: f.GatewayID}
	if err := s.checkFilterIDs(ctx, len(list), cursor == nil && after == nil, names); err != nil {
		return nil, nil, err
	}
	list, link := page(ctx, list, limit,
		func(e store.AlarmEvent) string { return encodeID(e.Offset) })
	return mapSlice(list, eventjson.Alarm), link, nil
}

// SimulateAlarm answers POST /api/alarms/simulate.
func (s *Server) SimulateAlarm(
	ctx context.Context, req api.SimulateAlarmRequestObject,
) (api.SimulateAlarmResponseObject, error) {
	b := req.Body
	if !b.End.After(b.Start) {
		return nil, invalid("end", "is not after start; use a later end")
	}
	if b.End.Sub(b.Start) > maxReportSpan {
		return nil, invalid("end", "is more than 31 days after start")
	}
	definition, err := json.Marshal(b.Rule)
	if err != nil {
		return nil, err
	}
	r, err := s.parseRule(ctx, 0, b.SensorID, definition)
	if err != nil {
		return nil, err
	}
	cost, err := s.store.ReadingsCost(ctx, r.Sensors(), &b.Start, &b.End)
	if err != nil {
		return nil, err
	}
	release, err := s.limiter.acquire(ctx, cost)
	if err != nil {
		return nil, err
	}
	defer release()
	out := api.AlarmSimulationResult{Events: []api.AlarmSimulationEvent{}}
	state, n, err := s.store.Simulate(ctx, &r, b.Start, b.End, func(e alarm.Event) bool {
		if out.Truncated = len(out.Events) == maxSimulatedEvents; !out.Truncated {
			out.Events = append(out.Events, simulatedJSON(e))
		}
		return !out.Truncated
	})
	out.Readings, out.State = n, api.AlarmState(state.Code().Name())
	return api.SimulateAlarm200JSONResponse(out), err
}

func simulatedJSON(e alarm.Event) api.AlarmSimulationEvent {
	return api.AlarmSimulationEvent{
		At:         e.At.UTC(),
		Kind:       api.AlarmEventKind(e.Kind),
		Occurrence: e.Occurrence,
		Before:     api.AlarmState(e.Before.Name()),
		After:      api.AlarmState(e.After.Name()),
		Level:      string(e.Level),
		Severity:   api.Severity(e.Severity),
		Value:      orNull(e.Value),
		Message:    e.Message,
		Comment:    e.Comment,
		Quiet:      e.Quiet,
		Notifies:   e.Notice(),
	}
}

// ExplainAlarm answers GET /api/alarms/{id}/explain.
func (s *Server) ExplainAlarm(
	ctx context.Context, req api.ExplainAlarmRequestObject,
) (api.ExplainAlarmResponseObject, error) {
	e, err := s.store.ExplainAlarm(ctx, req.ID, time.Now())
	if err != nil {
		return nil, err
	}
	out := api.ExplainAlarm200JSONResponse{
		At:          e.At.UTC(),
		RuleVersion: e.RuleVersion,
		State:       api.AlarmState(e.State.Name()),
		Process:     api.AlarmState(e.Process.Name()),
		Occurrence:  e.Occurrence,
		Level:       string(e.Level),
		Severity:    api.Severity(e.Severity),
		Why:         e.Why,
	}
	out.Inputs = mapSlice(e.Inputs, func(i alarm.Input) api.AlarmExplanationInput {
		return api.AlarmExplanationInput{
			SensorID: i.SensorID,
			At:       timeOrNull(i.At),
			Value:    orNull(i.Value),
			Quality:  api.Quality(store.Quality(i.Quality).String()),
			Compared: i.Compared,
		}
	})
	out.Timers = mapSlice(e.Timers, func(t alarm.Timer) api.AlarmExplanationTimer {
		return api.AlarmExplanationTimer{
			Name:    t.Name,
			Level:   string(t.Level),
			Since:   timeOrNull(t.Since),
			Due:     timeOrNull(t.Due),
			Samples: t.Samples,
		}
	})
	return out, nil
}

// GetAlarmKPI answers GET /api/alarms/kpi.
func (s *Server) GetAlarmKPI(
	ctx context.Context, req api.GetAlarmKPIRequestObject,
) (api.GetAlarmKPIResponseObject, error) {
	to := time.Now().UTC()
	if req.Params.End != nil {
		to = req.Params.End.UTC()
	}
	from := to.Add(-24 * time.Hour)
	if req.Params.Start != nil {
		from = req.Params.Start.UTC()
	}
	if from.Year() < 1 {
		return nil, invalid("end", rfc3339.ErrYear.Error())
	}
	if !to.After(from) {
		return nil, invalid("end", "is not after start; use a later end")
	}
	if to.Sub(from) > maxReportSpan {
		return nil, invalid("start",
			fmt.Sprintf("is more than %d days before end", maxReportSpan/(24*time.Hour)))
	}
	k, err := s.store.AlarmKPI(ctx, from, to)
	if err != nil {
		return nil, err
	}
	counts := func(c alarm.Count) api.AlarmCount {
		return api.AlarmCount{
			AlarmID: c.AlarmID,
			Count:   c.Count,
		}
	}
	out := api.GetAlarmKPI200JSONResponse{
		Start:                        k.From,
		End:                          k.To,
		Alarms:                       k.Alarms,
		Per10Min:                     k.Per10Min,
		AveragePer10Min:              k.Average,
		PeakPer10Min:                 k.Peak,
		FloodShare:                   k.FloodShare,
		Chattering:                   mapSlice(k.Chattering, counts),
		ChatteringAlarms:             k.ChatteringAlarms,
		StaleAlarms:                  k.StaleAlarms,
		TopTen:                       mapSlice(k.TopTen, counts),
		TopTenShare:                  k.TopTenShare,
		BySeverity:                   map[string]int{},
		Acknowledged:                 k.Acknowledged,
		MeanTimeToAcknowledgeSeconds: k.MeanTimeToAck.Seconds(),
		Missed:                       mapSlice(k.Missed, func(m string) string { return m }),
	}
	out.Floods = mapSlice(k.Floods, func(f alarm.Flood) api.AlarmFlood {
		return api.AlarmFlood{Start: f.From.UTC(), End: f.To.UTC(), Alarms: f.Alarms}
	})
	out.Stale = mapSlice(k.Stale, func(st alarm.Standing) api.StaleAlarm {
		return api.StaleAlarm{AlarmID: st.AlarmID, Since: st.Since.UTC()}
	})
	for severity, n := range k.BySeverity {
		out.BySeverity[string(severity)] = n
	}
	return out, nil
}
