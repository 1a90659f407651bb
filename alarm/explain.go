package alarm

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Explanation says why an alarm is in its state, for people (Why) and for programs (the rest).
type Explanation struct {
	At          time.Time `json:"at"`
	RuleVersion int64     `json:"rule_version"`
	State       StateCode `json:"phase"`
	Process     StateCode `json:"process"` // without shelving, suppression and being out of service
	Occurrence  int64     `json:"occurrence"`
	Level       Level     `json:"level,omitempty"`
	Severity    Severity  `json:"severity"`
	Inputs      []Input   `json:"inputs"` // one for each sensor of the rule
	Timers      []Timer   `json:"timers"` // that run, the earliest first
	Why         []string  `json:"why"`    // sentences
}

// Input is the newest reading of a sensor that the rule needs.
type Input struct {
	SensorID int64      `json:"sensor_id"`
	At       *time.Time `json:"at,omitempty"` // nil: there has been no reading
	Value    *float64   `json:"value,omitempty"`
	Quality  Quality    `json:"quality"`
	Compared bool       `json:"compared"` // by its quality and age

	behind time.Duration // how much older it is than the newest of all inputs
	tooOld bool          // it is older than the rule allows
}

// minBehind is how much older than the newest input an input must be to get a sentence.
const minBehind = 5 * time.Minute

// maxAge returns how much older than the newest reading the others may be; 0: any age.
func (r *Rule) maxAge() Duration {
	switch {
	case r.Deviation != nil:
		return r.Deviation.MaxAge
	case r.Expression != nil:
		return r.Expression.MaxAge
	}
	return 0
}

