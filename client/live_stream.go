package oei

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/gen/client"
)

const (
	stableAfter   = 5 * time.Second // a connection that lasted so long resets the delays
	overloadDelay = 5 * time.Second
	restartSpread = 3 * time.Second
	maxRefusals   = 3 // of logins, in succession
)

// finalError is an error after which another attempt is of no use.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// errStopped says that the program does not want more messages.
var errStopped = errors.New("stopped")

// liveStream is a live stream over its connections. It runs in the goroutine of the program that
// ranges over it.
type liveStream struct {
	liveOptions
	client *Client
	yield  func(LiveMessage, error) bool

	socket   *socket
	isOpen   bool // a connection was complete
	first    bool // no connection before this one was
	joining  []AlarmEvent
	last     map[ID]time.Time // newest reading of a sensor
	filled   map[readingKey]bool
	refused  string // token that the server does not accept
	refusal  error  // why
	refusals int
	failures int
}

// run connects until ctx is done, the program stops, or the server does not admit the stream.
func (s *liveStream) run(ctx context.Context) error {
	for {
		s.first = !s.isOpen
		begin := time.Now()
		err := s.connect(ctx)
		if errors.Is(err, errStopped) {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("oei: live stream: %w", endOf(ctx))
		}
		if time.Since(begin) > stableAfter {
			s.failures = 0
		}
		s.failures++
		pause, final := s.judge(err)
		if final {
			return err
		}
		s.client.log.WarnContext(ctx, "live stream lost, reconnecting", "error", err, "wait", pause)
		if s.states && !s.yield(LiveState{State: Waiting, Err: err, Wait: pause}, nil) {
			return nil
		}
		sleep(ctx, pause)
	}
}

// judge returns how long to wait after a connection was lost or refused, or that another attempt is
// of no use.
func (s *liveStream) judge(err error) (pause time.Duration, final bool) {
	pause = delay(s.failures, err)
	var refusal *LiveError
	var last *finalError
	if errors.As(err, &refusal) || errors.As(err, &last) {
		return 0, true
	}
	var p *Problem
	if errors.As(err, &p) {
		if p.Status == 401 && p.Operation == "openWebSocket" {
			return pause, s.loginRefused()
		}
		return max(pause, time.Second), p.Status < 500 && p.Status != 429 && p.Status != 408
	}
	switch code, _ := closeCode(err); code {
	case codeLogin:
		return pause / 4, s.loginRefused()
	case codeLagging, codeNoLogin:
		return pause / 4, false
	case websocket.CloseGoingAway, websocket.CloseServiceRestart:
		return max(pause, mathrand.N(restartSpread)), false
	case websocket.CloseTryAgainLater, codeOverLimit:
		return max(pause, overloadDelay+mathrand.N(overloadDelay)), false
	}
	return pause, false
}

// loginRefused counts refused logins, and tells whether there were too many.
func (s *liveStream) loginRefused() bool {
	s.refusals++
	return s.refusals >= maxRefusals
}

// connect connects, subscribes and passes messages on until the connection is lost.
func (s *liveStream) connect(ctx context.Context) error {
	if s.states && !s.yield(LiveState{State: Connecting}, nil) {
		return errStopped
	}
	token, err := s.client.login.token(ctx, s.refused)
	if errors.Is(err, errRefused) && s.refusal != nil {
		return &finalError{s.refusal}
	}
	if err != nil {
		return err
	}
	socket, err := s.client.openSocket(ctx, token)
	if err != nil {
		if errors.Is(err, ErrNotAuthenticated) {
			s.refused, s.refusal = token, err
		}
		return err
	}
	defer socket.close()
	s.socket, s.joining, s.filled = socket, nil, map[readingKey]bool{}
	s.subscribe()
	for message := range socket.received {
		if err := s.receive(ctx, message); err != nil {
			return err
		}
	}
	code, reason := closeCode(socket.err)
	switch code {
	case codeLogin:
		s.refused = token
		s.refusal = &LiveError{Code: code, Detail: reason}
	case codeProtocol, codeForbidden, websocket.CloseMessageTooBig:
		return &LiveError{Code: code, Detail: reason}
	}
	return fmt.Errorf("oei: live stream: %w", socket.err)
}

// subscribe sends the topics, those of alarms with the position that they continue at.
func (s *liveStream) subscribe() {
	if len(s.alarms) > 0 {
		m := client.WsSubscribe{
			Type:   client.WsSubscribeTypeSubscribe,
			Topics: s.alarms,
			ID:     new("alarms"),
		}
		if p := s.position; p != nil {
			m.Resume = &client.WsPosition{Epoch: p.Epoch, Offset: p.Offset}
		} else {
			m.Snapshot = &s.snapshot
		}
		s.socket.send(m)
	}
	if len(s.readings) > 0 {
		s.subscribeReadings(s.snapshot && s.first || s.fillGaps)
	}
}

