package app

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/push"
	"github.com/oei-ms/oei-ms/store"
)

func TestCommitWithAlarmEventsHasTheLogReadAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		alarmLog := &push.AlarmSource{
			Events: func(context.Context, int64, int) (string, []push.AlarmEvent, error) {
				asked.Add(1)
				return "e", nil, nil
			},
			Active: func(context.Context) (string, int64, []push.ActiveAlarm, error) {
				return "e", 0, nil, nil
			},
		}
		hub := push.New(push.DefaultConfig(), push.Deps{Alarms: alarmLog},
			slog.New(slog.DiscardHandler), nil)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- hub.Run(ctx) }()
		synctest.Wait()
		committed := announce(hub, nil)
		committed(ingest.Committed{Readings: []store.Reading{{SensorID: 1}}})
		synctest.Wait() // no time passes
		if n := asked.Load(); n != 0 {
			t.Errorf("the log was read %d times for a reading, want 0", n)
		}
		committed(ingest.Committed{AlarmsChanged: true})
		synctest.Wait()
		if n := asked.Load(); n != 1 {
			t.Errorf("the log was read %d times for an event, want 1", n)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
