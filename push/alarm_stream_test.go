package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// alarmTable is an alarm log in memory, with offsets without gaps.
type alarmTable struct {
	mu     sync.Mutex
	epoch  string
	first  int64 // the offset of events[0]
	events []AlarmEvent
	down   error
	reads  int
}

func newAlarmTable() *alarmTable { return &alarmTable{epoch: "e1", first: 1} }

func (a *alarmTable) log() *AlarmSource {
	return &AlarmSource{
		Events: func(_ context.Context, after int64, limit int) (string, []AlarmEvent, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.reads++
			from := min(max(after-a.first+1, 0), int64(len(a.events)))
			page := a.events[from:]
			return a.epoch, append([]AlarmEvent(nil), page[:min(limit, len(page))]...), a.down
		},
		Active: func(context.Context) (string, int64, []ActiveAlarm, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			last := a.first + int64(len(a.events)) - 1
			return a.epoch, last, []ActiveAlarm{
				{"critical", fmt.Appendf(nil, `{"id":1,"at":%d}`, last)},
				{"minor", []byte(`{"id":2}`)},
			}, a.down
		},
	}
}

// add appends n events and returns the last offset. Every third event is critical, the others
// minor.
func (a *alarmTable) add(n int) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	for range n {
		offset := a.first + int64(len(a.events))
		severity := "minor"
		if offset%3 == 0 {
			severity = "critical"
		}
		a.events = append(a.events,
			AlarmEvent{
				Offset:   offset,
				Severity: severity,
				JSON:     fmt.Appendf(nil, `{"n":%d}`, offset),
			})
	}
	return a.first + int64(len(a.events)) - 1
}

func (a *alarmTable) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// count returns how often the log was read.
func (a *alarmTable) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reads
}

// withAlarms runs test in a bubble with a hub that reads table.
func withAlarms(t *testing.T, cfg Config, test func(t *testing.T, w *fixture, table *alarmTable)) {
	t.Helper()
	table := newAlarmTable()
	inBubbleWith(t, cfg, Deps{Alarms: table.log()},
		func(t *testing.T, w *fixture) { test(t, w, table) })
}

func alarmFrame(offset int64) string {
	return fmt.Sprintf(`{"type":"alarm","epoch":"e1","offset":%d,"event":{"n":%[1]d}}`, offset)
}

func TestAlarms_FollowTheSubscriptionInOrder(t *testing.T) {
	withAlarms(t, DefaultConfig(), func(t *testing.T, w *fixture, table *alarmTable) {
		table.add(5)
		w.hub.ReadAlarms()
		synctest.Wait()
		c := w.subscribe("ann")
		c.send(`{"type":"subscribe","topics":["alarms"]}`)
		c.want(`{"type":"subscribed","topics":["alarms"],"epoch":"e1","offset":5}`)
		table.add(2)
		w.hub.ReadAlarms()
		c.want(alarmFrame(6), alarmFrame(7))
		table.add(1) // without a hint
		c.want(alarmFrame(8))
		c.send(`{"type":"unsubscribe","topics":["alarms"]}`)
		c.skip("unsubscribed")
		table.add(1)
		time.Sleep(2 * alarmPollInterval)
		c.send(`{"type":"subscribe","topics":["alarms/critical"]}`)
		c.want(`{"type":"subscribed","topics":["alarms/critical"],"epoch":"e1","offset":9}`)
		table.add(4)
		c.want(alarmFrame(12))
	})
}

// TestSubscribe_FollowsFromTheSnapshot adds an event while the snapshot is read, and has the hub
// read it before the stream begins.
func TestSubscribe_FollowsFromTheSnapshot(t *testing.T) {
	var hub *Hub
	var reading atomic.Bool // of the subscriber's snapshot
	table := newAlarmTable()
	log := table.log()
	active := log.Active
	log.Active = func(ctx context.Context) (string, int64, []ActiveAlarm, error) {
		epoch, offset, alarms, err := active(ctx)
		if reading.Swap(false) {
			table.add(1)
			hub.ReadAlarms()
			time.Sleep(time.Millisecond) // in the bubble: until the hub is idle
			if _, last, _ := hub.alarms.position(); last != offset+1 {
				t.Errorf("the hub has read up to %d, want %d", last, offset+1)
			}
		}
		return epoch, offset, alarms, err
	}
	inBubbleWith(t, DefaultConfig(), Deps{Alarms: log}, func(t *testing.T, w *fixture) {
		hub = w.hub
		table.add(5)
		w.hub.ReadAlarms()
		synctest.Wait()
		c := w.subscribe("ann")
		reading.Store(true)
		c.send(`{"type":"subscribe","topics":["alarms"],"snapshot":true}`)
		c.want(`{"type":"subscribed","topics":["alarms"],"epoch":"e1","offset":5}`)
		if got := c.skip("alarm_snapshot"); !strings.Contains(got, `"offset":5`) {
			t.Errorf("got %s, want the snapshot at 5", got)
		}
		c.want(alarmFrame(6))
	})
}

