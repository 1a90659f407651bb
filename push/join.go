package push

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	snapshotPart = 500    // readings or alarms in one frame
	snapshotMost = 10_000 // readings in one snapshot
	toldFor      = time.Minute
)

// join begins the stream of alarms that req asks for and returns its first frames, which follow the
// answer. The caller holds the lane, and the connection is among the followers already. A stream
// that is there goes on from where it is.
func (c *conn) join(mask uint8, req *subscribeRequest, topics []string) (frames []any, err error) {
	ctx, cancel := context.WithTimeout(c.hub.ctx, askWithin)
	defer cancel()
	if _, _, followed := c.lane.position(); followed {
		c.lane.narrow(mask)
		if !req.Snapshot || req.Resume != nil {
			return nil, nil
		}
		epoch, offset, alarms, err := c.hub.askActive(ctx)
		if err != nil {
			return nil, err
		}
		return alarmSnapshot(topics, mask, epoch, offset, alarms), nil
	}
	epoch, last, known := c.hub.tail.position()
	if !known { // just started
		if epoch, last, _, err = c.hub.askActive(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case req.Resume != nil:
		reason, err := c.unresumable(ctx, *req.Resume, epoch, last)
		if err != nil {
			return nil, err
		}
		if reason == "" {
			c.lane.follow(mask, epoch, req.Resume.Offset)
			return nil, nil
		}
		frames = append(frames, resyncFrame{Type: "resync", Scope: "alarms", Reason: reason})
	case !req.Snapshot:
		c.lane.follow(mask, epoch, last)
		return nil, nil
	}
	epoch, offset, alarms, err := c.hub.askActive(ctx)
	if err != nil {
		return nil, err
	}
	c.lane.follow(mask, epoch, offset)
	return append(frames, alarmSnapshot(topics, mask, epoch, offset, alarms)...), nil
}

// unresumable says why the log does not go on from p, in words; empty when it does.
func (c *conn) unresumable(
	ctx context.Context, p position, epoch string, last int64,
) (string, error) {
	if p.Epoch != epoch {
		return "the alarm log is another one now", nil
	}
	if _, ok := c.hub.tail.after(epoch, p.Offset); ok || p.Offset == last {
		return "", nil
	}
	// The log has to have the event itself, or for the start of a log nothing before it: another
	// instance may know more of it than we.
	us, err := c.hub.askEvents(ctx, epoch, max(p.Offset-1, 0))
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

// alarmSnapshot returns the frames that tell the alarms of these severities.
func alarmSnapshot(
	topics []string, mask uint8, epoch string, offset int64, alarms []ActiveAlarm,
) []any {
	var wanted []rawJSON
	for _, a := range alarms {
		if mask&severityBit(a.Severity) != 0 {
			wanted = append(wanted, a.JSON)
		}
	}
	var frames []any
	for {
		n := min(snapshotPart, len(wanted))
		part := append([]rawJSON{}, wanted[:n]...)
		wanted = wanted[n:]
		frames = append(frames, alarmSnapshotFrame{
			Type:   "alarm_snapshot",
			Topics: topics,
			Epoch:  epoch,
			Offset: offset,
			Alarms: part,
			More:   len(wanted) > 0,
		})
		if len(wanted) == 0 {
			return frames
		}
	}
}

// fetch gives the client the next part of the log that it lacks and reports whether there was any.
// When there is none to be had it is tried again a little later.
func (c *conn) fetch() bool {
	g, lacking := c.lane.missing()
	if !lacking {
		return false
	}
	us, ok := c.hub.tail.after(g.epoch, g.after)
	if ok {
		c.lane.fill(g, us)
		return true
	}
	us, err := c.hub.askEvents(c.hub.ctx, g.epoch, g.after)
	switch {
	case err == nil && len(us) > 0:
		c.lane.fill(g, us)
		return true
	case errors.Is(err, errGap):
		if err = c.resync(g); err == nil {
			return true
		}
	}
	if err != nil && c.hub.ctx.Err() == nil {
		c.hub.log.DebugContext(c.hub.ctx, "read the alarm log for a live connection", "error", err)
	}
	time.AfterFunc(followEvery, c.lane.rouse)
	return false
}

// resync tells the client that its stream is cut, and how things stand.
func (c *conn) resync(g gap) error {
	epoch, offset, alarms, err := c.hub.askActive(c.hub.ctx)
	if err != nil {
		return err
	}
	c.hub.mu.RLock()
	mask := c.severities()
	c.hub.mu.RUnlock()
	if !c.lane.restart(g, epoch, offset) {
		return nil
	}
	c.answer(resyncFrame{
		Type:   "resync",
		Scope:  "alarms",
		Reason: "the alarm log does not go on from there",
	})
	for _, frame := range alarmSnapshot(maskNames(mask), mask, epoch, offset, alarms) {
		c.answer(frame)
	}
	if _, last, _ := c.hub.tail.position(); last > offset {
		c.lane.learn(last)
	}
	return nil
}

func maskNames(mask uint8) (topics []string) {
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

// tellLatest puts a snapshot of the topics' sensors into the lane, which the caller holds.
func (c *conn) tellLatest(reqID string, topics []Topic) error {
	ctx, cancel := context.WithTimeout(c.hub.ctx, askWithin)
	defer cancel()
	release, err := c.hub.ask(ctx)
	if err != nil {
		return err
	}
	rs, err := c.hub.deps.Latest(ctx, topics, snapshotMost+1)
	release()
	if err != nil {
		return err
	}
	if len(rs) > snapshotMost {
		c.refuse(reqID, codeTooLarge,
			"the topics have more than 10000 sensors; their readings come, but no snapshot",
			names(topics))
		return nil
	}
	told := make(map[Topic]order, len(rs))
	rs = slices.DeleteFunc(rs, func(r Reading) bool {
		sensor := Topic{Kind: Sensors, ID: r.SensorID}
		_, twice := told[sensor] // it is of several topics
		if !twice {
			told[sensor] = r.order()
		}
		return twice
	})
	var frames []*update
	for more := true; more; {
		n := min(snapshotPart, len(rs))
		more = len(rs) > n
		frames = append(frames,
			&update{json: appendSnapshot(nil, names(topics), rs[:n], more), single: true})
		rs = rs[n:]
	}
	c.lane.tell(frames, told)
	return nil
}