// Timer is a timer that runs. An on-delay that still lacks readings has no Due.
type Timer struct {
	Name    string     `json:"name"` // on_delay, off_delay, no_data, shelf, realarm, schedule
	Level   Level      `json:"level,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	Due     *time.Time `json:"due,omitempty"`
	Samples int        `json:"samples,omitempty"` // in a row, of the on-delay
}

// Explain explains why the alarm is in its state at now.
func Explain(r *Rule, s State, now time.Time) Explanation {
	j := &journal{r: r, s: s}
	e := Explanation{
		At:          now,
		RuleVersion: s.RuleVersion,
		State:       s.Code(),
		Process:     s.ProcessCode(),
		Occurrence:  s.Occurrence,
		Severity:    r.Severity,
		Inputs:      []Input{},
		Timers:      j.timers(),
	}
	if s.Active || s.Latched || s.Unacked {
		e.Level, e.Severity = s.Level, s.Severity
	}
	newest, _ := s.newest()
	for _, id := range r.Sensors() {
		in := Input{SensorID: id}
		if x, seen := s.seen(r, id); seen {
			at := x.At
			in.behind, in.tooOld = newest.At.Sub(at), isTooOld(at, newest.At, r.maxAge())
			in.At, in.Quality, in.Compared = &at, x.Quality, r.comparable(x) && !in.tooOld
			if finite(x.Value) && !x.bad() {
				v := x.Value
				in.Value = &v
			}
		}
		e.Inputs = append(e.Inputs, in)
	}
	e.Why = j.why(&e)
	return e
}

func (j *journal) timers() []Timer {
	r, s := j.r, &j.s
	out := []Timer{}
	add := func(name string, l Level, since, due time.Time, n int) {
		t := Timer{Name: name, Level: l, Samples: n}
		if !since.IsZero() {
			t.Since = &since
		}
		if !due.IsZero() {
			t.Due = &due
		}
		out = append(out, t)
	}
	for i, w := range s.Rise {
		if w.Level != None {
			add("on_delay", w.Level, w.Since, j.riseDue(i), w.Count)
		}
	}
	for i, w := range s.Fall {
		if w.Level != None {
			add("off_delay", w.Level, w.Since, j.fallDue(i), 0)
		}
	}
	if r.Kind == NoData && !s.Active && s.Resting == "" {
		add("no_data", None, s.LastHeard(), s.LastHeard().Add(time.Duration(r.NoDataAfter)), 0)
	}
	if !s.Shelf.Until.IsZero() {
		add("shelf", None, time.Time{}, s.Shelf.Until, 0)
	}
	if due := s.realarmDue(r); !due.IsZero() {
		add("realarm", s.Level, s.AckedAt, due, 0)
	}
	if r.Schedule != nil {
		if due := r.Schedule.next(r.location(), s.Clock); !due.IsZero() {
			add("schedule", None, s.Clock, due, 0)
		}
	}
	slices.SortStableFunc(out, func(a, b Timer) int {
		switch {
		case a.Due == nil && b.Due == nil:
			return 0
		case a.Due == nil:
			return 1
		case b.Due == nil:
			return -1
		}
		return a.Due.Compare(*b.Due)
	})
	return out
}

func (j *journal) why(e *Explanation) []string {
	r, s := j.r, &j.s
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	when := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	level := strings.ReplaceAll(string(s.Level), "_", " ")
	switch {
	case s.Active:
		say("Occurrence %d is active at level %s since %s.", s.Occurrence, level, when(s.RaisedAt))
	case s.Latched:
		say("Occurrence %d ended at %s and is latched: it stays until it is reset.", s.Occurrence,
			when(s.ClearedAt))
	case s.Unacked:
		say("Occurrence %d ended at %s and is not acknowledged.", s.Occurrence,
			when(s.ClearedAt))
	case s.Occurrence > 0:
		say("Occurrence %d ended at %s.", s.Occurrence, when(s.ClearedAt))
	default:
		say("There has been no occurrence since the alarm was made.")
	}
	if s.Unacked && s.Active {
		say("It is not acknowledged.")
	} else if s.Active {
		say("It was acknowledged at %s.", when(s.AckedAt))
	}
	if s.OutOfService {
		say("It is out of service.")
	}
	if !s.Shelf.Until.IsZero() {
		say("It is shelved until %s: %s.", when(s.Shelf.Until), s.Shelf.Reason)
	}
	if s.OffSchedule {
		say("It is suppressed, since its schedule is not in force.")
	}
	if s.Resting != "" {
		say("It rests: %s. It is judged again when that is in use.", s.Resting)
	}
	for _, id := range s.Causes {
		say("It is suppressed, since alarm %d stands.", id)
	}
	if s.Fault != "" {
		say("The rule cannot be evaluated: %s.", s.Fault)
	}
	for _, in := range e.Inputs {
		switch {
		case in.At == nil:
			say("No reading of sensor %d is stored.", in.SensorID)
		case in.tooOld:
			say("The newest reading of sensor %d, of %s, is stale: it is %s older than the newest "+
				"of the rule's sensors, and max_age_ms admits %s. Until it sends again the alarm "+
				"stays as it is.",
				in.SensorID, when(*in.At), formatDuration(in.behind.Round(time.Second)),
				formatDuration(time.Duration(r.maxAge())))
		case !in.Compared && r.Kind != BadQuality && r.Kind != NoData:
			say("The newest reading of sensor %d, of %s, is not compared, since its quality is "+
				"not good enough; what it leaves unknown changes nothing.",
				in.SensorID, when(*in.At))
		case in.Value != nil:
			say("The newest reading of sensor %d, of %s, is %s.", in.SensorID, when(*in.At),
				FormatNumber(*in.Value))
			if in.behind > minBehind {
				say("It is %s older than the newest of the rule's sensors, and used all the same, "+
					"since the rule has no max_age_ms that excludes it.",
					formatDuration(in.behind.Round(time.Second)))
			}
		}
	}
	for _, t := range e.Timers {
		switch {
		case t.Name == "on_delay" && t.Due == nil:
			say("Level %s is breached since %s, in %d of %d readings that it takes.",
				strings.ReplaceAll(string(t.Level), "_", " "), when(*t.Since), t.Samples,
				r.MinSamples)
		case t.Name == "on_delay":
			say("Level %s is breached since %s and is raised at %s if that lasts.",
				strings.ReplaceAll(string(t.Level), "_", " "), when(*t.Since), when(*t.Due))
		case t.Name == "off_delay":
			say("Level %s is left since %s and counts as left at %s if that lasts.",
				strings.ReplaceAll(string(t.Level), "_", " "), when(*t.Since), when(*t.Due))
		case t.Name == "no_data":
			say("Silence since %s is raised at %s if it lasts.", when(*t.Since), when(*t.Due))
		}
	}
	return out
}
