package push

// stream is the part of a lane that carries the alarm log: every event once, in order, from where
// the client joined.
//
// While the client has all that is known, an event goes straight into the queue. When it has not,
// because it resumes or joined while events were coming, the writer fetches what follows cursor, as
// fast as the client takes it, until nothing is missing.
type stream struct {
	// of this stream among those of its connection; what was fetched for an earlier one is thrown
	// away
	number uint64
	mask   uint8 // severities; 0 when nothing is followed
	epoch  string
	cursor int64 // the last event that was put in, or passed over
	known  int64 // the last event there is
	size   int
	events []*update
}

func (s *stream) take() []*update {
	out := s.events
	s.events = nil
	return out
}

func (s *stream) put(u *update) {
	if s.mask&u.severity != 0 {
		s.events = append(s.events, u)
	}
	s.cursor = u.offset
}

// follow begins a stream behind the event with the offset cursor.
func (l *lane) follow(mask uint8, epoch string, cursor int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stream = stream{
		number: l.stream.number + 1,
		mask:   mask,
		epoch:  epoch,
		cursor: cursor,
		known:  cursor,
		size:   l.stream.size,
	}
}

// narrow changes the severities of a stream, from here on; none ends it.
func (l *lane) narrow(mask uint8) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stream.mask = mask
	if mask == 0 {
		l.stream.events = nil
	}
}

// position is where the stream is; followed is false when there is none.
func (l *lane) position() (epoch string, cursor int64, followed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stream.epoch, l.stream.cursor, l.stream.mask != 0
}

// learn says that there are events up to offset.
func (l *lane) learn(offset int64) {
	l.mu.Lock()
	l.stream.known = max(l.stream.known, offset)
	l.callAndUnlock()
}

// offerAlarm puts the next event in and reports whether there was room. Events come in order, each
// after it is known.
func (l *lane) offerAlarm(u *update) bool {
	l.mu.Lock()
	s := &l.stream
	switch {
	case s.mask == 0 || u.offset <= s.known:
		l.mu.Unlock()
		return true
	case s.cursor == s.known && u.offset == s.cursor+1:
		if len(s.events) >= s.size {
			l.mu.Unlock()
			return false
		}
		s.put(u)
	}
	s.known = u.offset
	l.callAndUnlock()
	return true
}

// gap is what a stream has to fetch.
type gap struct {
	number uint64
	epoch  string
	after  int64
}

// missing returns what the client has to be given next and nobody will offer.
func (l *lane) missing() (gap, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.stream
	return gap{s.number, s.epoch, s.cursor}, s.mask != 0 && !l.held && len(s.events) == 0 &&
		s.cursor < s.known
}

// fill puts in what was fetched for g.
func (l *lane) fill(g gap, events []*update) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream.number != g.number || l.stream.cursor != g.after {
		return // the client has subscribed anew meanwhile
	}
	for _, u := range events {
		l.stream.put(u)
	}
	l.stream.known = max(l.stream.known, l.stream.cursor)
}

// restart has the stream that g was of go on behind offset in the log epoch.
func (l *lane) restart(g gap, epoch string, offset int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.stream
	if s.number != g.number || s.mask == 0 {
		return false
	}
	s.epoch, s.cursor, s.known, s.events = epoch, offset, offset, nil
	return true
}
