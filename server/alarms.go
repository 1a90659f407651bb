package server

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// ListAlarms answers GET /api/alarms.
func (s *Server) ListAlarms(
	ctx context.Context, req api.ListAlarmsRequestObject,
) (api.ListAlarmsResponseObject, error) {
	p := req.Params
	after, err := alarmCursor(p.Cursor)
	if err != nil {
		return nil, err
	}
	if err := checkSpan(p.Start, p.End); err != nil {
		return nil, err
	}
	f := store.AlarmFilter{
		States:     toStrings(p.State),
		Severities: toStrings(p.Severity),
		SensorID:   p.SensorID,
		GatewayID:  p.GatewayID,
		Text:       orZero(p.Text),
		From:       p.Start, To: p.End, Labels: map[string]string{},
	}
	for _, l := range p.Label {
		name, value, _ := strings.Cut(l, "=") // the contract has checked that it is there
		if had, twice := f.Labels[name]; twice && had != value {
			return nil, invalid("label", fmt.Sprintf("%q cannot have two values", name))
		}
		f.Labels[name] = value
	}
	list, err := s.store.Alarms(ctx, f, store.AlarmOrder(*p.Sort), after, *p.Limit+1)
	if err != nil {
		return nil, err
	}
	if err := s.checkFilterIDs(ctx, len(list), p.Cursor == nil,
		referencedIDs{Sensor: p.SensorID, Gateway: p.GatewayID}); err != nil {
		return nil, err
	}
	list, link := page(ctx, list, *p.Limit, func(a store.Alarm) string {
		return encodeCursor(fmt.Sprintf("%d.%d.%d", a.Rank, a.Since.UnixMicro(), a.ID))
	})
	alarms := make([]api.Alarm, len(list))
	for i, a := range list {
		if alarms[i], err = alarmJSON(a); err != nil {
			return nil, err
		}
	}
	total, err := totalCount(ctx, *p.Count, s.store.CountAlarms, f)
	if err != nil {
		return nil, err
	}
	return api.ListAlarms200JSONResponse{
		Body:    alarms,
		Headers: api.ListAlarms200ResponseHeaders{Link: link, XTotalCount: total},
	}, nil
}

// alarmCursor returns the alarm after which a page begins; nil for the first page.
func alarmCursor(cursor *string) (*store.AlarmCursor, error) {
	if cursor == nil {
		return nil, nil
	}
	parts := strings.Split(decodeCursor(*cursor), ".")
	if len(parts) != 3 {
		return nil, errCursor
	}
	rank, err := strconv.ParseInt(parts[0], 10, 16)
	micros, err2 := strconv.ParseInt(parts[1], 10, 64)
	id, err3 := strconv.ParseInt(parts[2], 10, 32)
	since := time.UnixMicro(micros).UTC()
	if err != nil || err2 != nil || err3 != nil || since.Year() < 0 || since.Year() > 9999 {
		return nil, errCursor
	}
	return &store.AlarmCursor{Rank: rank, Since: since, ID: id}, nil
}

// CreateAlarm answers POST /api/alarms.
func (s *Server) CreateAlarm(
	ctx context.Context, req api.CreateAlarmRequestObject,
) (api.CreateAlarmResponseObject, error) {
	definition, err := json.Marshal(req.Body.Rule)
	if err != nil {
		return nil, err
	}
	r, err := s.parseRule(ctx, 0, req.Body.SensorID, definition)
	if err != nil {
		return nil, err
	}
	a, err := s.store.CreateAlarm(ctx, &r, time.Now())
	if err != nil {
		return nil, err
	}
	body, err := alarmJSON(a)
	return api.CreateAlarm201JSONResponse{
		Body: body,
		Headers: api.CreateAlarm201ResponseHeaders{
			ETag:     etag(a.RuleVersion),
			Location: address(ctx, "/api/alarms/%d", a.ID),
		},
	}, err
}

