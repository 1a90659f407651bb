package alarm

import "time"

// Evaluate judges an alarm at now on the newest reading that it has seen, after something other
// than a reading has changed, such as its rule. Waits begin again at now by the sensor's clock. why
// is the comment of the events. Whether the reading is too old to be judged is the caller's to
// decide. On an error, which is of the rule, nothing has changed.
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
		switch silent := !s.Heard().Add(time.Duration(r.NoDataAfter)).After(now); {
		case !silent:
			j.settle(None, Sample{At: now, Value: none}, now)
		case !s.Active:
			j.raise(Wait{Level: Breach}, now, none)
		}
		return nil
	}
	x, seen := s.newest()
	if !seen {
		return nil
	}
	l, ok, err := r.judge(s, x)
	if err != nil || !ok {
		return err
	}
	if s.Fault != "" {
		j.recover(now)
	}
	x.At = now.Add(min(x.Skew, 0)) // as the sensor's clock has it, which readings follow
	j.settle(l, x, now)
	return nil
}

// newest is the newest reading of all sensors of the rule.
func (s *State) newest() (x Sample, seen bool) {
	x = s.Last
	for _, o := range s.Others {
		if o.At.After(x.At) {
			x = o
		}
	}
	return x, !x.At.IsZero()
}
