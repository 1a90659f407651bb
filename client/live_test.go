package oei_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	oei "github.com/oei-ms/oei-ms/client"
)

// follower follows a sensor and its alarms, and tells each message.
type follower struct {
	readings chan float64
	alarms   chan oei.LiveAlarm
	states   chan oei.LiveState
	ended    chan error
}

func follow(ctx context.Context, c *oei.Client, options ...oei.LiveOption) *follower {
	f := &follower{
		readings: make(chan float64, 1000),
		alarms:   make(chan oei.LiveAlarm, 1000),
		states:   make(chan oei.LiveState, 1000),
		ended:    make(chan error, 1),
	}
	go func() {
		for message, err := range c.Live(ctx, append(options, oei.States())...) {
			switch m := message.(type) {
			case oei.LiveReading:
				f.readings <- m.Value
			case oei.LiveAlarm:
				f.alarms <- m
			case oei.LiveState:
				f.states <- m
			case nil:
				f.ended <- err
			}
		}
	}()
	return f
}

// next returns the next element, which must come in time.
func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(30 * time.Second):
		t.Fatal("nothing comes")
		panic("unreachable")
	}
}

func (f *follower) until(t *testing.T, state oei.ConnectionState) {
	t.Helper()
	for next(t, f.states).State != state {
	}
}

// TestLive_MissesNothingThroughRestarts stops a server regularly and by a kill, writes readings
// that raise and clear an alarm before the stream is connected again, and wants each reading and
// each event once, in order.
func TestLive_MissesNothingThroughRestarts(t *testing.T) {
	s := serve(t)
	c := s.dial(t)
	sensor := newSensor(t, c, "bearing")
	if _, err := c.CreateAlarm(t.Context(), oei.AlarmCreate{
		SensorID: sensor.ID,
		Rule: oei.AlarmRule{
			Name:     "Bearing hot",
			Kind:     oei.AlarmKindThreshold,
			Severity: oei.SeverityMajor,
			Limits:   &oei.AlarmLimits{High: &oei.AlarmLimit{Value: 80}},
		},
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var isCut atomic.Bool // while readings are written that the stream cannot see
	dialer := net.Dialer{}
	cut := &http.Transport{DialContext: func(ctx context.Context, n, a string) (net.Conn, error) {
		if isCut.Load() {
			return nil, errLost
		}
		return dialer.DialContext(ctx, n, a)
	}}
	follower := s.dial(t, oei.HTTPClient(&http.Client{Transport: cut}))
	f := follow(ctx, follower, oei.FromSensor(sensor.ID), oei.Alarms(), oei.FillGaps())
	f.until(t, oei.Connected)
	value := 80.0
	write := func() {
		t.Helper()
		for range 5 {
			value++
			for _, v := range []float64{value, -value} {
				if _, err := c.WriteReadings(t.Context(), nil, oei.ReadingsWriteRequest{
					Readings: []oei.ReadingCreate{{SensorID: sensor.ID, Value: oei.Value(v)}},
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	write()
	for _, end := range []func(){s.stop, s.kill} {
		isCut.Store(true)
		end()
		if err := s.run(); err != nil {
			t.Fatal(err)
		}
		write()
		isCut.Store(false)
		f.until(t, oei.Connected)
		write()
	}
	for want := 81.0; want <= value; want++ {
		for _, want := range []float64{want, -want} {
			if got := next(t, f.readings); got != want {
				t.Fatalf("got the reading %v, want %v", got, want)
			}
		}
	}
	// raised once, then cleared and raised again while nobody acknowledges
	events, err := collect(c.AlarmEvents(t.Context(), nil))
	if err != nil || len(events) < 20 {
		t.Fatalf("got %d events, %v; want at least 20", len(events), err)
	}
	for _, want := range events {
		got := next(t, f.alarms)
		for got.Event.Kind == "created" && want.Kind != "created" {
			got = next(t, f.alarms)
		}
		if got.Event.Offset != want.Offset || got.Position.Offset != want.Offset {
			t.Fatalf("got the event %d at %+v, want %d",
				got.Event.Offset, got.Position, want.Offset)
		}
	}
	cancel()
	wantIs(t, next(t, f.ended), context.Canceled)
}

func collect[T any](list func(func(T, error) bool)) (items []T, err error) {
	for item, err := range list {
		if err != nil {
			return items, err
		}
		items = append(items, item)
	}
	return items, nil
}

func TestLive_EndsWithAnErrorWhenItCannotGoOn(t *testing.T) {
	c := shared.dial(t)
	f := follow(t.Context(), c, oei.FromSensor(1, 4711))
	refusal, ok := errors.AsType[*oei.LiveError](next(t, f.ended))
	if !ok || len(refusal.Topics) != 1 || refusal.Topics[0] != "sensors/4711" {
		t.Errorf("got %v, want the unknown topic", refusal)
	}
	other, err := oei.Dial(t.Context(), address, oei.Token("expired"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	wantIs(t, next(t, follow(t.Context(), other, oei.Alarms()).ended), oei.ErrNotAuthenticated)

	f = follow(t.Context(), c, oei.Alarms())
	f.until(t, oei.Connected)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := next(t, f.ended); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v, want that the client is closed", err)
	}
}

func TestClient_LeavesNoGoroutine(t *testing.T) {
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	before := runtime.NumGoroutine()
	h := &http.Transport{}
	c := shared.dial(t, oei.HTTPClient(&http.Client{Transport: h}))
	for range 3 {
		for message, err := range c.Live(t.Context(), oei.FromSensor(1), oei.Snapshot()) {
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := message.(oei.LiveReading); ok {
				break
			}
		}
		for range c.Export(t.Context(), oei.ExportReadingsParams{SensorID: []oei.ID{1}}) {
			break
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	h.CloseIdleConnections()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("goroutines are left:\n%s", stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(5 * time.Millisecond)
	}
}
