package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// runCommand runs c as the user who sent the request.
func (s *Server) runCommand(
	ctx context.Context, id int64, c alarm.Command,
) (api.AlarmWithETagJSONResponse, error) {
	c.User = callOf(ctx).principal.Name()
	a, err := s.store.CommandAlarm(ctx, id, c, time.Now())
	if err != nil {
		return api.AlarmWithETagJSONResponse{}, commandProblem(err)
	}
	return alarmWithETag(a)
}

// commandProblem turns the rejection of a command into a problem.
func commandProblem(err error) error {
	r, ok := errors.AsType[*alarm.Refusal](err)
	switch {
	case !ok:
		return err
	case errors.Is(err, alarm.ErrInvalid):
		return invalid(r.Field, r.Reason)
	case errors.Is(err, alarm.ErrStale):
		return &problem{
			status: http.StatusConflict,
			detail: "The alarm has changed since it was seen: " + r.Reason + ". Read it again.",
		}
	}
	return &problem{status: http.StatusConflict, detail: r.Reason}
}

// AcknowledgeAlarm answers POST /api/alarms/{id}/ack.
func (s *Server) AcknowledgeAlarm(
	ctx context.Context, req api.AcknowledgeAlarmRequestObject,
) (api.AcknowledgeAlarmResponseObject, error) {
	b := req.Body
	res, err := s.runCommand(ctx, req.ID,
		alarm.Command{
			Kind:         alarm.Acknowledge,
			Occurrence:   b.Occurrence,
			StateVersion: b.StateVersion,
			Comment:      orZero(b.Comment),
		})
	return api.AcknowledgeAlarm200JSONResponse{AlarmWithETagJSONResponse: res}, err
}

// AcknowledgeAlarms answers POST /api/alarms/ack.
func (s *Server) AcknowledgeAlarms(
	ctx context.Context, req api.AcknowledgeAlarmsRequestObject,
) (api.AcknowledgeAlarmsResponseObject, error) {
	acks := mapSlice(req.Body.Alarms, func(a api.AlarmBulkAcknowledgeItem) store.Ack {
		return store.Ack{AlarmID: a.ID, Occurrence: a.Occurrence, StateVersion: a.StateVersion}
	})
	errs, err := s.store.AcknowledgeAlarms(ctx, acks, callOf(ctx).principal.Name(),
		orZero(req.Body.Comment), time.Now())
	if err != nil {
		return nil, err
	}
	out := make(api.AcknowledgeAlarms200JSONResponse, len(acks))
	for i, e := range errs {
		out[i] = api.AlarmBulkAcknowledgeResult{
			ID:     acks[i].AlarmID,
			Status: api.AlarmBulkAcknowledgeResultStatusAcknowledged,
		}
		switch {
		case e == nil:
			continue
		case errors.Is(e, store.ErrNotFound):
			out[i].Status = api.AlarmBulkAcknowledgeResultStatusNotFound
		case errors.Is(e, alarm.ErrStale):
			out[i].Status = api.AlarmBulkAcknowledgeResultStatusStale
		case errors.Is(e, alarm.ErrNotAllowed):
			out[i].Status = api.AlarmBulkAcknowledgeResultStatusNotAllowed
		default:
			return nil, commandProblem(e)
		}
		out[i].Reason = asProblem(commandProblem(e)).detail
	}
	return out, nil
}

// ShelveAlarm answers POST /api/alarms/{id}/shelve.
func (s *Server) ShelveAlarm(
	ctx context.Context, req api.ShelveAlarmRequestObject,
) (api.ShelveAlarmResponseObject, error) {
	b := req.Body
	c := alarm.Command{
		Kind:         alarm.Shelve,
		Comment:      b.Comment,
		OneShot:      orZero(b.OneShot),
		StateVersion: orZero(b.StateVersion),
	}
	switch {
	case b.DurationSeconds != nil:
		c.Until = time.Now().Add(time.Duration(*b.DurationSeconds) * time.Second).UTC().
			Truncate(time.Microsecond)
	case !c.OneShot:
		return nil, invalid("duration_seconds", "is missing; give it, or set one_shot")
	}
	res, err := s.runCommand(ctx, req.ID, c)
	return api.ShelveAlarm200JSONResponse{AlarmWithETagJSONResponse: res}, err
}

// simpleCommand runs a command that has only a comment and a version.
func (s *Server) simpleCommand(
	ctx context.Context, id int64, kind alarm.CommandKind, b *api.AlarmCommandRequest,
) (api.AlarmWithETagJSONResponse, error) {
	return s.runCommand(ctx, id,
		alarm.Command{Kind: kind, Comment: orZero(b.Comment), StateVersion: orZero(b.StateVersion)})
}

// UnshelveAlarm answers POST /api/alarms/{id}/unshelve.
func (s *Server) UnshelveAlarm(
	ctx context.Context, req api.UnshelveAlarmRequestObject,
) (api.UnshelveAlarmResponseObject, error) {
	res, err := s.simpleCommand(ctx, req.ID, alarm.Unshelve, req.Body)
	return api.UnshelveAlarm200JSONResponse{AlarmWithETagJSONResponse: res}, err
}

// ResetAlarm answers POST /api/alarms/{id}/reset.
func (s *Server) ResetAlarm(
	ctx context.Context, req api.ResetAlarmRequestObject,
) (api.ResetAlarmResponseObject, error) {
	res, err := s.simpleCommand(ctx, req.ID, alarm.ResetLatch, req.Body)
	return api.ResetAlarm200JSONResponse{AlarmWithETagJSONResponse: res}, err
}

// TakeAlarmOutOfService answers POST /api/alarms/{id}/out-of-service.
func (s *Server) TakeAlarmOutOfService(
	ctx context.Context, req api.TakeAlarmOutOfServiceRequestObject,
) (api.TakeAlarmOutOfServiceResponseObject, error) {
	b := req.Body
	res, err := s.runCommand(ctx, req.ID,
		alarm.Command{
			Kind:         alarm.TakeOut,
			Comment:      b.Comment,
			StateVersion: orZero(b.StateVersion),
		})
	return api.TakeAlarmOutOfService200JSONResponse{AlarmWithETagJSONResponse: res}, err
}

// ReturnAlarmToService answers POST /api/alarms/{id}/return-to-service.
func (s *Server) ReturnAlarmToService(
	ctx context.Context, req api.ReturnAlarmToServiceRequestObject,
) (api.ReturnAlarmToServiceResponseObject, error) {
	res, err := s.simpleCommand(ctx, req.ID, alarm.ReturnToService, req.Body)
	return api.ReturnAlarmToService200JSONResponse{AlarmWithETagJSONResponse: res}, err
}

// CommentOnAlarm answers POST /api/alarms/{id}/comments.
func (s *Server) CommentOnAlarm(
	ctx context.Context, req api.CommentOnAlarmRequestObject,
) (api.CommentOnAlarmResponseObject, error) {
	res, err := s.runCommand(ctx, req.ID,
		alarm.Command{Kind: alarm.Remark, Comment: req.Body.Comment})
	return api.CommentOnAlarm200JSONResponse{AlarmWithETagJSONResponse: res}, err
}