func (s *liveStream) subscribeReadings(snapshot bool) {
	m := client.WsSubscribe{
		Type:     client.WsSubscribeTypeSubscribe,
		Topics:   s.readings,
		ID:       new("readings"),
		Snapshot: &snapshot,
		Batch:    new(true),
	}
	if s.conflate > 0 {
		m.Policy = new(client.WsSubscribePolicyConflate)
		m.IntervalMs = new(int(s.conflate.Milliseconds()))
	}
	s.socket.send(m)
}

// receive passes a message on. Its error ends the connection.
func (s *liveStream) receive(ctx context.Context, message any) error {
	switch m := message.(type) {
	case client.WsAuthenticated:
		s.refused, s.refusals = "", 0
		if socket := s.socket; m.ExpiresAt != nil {
			socket.running.Go(func() { socket.renewLogin(s.client.login, *m.ExpiresAt) })
		}
	case client.WsSubscribed:
		return s.subscribed(m)
	case client.WsSensorData:
		return s.reading(client.WsSensorReading{
			Data:       m.Data,
			GatewayID:  m.GatewayID,
			SensorID:   m.SensorID,
			SensorType: m.SensorType,
		})
	case client.WsSensorDataBatch:
		for _, item := range m.Items {
			if err := s.reading(item); err != nil {
				return err
			}
		}
	case client.WsSnapshot:
		for _, item := range m.Items {
			if err := s.snapshotReading(ctx, item); err != nil {
				return err
			}
		}
	case client.WsGatewayStatus:
		return s.emit(LivePresence{
			GatewayID: m.GatewayID,
			Status:    m.Status,
			Timestamp: m.Timestamp,
		})
	case client.WsAlarm:
		return s.alarm(m)
	case client.WsAlarmSnapshot:
		return s.alarmSnapshot(m)
	case client.WsLagged:
		return s.emit(LiveGap{Dropped: m.Dropped, Reason: "read too slowly"})
	case client.WsResync:
		return s.resync(m)
	case client.WsError:
		return s.denied(m)
	}
	return nil
}

func (s *liveStream) emit(m LiveMessage) error {
	if !s.yield(m, nil) {
		return errStopped
	}
	return nil
}

// subscribed notes where the alarm log continues. The answer to the last subscription makes the
// connection complete.
func (s *liveStream) subscribed(m client.WsSubscribed) error {
	if s.position == nil && m.Epoch != nil && m.Offset != nil && !s.snapshot {
		s.position = &Position{Epoch: *m.Epoch, Offset: *m.Offset}
	}
	isLast := len(s.readings) == 0 || m.ID != nil && *m.ID == "readings"
	if !isLast {
		return nil
	}
	s.isOpen = true
	if s.states {
		if err := s.emit(LiveState{State: Connected}); err != nil {
			return err
		}
	}
	if s.first || s.fillGaps || len(s.readings) == 0 {
		return nil
	}
	return s.emit(LiveGap{Reason: "the connection was lost"})
}

// alarm passes an event on unless it came already.
func (s *liveStream) alarm(m client.WsAlarm) error {
	if p := s.position; p != nil && p.Epoch == m.Epoch && m.Offset <= p.Offset {
		return nil
	}
	s.position = &Position{Epoch: m.Epoch, Offset: m.Offset}
	return s.emit(LiveAlarm{Event: m.Event, Position: *s.position})
}

// alarmSnapshot joins the messages of a snapshot.
func (s *liveStream) alarmSnapshot(m client.WsAlarmSnapshot) error {
	s.joining = append(s.joining, m.Alarms...)
	if m.More {
		return nil
	}
	s.position = &Position{Epoch: m.Epoch, Offset: m.Offset}
	alarms := s.joining
	s.joining = nil
	return s.emit(LiveAlarms{Alarms: alarms, Position: *s.position})
}

// resync tells that readings may be missing, and fills the gap. A snapshot of alarms follows by
// itself.
func (s *liveStream) resync(m client.WsResync) error {
	if m.Scope == client.WsResyncScopeAlarms {
		s.joining = nil
		return nil
	}
	if s.fillGaps {
		s.first = false
		s.subscribeReadings(true)
		return nil
	}
	return s.emit(LiveGap{Reason: m.Reason})
}

// denied ends a stream whose topics do not exist or are not allowed. When the server refuses a
// topic later, as that of a sensor that was deleted, the others go on.
func (s *liveStream) denied(m client.WsError) error {
	switch m.Code {
	case client.WsErrorCodeUnavailable, client.WsErrorCodeRateLimited:
		return &websocket.CloseError{Code: websocket.CloseTryAgainLater, Text: m.Detail}
	case client.WsErrorCodeSnapshotTooLarge:
		return s.emit(LiveGap{Reason: m.Detail})
	}
	if s.first {
		return &LiveError{Detail: m.Detail, Topics: m.Topics}
	}
	return s.emit(LiveGap{Reason: fmt.Sprintf("%s: %q", m.Detail, m.Topics)})
}
