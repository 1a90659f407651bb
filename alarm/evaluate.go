package alarm

import "time"

// Evaluate evaluates an alarm at now on its newest readings, after a change other than a reading,
// such as that of its rule. Waits begin again at now on the sensor's clock. why is the comment of
// the events. The caller decides whether the readings are too old. On an error, which the rule
// makes, nothing has changed.
func Evaluate(r *Rule, s State, now time.Time, why string) (State, []Event, error) {
	j := journal{r: r, s: s}
	if err := j.evaluate(now); err != nil {
		return s, nil, err
	}
	for i := range j.events {
		if e := &j.events[i]; e.Comment == "" {
			e.Comment = why
		}
	}
	return j.s, j.events, nil
}

func (j *journal) evaluate(now time.Time) error {
	r, s := j.r, &j.s
	if s.Resting != "" {
		return nil
	}
	s.Rise, s.Fall, s.Window = [2]Wait{}, [2]Wait{}, nil
	if r.Kind == NoData {
		switch silent := !s.LastHeard().Add(time.Duration(r.NoDataAfter)).After(now); {
		case !silent:
			j.updateWaits(None, Sample{At: now, Value: noValue}, now)
		case !s.Active:
			j.raise(Wait{Level: Breach}, now, noValue)
		}
		return nil
	}
	x, seen := s.newest()
	if !seen {
		return nil
	}
	l, ok, err := r.compare(s, x)
	if err != nil || !ok {
		return err
	}
	if s.Fault != "" {
		j.recover(now)
	}
	x.At = now.Add(min(x.Skew, 0)) // on the sensor's clock, as of its readings
	j.updateWaits(l, x, now)
	return nil
}

// newest returns the newest reading of all sensors of the rule.
func (s *State) newest() (x Sample, seen bool) {
	x = s.Last
	for _, o := range s.Others {
		if o.At.After(x.At) {
			x = o
		}
	}
	return x, !x.At.IsZero()
}