func TestResume(t *testing.T) {
	snapshot := func(offset int64) string {
		return fmt.Sprintf(`{"type":"alarm_snapshot","topics":["alarms"],"epoch":"e1","offset":%d,`+
			`"alarms":[{"id":1,"at":%[1]d},{"id":2}],"more":false}`, offset)
	}
	resync := func(reason string) string {
		return fmt.Sprintf(`{"type":"resync","scope":"alarms","reason":"%s"}`, reason)
	}
	tests := map[string]struct {
		resume string
		before func(w *fixture, table *alarmTable)
		want   []string
	}{
		"continues after the offset": {
			`{"epoch":"e1","offset":7}`, nil,
			[]string{
				`{"type":"subscribed","topics":["alarms"],"epoch":"e1","offset":7}`, alarmFrame(8),
				alarmFrame(9), alarmFrame(10), alarmFrame(11),
			},
		},
		"at the end has nothing to catch up": {
			`{"epoch":"e1","offset":10}`, nil,
			[]string{
				`{"type":"subscribed","topics":["alarms"],"epoch":"e1","offset":10}`,
				alarmFrame(11),
			},
		},
		"beyond what this instance has read continues": {
			`{"epoch":"e1","offset":11}`, func(_ *fixture, table *alarmTable) { table.add(1) },
			[]string{
				`{"type":"subscribed","topics":["alarms"],"epoch":"e1","offset":11}`,
				alarmFrame(12),
			},
		},
		"in another log resynchronizes": {
			`{"epoch":"e0","offset":7}`, nil,
			[]string{
				`{"type":"subscribed","topics":["alarms"],"epoch":"e1","offset":10}`,
				resync("the alarm log is another one now"), snapshot(10), alarmFrame(11),
			},
		},
		"beyond the log resynchronizes": {
			`{"epoch":"e1","offset":70}`, nil,
			[]string{
				`{"type":"subscribed","topics":["alarms"],"epoch":"e1","offset":10}`,
				resync("the alarm log does not reach so far"), snapshot(10), alarmFrame(11),
			},
		},
		"before the oldest event resynchronizes": {
			`{"epoch":"e1","offset":2}`,
			func(w *fixture, table *alarmTable) {
				table.set(func() { table.events, table.first = table.events[6:], table.first+6 })
				w.hub.alarms.reset("e1", 10) // as after a restart
			},
			[]string{
				`{"type":"subscribed","topics":["alarms"],"epoch":"e1","offset":10}`,
				resync("the alarm log does not reach back so far"), snapshot(10), alarmFrame(11),
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			withAlarms(t, DefaultConfig(), func(t *testing.T, w *fixture, table *alarmTable) {
				table.add(10)
				w.hub.ReadAlarms()
				synctest.Wait()
				if tt.before != nil {
					tt.before(w, table)
				}
				c := w.subscribe("ann")
				c.send(`{"type":"subscribe","topics":["alarms"],"resume":` + tt.resume + `}`)
				c.want(tt.want[0])
				table.add(1)
				c.want(tt.want[1:]...)
			})
		})
	}
}

