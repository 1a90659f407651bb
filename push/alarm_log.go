package push

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	alarmPollInterval = time.Second // without a call of ReadAlarms
	alarmPageSize     = 500         // events of one query
	alarmHistory      = 4096        // events kept for clients that resume
)

// AlarmEvent is an entry of the alarm log. Offsets have no gaps.
type AlarmEvent struct {
	Offset   int64
	Severity string
	JSON     []byte // AlarmEvent of the contract
}

// ActiveAlarm is an alarm that is not normal.
type ActiveAlarm struct {
	Severity string
	JSON     []byte // AlarmEvent of the contract
}

// AlarmSource reads the alarm log. Epoch names the log: offsets of another epoch mean nothing. Its
// functions are called concurrently.
type AlarmSource struct {
	// Events returns the first events after an offset, at most limit, in order. When the log does
	// not reach back to the offset, it returns the first events of the log.
	Events func(ctx context.Context, after int64, limit int) (
		epoch string, events []AlarmEvent, err error)
	// Active returns the alarms that are not normal after the event with the returned offset.
	Active func(ctx context.Context) (epoch string, offset int64, alarms []ActiveAlarm, err error)
}

// errGap means that the log does not have the next event.
var errGap = errors.New("the alarm log does not continue from there")

// alarmLog is the alarm log as far as this instance has read it. A new event is added to it before
// the event is offered to any connection. So a connection that first subscribes and then reads the
// log misses nothing.
type alarmLog struct {
	hub    *Hub
	source *AlarmSource  // nil without alarm topics
	hint   chan struct{} // has a token when there may be more events

	mu     sync.Mutex
	known  bool // whether the log has been read
	epoch  string
	last   int64     // offset of the last event
	recent []*update // the events up to last, without a gap
}

func newAlarmLog(h *Hub, source *AlarmSource) *alarmLog {
	return &alarmLog{hub: h, source: source, hint: make(chan struct{}, 1)}
}

func (l *alarmLog) position() (epoch string, last int64, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch, l.last, l.known
}

// reset begins after offset.
func (l *alarmLog) reset(epoch string, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known, l.epoch = true, epoch
	l.last, l.recent = offset, nil
}

func (l *alarmLog) extend(us []*update) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recent = append(l.recent, us...)
	if n := len(l.recent); n > 2*alarmHistory {
		l.recent = append([]*update(nil), l.recent[n-alarmHistory:]...)
	}
	l.last = us[len(us)-1].offset
}

// after returns the events after offset, at most a page. It reports false when recent does not have
// them.
func (l *alarmLog) after(epoch string, offset int64) ([]*update, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := l.last - int64(len(l.recent)) // the offset before the first recent event
	if epoch != l.epoch || offset < start || offset >= l.last {
		return nil, false
	}
	from := int(offset - start)
	return l.recent[from:min(from+alarmPageSize, len(l.recent))], true
}

// follow sends new events to subscribers until ctx ends. Hints make it fast; without hints it
// polls.
func (l *alarmLog) follow(ctx context.Context) error {
	if l.source == nil {
		return nil
	}
	tick := time.NewTicker(alarmPollInterval)
	defer tick.Stop()
	for failing := false; ; {
		err := l.advance(ctx)
		switch {
		case err != nil && !failing && ctx.Err() == nil:
			l.hub.log.WarnContext(ctx, "reading alarm log failed, retrying", "error", err)
		case err == nil && failing:
			l.hub.log.InfoContext(ctx, "reading alarm log again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-l.hint:
		}
	}
}

// advance reads the log to its end.
func (l *alarmLog) advance(ctx context.Context) error {
	epoch, last, known := l.position()
	if !known {
		return l.start(ctx)
	}
	for {
		us, err := l.readEvents(ctx, epoch, last)
		switch {
		case errors.Is(err, errGap):
			return l.startOver(ctx)
		case err != nil:
			return err
		case len(us) == 0:
			return nil
		}
		last = us[len(us)-1].offset
		l.extend(us)
		to := l.subscribers()
		for _, u := range us {
			for s := range to.all() {
				if !s.c.outbox.offerAlarm(u) {
					s.c.end(CloseBehind,
						"alarm events are not being taken; resume from the last one")
				}
			}
		}
		if len(us) < alarmPageSize {
			return nil
		}
	}
}

func (l *alarmLog) start(ctx context.Context) error {
	epoch, offset, _, err := l.readActive(ctx)
	if err != nil {
		return err
	}
	l.reset(epoch, offset)
	return nil
}

// startOver begins again at the end of the log, which has another epoch or has lost events that
// were not read. All subscribers have to resynchronize.
func (l *alarmLog) startOver(ctx context.Context) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	for s := range l.subscribers().all() {
		s.c.outbox.alarmsKnown(1<<63 - 1) // the writer finds the gap
	}
	return nil
}

// subscribers returns the connections that are subscribed to any alarm topic.
func (l *alarmLog) subscribers() subscribers {
	l.hub.mu.RLock()
	defer l.hub.mu.RUnlock()
	return l.hub.subscriptions[Topic{Kind: anyAlarms}]
}

// readEvents reads a page of the log after an offset, or returns errGap.
func (l *alarmLog) readEvents(ctx context.Context, epoch string, after int64) ([]*update, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	now, es, err := l.source.Events(ctx, after, alarmPageSize)
	if err != nil {
		return nil, fmt.Errorf("events after %d: %w", after, err)
	}
	if now != epoch {
		return nil, errGap
	}
	us := make([]*update, len(es))
	for i, e := range es {
		if e.Offset != after+1+int64(i) {
			return nil, errGap
		}
		us[i] = &update{
			about:    Topic{Kind: Alarms},
			offset:   e.Offset,
			severity: severityBit(e.Severity),
			json:     appendAlarm(nil, epoch, e),
		}
	}
	return us, nil
}

func (l *alarmLog) readActive(
	ctx context.Context,
) (epoch string, offset int64, alarms []ActiveAlarm, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if epoch, offset, alarms, err = l.source.Active(ctx); err != nil {
		err = fmt.Errorf("active alarms: %w", err)
	}
	return epoch, offset, alarms, err
}

// queryEvents is readEvents for one connection, which waits for a query slot.
func (l *alarmLog) queryEvents(ctx context.Context, epoch string, after int64) ([]*update, error) {
	release, err := l.hub.acquireQuery(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	return l.readEvents(ctx, epoch, after)
}

// queryActive is readActive for one connection, which waits for a query slot.
func (l *alarmLog) queryActive(
	ctx context.Context,
) (epoch string, offset int64, alarms []ActiveAlarm, err error) {
	release, err := l.hub.acquireQuery(ctx)
	if err != nil {
		return "", 0, nil, err
	}
	defer release()
	return l.readActive(ctx)
}