// GetAlarm answers GET /api/alarms/{id}.
func (s *Server) GetAlarm(
	ctx context.Context, req api.GetAlarmRequestObject,
) (api.GetAlarmResponseObject, error) {
	a, err := s.store.Alarm(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	res, err := alarmWithETag(a)
	return api.GetAlarm200JSONResponse{AlarmWithETagJSONResponse: res}, err
}

// UpdateAlarm answers PUT /api/alarms/{id}.
func (s *Server) UpdateAlarm(
	ctx context.Context, req api.UpdateAlarmRequestObject,
) (api.UpdateAlarmResponseObject, error) {
	was, err := s.store.Alarm(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if err := checkIfMatch(req.Params.IfMatch, was.RuleVersion); err != nil {
		return nil, err
	}
	rule, err := was.Rule()
	if err != nil {
		return nil, err
	}
	definition, err := changedRule(rule, req.Body.Rule)
	if err != nil {
		return nil, err
	}
	r, err := s.parseRule(ctx, req.ID, was.SensorID, definition)
	if err != nil {
		return nil, err
	}
	a, err := s.store.UpdateAlarm(ctx, &r, was.RuleVersion,
		callOf(ctx).principal.Name(), time.Now())
	if err != nil {
		return nil, err
	}
	res, err := alarmWithETag(a)
	return api.UpdateAlarm200JSONResponse{AlarmWithETagJSONResponse: res}, err
}

// DeleteAlarm answers DELETE /api/alarms/{id}.
func (s *Server) DeleteAlarm(
	ctx context.Context, req api.DeleteAlarmRequestObject,
) (api.DeleteAlarmResponseObject, error) {
	version, err := ifMatch(req.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	d, err := s.store.DeleteAlarm(ctx, req.ID, version, callOf(ctx).principal.Name(),
		*req.Params.DryRun, time.Now())
	if err != nil {
		return nil, err
	}
	return api.DeleteAlarm200JSONResponse{
		DeletedJSONResponse: deletionResponse(d, *req.Params.DryRun),
	}, nil
}

// changedRule returns the definition of r with the members of change.
func changedRule(r alarm.Rule, change api.AlarmRuleUpdate) ([]byte, error) {
	if change.Kind != nil {
		r.Kind = alarm.Kind(*change.Kind)
		r.DropOtherKinds()
	}
	members := map[string]json.RawMessage{}
	for _, v := range []any{r, change} {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, &members); err != nil {
			return nil, err
		}
	}
	return json.Marshal(members)
}

// parseRule returns the rule of a definition for a sensor, compiled, or a 400 that says what is
// wrong with it.
func (s *Server) parseRule(
	ctx context.Context, id, sensor int64, definition []byte,
) (alarm.Rule, error) {
	r, err := alarm.ParseRule(definition)
	if err != nil {
		return r, invalid("rule", err.Error())
	}
	r.ID, r.SensorID = id, sensor
	faults, err := s.store.CheckRule(ctx, &r)
	if err != nil {
		return r, err
	}
	if len(faults) > 0 {
		return r, invalidFields(mapSlice(faults,
			func(f alarm.Fault) api.FieldError {
				return api.FieldError{
					Field:  f.Field,
					Reason: f.Reason,
				}
			}))
	}
	if err := r.Compile(); err != nil {
		return r, invalid("rule", err.Error())
	}
	return r, nil
}

func alarmWithETag(a store.Alarm) (api.AlarmWithETagJSONResponse, error) {
	body, err := alarmJSON(a)
	return api.AlarmWithETagJSONResponse{
		Body:    body,
		Headers: api.AlarmWithETagResponseHeaders{ETag: etag(a.RuleVersion)},
	}, err
}

func alarmJSON(a store.Alarm) (api.Alarm, error) {
	state, err := a.State()
	if err != nil {
		return api.Alarm{}, err
	}
	out := api.Alarm{
		ID:             a.ID,
		SensorID:       a.SensorID,
		GatewayID:      a.GatewayID,
		RuleVersion:    a.RuleVersion,
		State:          api.AlarmState(a.StateName),
		Severity:       api.Severity(a.Severity),
		Occurrence:     state.Occurrence,
		StateVersion:   state.Version,
		Since:          a.Since.UTC(),
		RaisedAt:       nullIfZero(state.RaisedAt),
		ClearedAt:      nullIfZero(state.ClearedAt),
		AcknowledgedAt: nullIfZero(state.AckedAt),
		ShelvedUntil:   nullIfZero(state.Shelf.Until),
		Fault:          state.Fault,
		DueAt:          timeOrNull(a.DueAt),
		CreatedAt:      a.CreatedAt.UTC(), UpdatedAt: a.UpdatedAt.UTC(),
	}
	out.Rule, err = ruleJSON(a)
	return out, err
}

func ruleJSON(a store.Alarm) (out api.AlarmRule, err error) {
	r, err := a.Rule()
	if err != nil {
		return out, err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(text, &out)
}

// nullIfZero returns null for the zero time.
func nullIfZero(t time.Time) nullable.Nullable[time.Time] {
	if t.IsZero() {
		return timeOrNull(nil)
	}
	return timeOrNull(&t)
}

// toStrings returns the values of an enumeration as strings; never nil.
func toStrings[T ~string](list []T) []string {
	return mapSlice(list, func(v T) string { return string(v) })
}

// fromStrings is the reverse of toStrings.
func fromStrings[T ~string](list []string) []T {
	return mapSlice(list, func(v string) T { return T(v) })
}