// TestResume_MissesNothingWhileEventsAreAdded has clients resume at many offsets of a log that
// grows.
func TestResume_MissesNothingWhileEventsAreAdded(t *testing.T) {
	withAlarms(t, DefaultConfig(), func(t *testing.T, w *fixture, table *alarmTable) {
		table.add(3 * alarmPageSize)
		w.hub.ReadAlarms()
		synctest.Wait() // the hub has read the log: the events above are not offered to clients
		const clients, grow = 20, 200
		var logs [clients]<-chan string
		for i := range clients {
			c := w.connect("ann")
			logs[i] = c.collect()
			go func() {
				time.Sleep(time.Duration(i) * 7 * time.Millisecond)
				c.send(fmt.Sprintf(`{"type":"subscribe","topics":["alarms"],`+
					`"resume":{"epoch":"e1","offset":%d}}`, i*50))
			}()
		}
		var last int64
		for range grow {
			last = table.add(3)
			w.hub.ReadAlarms()
			time.Sleep(time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		for i, frames := range logs {
			wantContiguous(t, frames, int64(i*50), last)
		}
	})
}

// wantContiguous checks that the frames have every event after one offset up to another, once and
// in order.
func wantContiguous(t *testing.T, frames <-chan string, after, last int64) {
	t.Helper()
	next := after + 1
	for len(frames) > 0 {
		var f struct {
			Type   string
			Offset int64
		}
		if err := json.Unmarshal([]byte(<-frames), &f); err != nil {
			t.Fatal(err)
		}
		if f.Type == "alarm" {
			if f.Offset != next {
				t.Fatalf("got event %d, want %d", f.Offset, next)
			}
			next++
		}
	}
	if next != last+1 {
		t.Fatalf("the last event was %d, want %d", next-1, last)
	}
}

func TestAlarms_SlowClientIsClosed(t *testing.T) {
	cfg := DefaultConfig()
	cfg.AlarmQueueSize = 10
	withAlarms(t, cfg, func(t *testing.T, w *fixture, table *alarmTable) {
		synctest.Wait()
		slow, quick := w.subscribe("ann", "alarms"), w.subscribe("bob", "alarms")
		frames := quick.collect()
		for range 30 {
			table.add(1)
			w.hub.ReadAlarms()
			synctest.Wait()
		}
		wantContiguous(t, frames, 0, 30)
		slow.wantClose(CloseBehind)
	})
}

func TestAlarms_ResyncInAnotherEpoch(t *testing.T) {
	withAlarms(t, DefaultConfig(), func(t *testing.T, w *fixture, table *alarmTable) {
		table.add(4)
		w.hub.ReadAlarms()
		synctest.Wait()
		c := w.subscribe("ann", "alarms")
		table.set(func() { table.epoch, table.events = "e2", nil })
		table.add(2)
		c.skip("resync")
		if got := c.skip("alarm_snapshot"); !strings.Contains(got, `"epoch":"e2","offset":2`) {
			t.Errorf("got %s, want epoch e2 and offset 2", got)
		}
		table.add(1)
		c.want(`{"type":"alarm","epoch":"e2","offset":3,"event":{"n":3}}`)
	})
}

func TestAlarms_ContinueAfterADatabaseOutage(t *testing.T) {
	withAlarms(t, DefaultConfig(), func(t *testing.T, w *fixture, table *alarmTable) {
		table.add(4)
		w.hub.ReadAlarms()
		synctest.Wait()
		c := w.subscribe("ann", "alarms")
		table.set(func() { table.down = errors.New("no database") })
		table.add(2)
		time.Sleep(5 * time.Second)
		c.send(`{"type":"subscribe","topics":["alarms"],"snapshot":true}`)
		if got := c.skip("error"); !strings.Contains(got, `"unavailable"`) {
			t.Errorf("got %s, want unavailable", got)
		}
		table.set(func() { table.down = nil })
		c.send(`{"type":"subscribe","topics":["alarms"],"resume":{"epoch":"e1","offset":4}}`)
		c.skip("subscribed")
		c.want(alarmFrame(5), alarmFrame(6))
	})
}

func TestResume_ReadsRecentEventsFromMemory(t *testing.T) {
	cfg := DefaultConfig()
	withAlarms(t, cfg, func(t *testing.T, w *fixture, table *alarmTable) {
		w.hub.ReadAlarms()
		synctest.Wait()
		table.add(100)
		w.hub.ReadAlarms()
		synctest.Wait()
		reads := table.count()
		for range 50 {
			c := w.subscribe("ann")
			c.send(`{"type":"subscribe","topics":["alarms"],"resume":{"epoch":"e1","offset":99}}`)
			c.skip("subscribed")
			c.want(alarmFrame(100))
		}
		if more := table.count() - reads; more > 1 {
			t.Errorf("50 clients read the log %d times, want at most once", more)
		}
	})
}

func TestAlarmStream_SkipsKnownEventsAndFindsGaps(t *testing.T) {
	o := newOutbox(1, 10, func() {})
	o.startAlarms(allSeverities, "e1", 0)
	for _, offset := range []int64{1, 2, 1, 2, 3, 1} {
		o.offerAlarm(&update{offset: offset, severity: 1})
	}
	if _, missing := o.missingAlarms(); missing {
		t.Error("events are missing after events that were known already")
	}
	if got := len(o.take(nil).alarms); got != 3 || o.alarms.known != 3 || o.alarms.cursor != 3 {
		t.Errorf("got %d events, known %d, cursor %d; want 3 of each", got, o.alarms.known,
			o.alarms.cursor)
	}
	o.offerAlarm(&update{offset: 5, severity: 1})
	if g, missing := o.missingAlarms(); !missing || g.after != 3 {
		t.Errorf("after a gap: got %v, %t; want the events after 3", g, missing)
	}
	// events of an earlier stream are discarded
	o.fillAlarms(alarmGap{number: streamOf(o) - 1, after: 3}, []*update{{offset: 4, severity: 1}})
	o.fillAlarms(alarmGap{number: streamOf(o), after: 3},
		[]*update{{offset: 4, severity: 1}, {offset: 5, severity: 1}})
	if got := len(o.take(nil).alarms); got != 2 {
		t.Errorf("got %d events, want 2", got)
	}
}

func streamOf(o *outbox) uint64 { return o.alarms.number }
