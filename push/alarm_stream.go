package push

// alarmStream is the part of an outbox that carries the alarm log: every event once, in order, from
// where the client joined.
//
// While the client has all events that are known, a new event goes straight into the queue. While
// it has not, because it resumed or joined while events were added, the writer fetches the events
// after cursor, as fast as the client takes them, until none is missing.
type alarmStream struct {
	// number counts the streams of the connection. What was fetched for an earlier stream is
	// discarded.
	number     uint64
	severities uint8 // a mask; 0 when the client is not subscribed to alarms
	epoch      string
	cursor     int64 // offset of the last event that was added or skipped
	known      int64 // offset of the last event of the log
	size       int
	events     []*update
}

func (s *alarmStream) take() []*update {
	out := s.events
	s.events = nil
	return out
}

func (s *alarmStream) put(u *update) {
	if s.severities&u.severity != 0 {
		s.events = append(s.events, u)
	}
	s.cursor = u.offset
}

// startAlarms begins a stream with the event after cursor.
func (o *outbox) startAlarms(severities uint8, epoch string, cursor int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.alarms = alarmStream{
		number:     o.alarms.number + 1,
		severities: severities,
		epoch:      epoch,
		cursor:     cursor,
		known:      cursor,
		size:       o.alarms.size,
	}
}

// filterAlarms changes the severities of the stream from here on. 0 ends it.
func (o *outbox) filterAlarms(severities uint8) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.alarms.severities = severities
	if severities == 0 {
		o.alarms.events = nil
	}
}

// alarmPosition returns the position of the stream; subscribed is false when there is none.
func (o *outbox) alarmPosition() (epoch string, cursor int64, subscribed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.alarms.epoch, o.alarms.cursor, o.alarms.severities != 0
}

// alarmsKnown says that the log has events up to offset.
func (o *outbox) alarmsKnown(offset int64) {
	o.mu.Lock()
	o.alarms.known = max(o.alarms.known, offset)
	o.wakeAndUnlock()
}

// offerAlarm adds the next event of the log and reports whether there was room. Events are offered
// in order, after the alarm log knows them.
func (o *outbox) offerAlarm(u *update) bool {
	o.mu.Lock()
	s := &o.alarms
	switch {
	case s.severities == 0 || u.offset <= s.known:
		o.mu.Unlock()
		return true
	case s.cursor == s.known && u.offset == s.cursor+1:
		if len(s.events) >= s.size {
			o.mu.Unlock()
			return false
		}
		s.put(u)
	}
	s.known = u.offset
	o.wakeAndUnlock()
	return true
}

// alarmGap says which events a stream lacks: those after an offset.
type alarmGap struct {
	number uint64
	epoch  string
	after  int64
}

// missingAlarms returns the gap that the writer must fill, if there is one.
func (o *outbox) missingAlarms() (alarmGap, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &o.alarms
	missing := s.severities != 0 && !o.held && len(s.events) == 0 && s.cursor < s.known
	return alarmGap{s.number, s.epoch, s.cursor}, missing
}

// fillAlarms adds events that were fetched for g.
func (o *outbox) fillAlarms(g alarmGap, events []*update) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.alarms.number != g.number || o.alarms.cursor != g.after {
		return // the client has subscribed again meanwhile
	}
	for _, u := range events {
		o.alarms.put(u)
	}
	o.alarms.known = max(o.alarms.known, o.alarms.cursor)
}

// restartAlarms has the stream of g go on after offset in the log epoch. It reports whether that
// stream still exists.
func (o *outbox) restartAlarms(g alarmGap, epoch string, offset int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &o.alarms
	if s.number != g.number || s.severities == 0 {
		return false
	}
	s.epoch, s.events = epoch, nil
	s.cursor, s.known = offset, offset
	return true
}
