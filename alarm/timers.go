package alarm

import "time"

// timer is what ends by itself at an instant.
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

// next is the timer that ends first, a delay counted from when it is known to be over (see
// journal.lag). Timers that end together do so in the order of the constants.
func (j *journal) next() (timer, time.Time) {
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
		delay(fallTimer, j.falls(i))
	}
	for i := range s.Rise {
		delay(riseTimer, j.rises(i))
	}
	if j.silence && r.Kind == NoData && !s.Active && s.Resting == "" {
		offer(silence, s.Heard().Add(time.Duration(r.NoDataAfter)))
	}
	offer(shelfEnds, s.Shelf.Until)
	offer(realarm, s.realarmDue(r))
	if r.Schedule != nil {
		offer(scheduleTurns, r.Schedule.next(r.location(), s.Clock))
	}
	return which, at
}

// realarmDue is when an acknowledged alarm that still stands is unacknowledged again, not before
// its rule was changed or its sensors came back into use; zero is never.
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

// Heard is since when there is silence, for NoData, whose readings are at their receipt.
func (s *State) Heard() time.Time {
	if s.Last.At.After(s.Began) {
		return s.Last.At
	}
	return s.Began
}

// Due is when Tick has something to do; zero when only a reading or a command can change the alarm.
// For NoData it moves with every reading: one that was kept before is early, never late.
func (s State) Due(r *Rule) time.Time {
	j := journal{r: r, s: s, lag: s.lag(), silence: true}
	_, at := j.next()
	return at
}

// idle says at a glance that no timer runs.
func (s *State) idle(r *Rule) bool {
	return s.Fall[0].Level == None && s.Fall[1].Level == None && s.Rise[0].Level == None &&
		s.Rise[1].Level == None &&
		r.Kind != NoData && r.Schedule == nil && s.Shelf.Until.IsZero() && r.RealarmAfter == 0
}

// advance ends timers in order until to.
func (j *journal) advance(to time.Time) error {
	if j.s.idle(j.r) {
		return nil
	}
	for range 100_000 {
		which, at := j.next()
		if which == noTimer || at.After(to) {
			return nil
		}
		j.end(which, at)
	}
	return errRunaway
}

func (j *journal) end(which timer, at time.Time) {
	s := &j.s
	switch which {
	case fallTimer, riseTimer:
		due := at.Add(-j.lag)
		j.fire(due, due, none)
	case silence:
		j.raise(Wait{Level: Breach}, at, none)
	case shelfEnds:
		j.unshelve(at, "", "its time is over")
	case realarm:
		before := s.Code()
		s.Unacked = true
		j.add(Event{At: at, Kind: Reraised, Before: before}, none)
	case scheduleTurns:
		before := s.Code()
		s.Clock = at
		s.OffSchedule = !s.OffSchedule
		kind := Unsuppressed
		if s.OffSchedule {
			kind = SuppressedEvent
		}
		j.add(Event{At: at, Kind: kind, Before: before, Comment: "schedule"}, none)
	}
}
