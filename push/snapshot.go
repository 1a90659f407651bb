package push

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	maxSnapshot      = 10_000 // readings of one snapshot
	maxSnapshotFrame = 500    // readings or alarms of one frame
	// snapshotMemory is how long an outbox remembers the contents of a snapshot.
	snapshotMemory = time.Minute
)

// startAlarms begins the alarm stream that req asks for and returns the frames that follow the
// answer. The caller holds the outbox, and the connection is among the subscribers of alarms
// already. A stream that has begun before goes on from where it is.
func (c *conn) startAlarms(
	severities uint8, req *subscribeRequest, topics []string,
) (frames []any, err error) {
	ctx, cancel := context.WithTimeout(c.hub.ctx, queryTimeout)
	defer cancel()
	log := c.hub.alarms
	if _, _, subscribed := c.outbox.alarmPosition(); subscribed {
		c.outbox.filterAlarms(severities)
		if !req.Snapshot || req.Resume != nil {
			return nil, nil
		}
		epoch, offset, alarms, err := log.queryActive(ctx)
		if err != nil {
			return nil, err
		}
		return alarmSnapshot(topics, severities, epoch, offset, alarms), nil
	}
	epoch, last, known := log.position()
	if !known { // the hub has just started
		if epoch, last, _, err = log.queryActive(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case req.Resume != nil:
		reason, err := c.resumeFault(ctx, *req.Resume, epoch, last)
		if err != nil {
			return nil, err
		}
		if reason == "" {
			c.outbox.startAlarms(severities, epoch, req.Resume.Offset)
			return nil, nil
		}
		frames = append(frames, resyncFrame{Type: "resync", Scope: "alarms", Reason: reason})
	case !req.Snapshot:
		c.outbox.startAlarms(severities, epoch, last)
		return nil, nil
	}
	epoch, offset, alarms, err := log.queryActive(ctx)
	if err != nil {
		return nil, err
	}
	c.outbox.startAlarms(severities, epoch, offset)
	return append(frames, alarmSnapshot(topics, severities, epoch, offset, alarms)...), nil
}

// resumeFault says why the log cannot be resumed at p; it is empty when it can.
func (c *conn) resumeFault(
	ctx context.Context, p position, epoch string, last int64,
) (string, error) {
	if p.Epoch != epoch {
		return "the alarm log is another one now", nil
	}
	if _, ok := c.hub.alarms.after(epoch, p.Offset); ok || p.Offset == last {
		return "", nil
	}
	// The log must have the event p.Offset itself or, for the start of a log, nothing before it:
	// another instance may have read more of the log than this one.
	us, err := c.hub.alarms.queryEvents(ctx, epoch, max(p.Offset-1, 0))
	switch {
	case errors.Is(err, errGap):
		return "the alarm log does not reach back so far", nil
	case err != nil:
		return "", err
	case len(us) == 0 && p.Offset > 0:
		return "the alarm log does not reach so far", nil
	}
	return "", nil
}

// alarmSnapshot returns the frames of the alarms of these severities.
func alarmSnapshot(
	topics []string, severities uint8, epoch string, offset int64, alarms []ActiveAlarm,
) []any {
	var matching []rawJSON
	for _, a := range alarms {
		if severities&severityBit(a.Severity) != 0 {
			matching = append(matching, a.JSON)
		}
	}
	var frames []any
	for {
		n := min(maxSnapshotFrame, len(matching))
		part := append([]rawJSON{}, matching[:n]...)
		matching = matching[n:]
		frames = append(frames, alarmSnapshotFrame{
			Type:   "alarm_snapshot",
			Topics: topics,
			Epoch:  epoch,
			Offset: offset,
			Alarms: part,
			More:   len(matching) > 0,
		})
		if len(matching) == 0 {
			return frames
		}
	}
}

// fetchAlarms adds the next events that the client lacks to the outbox, and reports whether there
// were any. When they cannot be read, the writer is woken again later.
func (c *conn) fetchAlarms() bool {
	g, missing := c.outbox.missingAlarms()
	if !missing {
		return false
	}
	if us, ok := c.hub.alarms.after(g.epoch, g.after); ok {
		c.outbox.fillAlarms(g, us)
		return true
	}
	us, err := c.hub.alarms.queryEvents(c.hub.ctx, g.epoch, g.after)
	switch {
	case err == nil && len(us) > 0:
		c.outbox.fillAlarms(g, us)
		return true
	case errors.Is(err, errGap):
		if err = c.resyncAlarms(g); err == nil {
			return true
		}
	}
	if err != nil && c.hub.ctx.Err() == nil {
		c.hub.log.DebugContext(c.hub.ctx, "fetching alarm events failed", "error", err)
	}
	time.AfterFunc(alarmPollInterval, c.outbox.wakeWriter)
	return false
}

// resyncAlarms tells the client that its stream has a gap, and sends a snapshot.
func (c *conn) resyncAlarms(g alarmGap) error {
	epoch, offset, alarms, err := c.hub.alarms.queryActive(c.hub.ctx)
	if err != nil {
		return err
	}
	c.hub.mu.RLock()
	severities := c.severities()
	c.hub.mu.RUnlock()
	if !c.outbox.restartAlarms(g, epoch, offset) {
		return nil
	}
	c.send(resyncFrame{
		Type:   "resync",
		Scope:  "alarms",
		Reason: errGap.Error(),
	})
	topics := severityTopics(severities)
	for _, frame := range alarmSnapshot(topics, severities, epoch, offset, alarms) {
		c.send(frame)
	}
	if _, last, _ := c.hub.alarms.position(); last > offset {
		c.outbox.alarmsKnown(last)
	}
	return nil
}

// severityTopics returns the names of the topics with these severities.
func severityTopics(mask uint8) (topics []string) {
	if mask == allSeverities {
		return []string{"alarms"}
	}
	for i, s := range severities {
		if mask&(1<<i) != 0 {
			topics = append(topics, "alarms/"+s)
		}
	}
	return topics
}

// addLatest adds a snapshot of the topics' sensors to the outbox, which the caller holds.
func (c *conn) addLatest(reqID string, topics []Topic) error {
	ctx, cancel := context.WithTimeout(c.hub.ctx, queryTimeout)
	defer cancel()
	release, err := c.hub.acquireQuery(ctx)
	if err != nil {
		return err
	}
	rs, err := c.hub.deps.Latest(ctx, topics, maxSnapshot+1)
	release()
	if err != nil {
		return err
	}
	if len(rs) > maxSnapshot {
		detail := fmt.Sprintf("the topics have more than %d sensors; "+
			"their readings come, but no snapshot", maxSnapshot)
		c.sendError(reqID, codeTooLarge, detail, names(topics))
		return nil
	}
	contents := make(map[Topic]order, len(rs))
	rs = slices.DeleteFunc(rs, func(r Reading) bool {
		sensor := Topic{Kind: Sensors, ID: r.SensorID}
		_, duplicate := contents[sensor] // of a sensor of several topics
		if !duplicate {
			contents[sensor] = r.order()
		}
		return duplicate
	})
	var frames []*update
	for more := true; more; {
		n := min(maxSnapshotFrame, len(rs))
		more = len(rs) > n
		frames = append(frames,
			&update{json: appendSnapshot(nil, names(topics), rs[:n], more), single: true})
		rs = rs[n:]
	}
	c.outbox.addSnapshot(frames, contents)
	return nil
}
