package alarm

import "time"

// timer is a change of the state that is due at an instant.
type timer uint8

const (
	noTimer timer = iota
	fallTimer
	riseTimer
	silence
	shelfEnds
	realarm
	scheduleTurns
)

// nextTimer returns the timer that is due first; a delay is due when it is known to be over, see
// journal.lag. Timers that are due together fire in the order of the constants.
func (j *journal) nextTimer() (timer, time.Time) {
	r, s := j.r, &j.s
	which, at := noTimer, time.Time{}
	offer := func(t timer, due time.Time) {
		if !due.IsZero() && (which == noTimer || due.Before(at)) {
			which, at = t, due
		}
	}
	delay := func(t timer, due time.Time) {
		if !due.IsZero() {
			offer(t, due.Add(j.lag))
		}
	}
	for i := range s.Fall {
		delay(fallTimer, j.fallDue(i))
	}
	for i := range s.Rise {
		delay(riseTimer, j.riseDue(i))
	}
	if j.silence && r.Kind == NoData && !s.Active && s.Resting == "" {
		offer(silence, s.LastHeard().Add(time.Duration(r.NoDataAfter)))
	}
	offer(shelfEnds, s.Shelf.Until)
	offer(realarm, s.realarmDue(r))
	if r.Schedule != nil {
		offer(scheduleTurns, r.Schedule.next(r.location(), s.Clock))
	}
	return which, at
}

// realarmDue returns when an acknowledged alarm that still stands becomes unacknowledged again, not
// before its rule was changed or its sensors came back into use; zero is never.
func (s *State) realarmDue(r *Rule) time.Time {
	stands := s.Active && !s.Unacked && s.Resting == ""
	if !stands || r.RealarmAfter == 0 || s.AckedAt.IsZero() {
		return time.Time{}
	}
	if due := s.AckedAt.Add(time.Duration(r.RealarmAfter)); due.After(s.Clock) {
		return due
	}
	return s.Clock
}

// LastHeard returns since when there is silence, for NoData, whose readings count at their receipt.
func (s *State) LastHeard() time.Time {
	if s.Last.At.After(s.Began) {
		return s.Last.At
	}
	return s.Began
}

// Due returns when Tick has a timer to fire; zero when only a reading or a command can change the
// alarm. For NoData it moves with every reading: a stored Due may be early, never late.
func (s State) Due(r *Rule) time.Time {
	j := journal{r: r, s: s, lag: s.lag(), silence: true}
	_, at := j.nextTimer()
	return at
}

// hasNoTimer reports whether no timer can run.
func (s *State) hasNoTimer(r *Rule) bool {
	return s.Fall[0].Level == None && s.Fall[1].Level == None && s.Rise[0].Level == None &&
		s.Rise[1].Level == None &&
		r.Kind != NoData && r.Schedule == nil && s.Shelf.Until.IsZero() && r.RealarmAfter == 0
}

// runTimers fires the timers that are due by to, in order.
func (j *journal) runTimers(to time.Time) error {
	if j.s.hasNoTimer(j.r) {
		return nil
	}
	for range 100_000 {
		which, at := j.nextTimer()
		if which == noTimer || at.After(to) {
			return nil
		}
		j.fireTimer(which, at)
	}
	return errEndlessTimers
}

func (j *journal) fireTimer(which timer, at time.Time) {
	s := &j.s
	switch which {
	case fallTimer, riseTimer:
		due := at.Add(-j.lag)
		j.fireDue(due, due, noValue)
	case silence:
		j.raise(Wait{Level: Breach}, at, noValue)
	case shelfEnds:
		j.unshelve(at, "", "its time is over")
	case realarm:
		before := s.Code()
		s.Unacked = true
		j.addEvent(Event{At: at, Kind: Reraised, Before: before}, noValue)
	case scheduleTurns:
		before := s.Code()
		s.Clock = at
		s.OffSchedule = !s.OffSchedule
		kind := Unsuppressed
		if s.OffSchedule {
			kind = SuppressedEvent
		}
		j.addEvent(Event{At: at, Kind: kind, Before: before, Comment: "schedule"}, noValue)
	}
}
