package alarm

import (
	"slices"
	"time"
)

// Severity is how serious an alarm is.
type Severity string

// The severities, worst first.
const (
	Critical Severity = "critical"
	Major    Severity = "major"
	Minor    Severity = "minor"
	Warning  Severity = "warning"
)

// Rank is higher for worse severities; 0 for none.
func (s Severity) Rank() int {
	switch s {
	case Critical:
		return 4
	case Major:
		return 3
	case Minor:
		return 2
	case Warning:
		return 1
	}
	return 0
}

// Level is the limit that is breached; Breach for rules with a single limit.
type Level string

// The levels.
const (
	None     Level = ""
	Breach   Level = "breach"
	HighHigh Level = "high_high"
	High     Level = "high"
	Low      Level = "low"
	LowLow   Level = "low_low"
)

// depth returns how far out a level is, negative on the low side.
func (l Level) depth() int {
	switch l {
	case HighHigh:
		return 2
	case High, Breach:
		return 1
	case Low:
		return -1
	case LowLow:
		return -2
	}
	return 0
}

// beyond reports whether l is further out than m on the same side.
func (l Level) beyond(m Level) bool {
	a, b := l.depth(), m.depth()
	return a*b > 0 && max(a, -a) > max(b, -b)
}

// Quality of a value.
type Quality uint8

// The qualities.
const (
	Good Quality = iota
	Uncertain
	Bad
)

// Sample is a reading at its effective time, the earlier of its timestamp and its receipt. A Value
// of NaN is of bad quality, regardless of Quality.
type Sample struct {
	SensorID int64     `json:"sensor_id"`
	At       time.Time `json:"at"`
	// timestamp minus receipt; also 0 when the receipt is unknown
	Skew time.Duration `json:"skew,omitempty"`
	// how much longer than this one other readings of the sensor may take to arrive
	Spread  time.Duration `json:"spread,omitempty"`
	Value   float64       `json:"value"`
	Quality Quality       `json:"quality,omitempty"`
}

// Received returns when s was received, as far as that is known.
func (s Sample) Received() time.Time { return s.At.Add(max(-s.Skew, 0)) }

// lag returns how long after an instant all readings until then have arrived, judging by the newest
// reading s.
func (s Sample) lag() time.Duration { return max(-s.Skew, 0) + s.Spread }

// after reports whether s follows y, a reading of the same sensor. Of two readings with timestamps
// ahead of their common receipt, the one with the later timestamp follows.
func (s Sample) after(y Sample) bool {
	return s.At.After(y.At) || max(s.Skew, 0) > max(y.Skew, 0) && s.At.Equal(y.At)
}

func (s Sample) bad() bool { return s.Quality >= Bad || !finite(s.Value) }

// RatePoint is a value of a rate's window.
type RatePoint struct {
	At    time.Time `json:"at"`
	Value float64   `json:"value"`
}

// Wait is a running delay of a limit: of its breach, or of leaving it. The zero Wait is none.
type Wait struct {
	Level Level     `json:"level,omitempty"`
	Since time.Time `json:"since,omitzero"`
	Count int       `json:"count,omitempty"` // readings in a row that said so, at most maxSamples
}

func same(a, b [2]Wait) bool {
	for i := range a {
		if a[i].Level != b[i].Level || !a[i].Since.Equal(b[i].Since) || a[i].Count != b[i].Count {
			return false
		}
	}
	return true
}

// ReadingID names a stored reading.
type ReadingID struct {
	SensorID  int64     `json:"sensor_id"`
	Timestamp time.Time `json:"timestamp"`
}

// id returns the stored reading that s was made of.
func (s Sample) id() ReadingID { return ReadingID{s.SensorID, s.At.Add(max(s.Skew, 0))} }

// Shelf says until when and why an alarm is shelved. The zero Shelf is none.
type Shelf struct {
	Until   time.Time `json:"until,omitzero"`
	OneShot bool      `json:"one_shot,omitempty"` // ends also when the alarm clears
	By      string    `json:"by,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

func (s Shelf) equal(t Shelf) bool {
	return s.Until.Equal(t.Until) && s.OneShot == t.OneShot && s.By == t.By && s.Reason == t.Reason
}

// State is the state of an alarm. It is a value: functions return a new one and leave the old one
// as it was. It is stored as JSON; members that Changed ignores need not be stored (see
// WithNewest).
type State struct {
	// counts the changes that made an event other than a comment; commands name it
	Version     int64 `json:"version"`
	RuleVersion int64 `json:"rule_version"` // of the rule that it was made by
	Occurrence  int64 `json:"occurrence"`   // number of the newest occurrence; 0 before the first

	Active  bool `json:"active,omitempty"`  // the condition is true
	Unacked bool `json:"unacked,omitempty"` // not acknowledged yet
	// the condition is false, and it waits for a reset
	Latched  bool     `json:"latched,omitempty"`
	Level    Level    `json:"level,omitempty"`    // of the occurrence
	Severity Severity `json:"severity,omitempty"` // of the occurrence
	Shelf    Shelf    `json:"shelf,omitzero"`     // shelved until
	// suppressed because the schedule is not in force
	OffSchedule bool    `json:"off_schedule,omitempty"`
	Causes      []int64 `json:"causes,omitempty"` // suppressed because these alarms stand
	// what is not in use: the alarm is suppressed and not evaluated
	Resting      string `json:"resting,omitempty"`
	OutOfService bool   `json:"out_of_service,omitempty"`
	Fault        string `json:"fault,omitempty"` // why the rule cannot be evaluated

	Began    time.Time `json:"began"`              // when the evaluation of the rule began
	RaisedAt time.Time `json:"raised_at,omitzero"` // of the occurrence
	// the reading that raised or escalated it, or the newest one at the end of a delay; zero:
	// silence
	RaisedBy  ReadingID `json:"raised_by,omitzero"`
	ClearedAt time.Time `json:"cleared_at,omitzero"` // of the occurrence, zero while Active
	// of the newest acknowledgement of the occurrence
	AckedAt time.Time `json:"acked_at,omitzero"`
	// until when the schedule was followed; re-alarms are not due before
	Clock time.Time `json:"clock,omitzero"`

	// limits in breach whose on-delay runs, the inner one first
	Rise [2]Wait `json:"rise,omitzero"`
	// limits that were left and whose off-delay runs, the inner one first
	Fall   [2]Wait     `json:"fall,omitzero"`
	Window []RatePoint `json:"window,omitempty"` // of a rate, oldest first

	Last   Sample   `json:"last,omitzero"`    // newest reading of the rule's sensor
	Others []Sample `json:"others,omitempty"` // newest reading of each other sensor
}

// New returns the state of an alarm whose rule begins at now: normal.
func New(r *Rule, now time.Time) State {
	s := State{RuleVersion: r.Version, Began: now, Clock: now}
	s.OffSchedule = r.Schedule != nil && !r.Schedule.on(r.location(), now)
	return s
}

// WithNewest returns s with x as the newest reading of its sensor, if x is newer. A state that is
// read from the database gets so the newest reading of each sensor of the rule before the next
// Step.
func (s State) WithNewest(r *Rule, x Sample) State {
	if x.SensorID == r.SensorID {
		if x.after(s.Last) {
			s.Last = x
		}
		return s
	}
	for i, o := range s.Others {
		if o.SensorID == x.SensorID {
			if x.after(o) {
				s.Others = slices.Clone(s.Others)
				s.Others[i] = x
			}
			return s
		}
	}
	s.Others = append(slices.Clone(s.Others), x)
	return s
}

// otherClock is how much older than the newest reading of a rule the newest of another sensor may
// be before delays no longer wait for that sensor.
const otherClock = time.Hour

// lag returns how long after its end a delay is known to be over when no reading says so: by then
// the readings of the sensors have arrived.
func (s *State) lag() time.Duration {
	lag := s.Last.lag()
	if len(s.Others) == 0 {
		return lag
	}
	newest, _ := s.newest()
	lag = 0
	for _, x := range append([]Sample{s.Last}, s.Others...) {
		if newest.At.Sub(x.At) <= otherClock {
			lag = max(lag, x.lag())
		}
	}
	return lag
}

// seen returns the newest reading of a sensor.
func (s *State) seen(r *Rule, sensor int64) (Sample, bool) {
	if sensor == r.SensorID {
		return s.Last, !s.Last.At.IsZero()
	}
	for _, o := range s.Others {
		if o.SensorID == sensor {
			return o, true
		}
	}
	return Sample{}, false
}

// Changed reports whether b must be written when a is stored: whether they differ in more than the
// newest readings.
func Changed(a, b *State) bool {
	return a.Version != b.Version || a.RuleVersion != b.RuleVersion ||
		a.Occurrence != b.Occurrence || a.Active != b.Active || a.Unacked != b.Unacked ||
		a.Latched != b.Latched ||
		a.Level != b.Level || a.Severity != b.Severity || !a.Shelf.equal(b.Shelf) ||
		a.OffSchedule != b.OffSchedule || a.Resting != b.Resting ||
		a.OutOfService != b.OutOfService || a.Fault != b.Fault ||
		!slices.Equal(a.Causes, b.Causes) ||
		!a.RaisedAt.Equal(b.RaisedAt) || !a.ClearedAt.Equal(b.ClearedAt) ||
		!a.AckedAt.Equal(b.AckedAt) || !a.Clock.Equal(b.Clock) ||
		!same(a.Rise, b.Rise) || !same(a.Fall, b.Fall) ||
		!slices.EqualFunc(a.Window, b.Window,
			func(p, q RatePoint) bool { return p.At.Equal(q.At) && p.Value == q.Value })
}

// StateCode is the code of a state in the life cycle of ISA-18.2: A…I.
type StateCode string

// The states.
const (
	Normal         StateCode = "A"
	ActiveUnacked  StateCode = "B"
	ActiveAcked    StateCode = "C"
	Returned       StateCode = "D" // unacknowledged
	LatchedUnacked StateCode = "E"
	LatchedAcked   StateCode = "F"
	Shelved        StateCode = "G"
	Suppressed     StateCode = "H"
	OutOfService   StateCode = "I"
)

var stateNames = map[StateCode]string{
	Normal:         "normal",
	ActiveUnacked:  "active_unacknowledged",
	ActiveAcked:    "active_acknowledged",
	Returned:       "returned_unacknowledged",
	LatchedUnacked: "latched_unacknowledged",
	LatchedAcked:   "latched_acknowledged",
	Shelved:        "shelved",
	Suppressed:     "suppressed",
	OutOfService:   "out_of_service",
}

// Name returns the state in words: normal, active_unacknowledged, …
func (c StateCode) Name() string { return stateNames[c] }

// Code returns the alarm's state.
func (s *State) Code() StateCode {
	switch {
	case s.OutOfService:
		return OutOfService
	case !s.Shelf.Until.IsZero():
		return Shelved
	case s.OffSchedule || s.Resting != "" || len(s.Causes) > 0:
		return Suppressed
	}
	return s.ProcessCode()
}

// ProcessCode returns the state without regard to shelving, suppression and out of service: A…F.
func (s *State) ProcessCode() StateCode {
	switch {
	case s.Active && s.Unacked:
		return ActiveUnacked
	case s.Active:
		return ActiveAcked
	case s.Latched && s.Unacked:
		return LatchedUnacked
	case s.Latched:
		return LatchedAcked
	case s.Unacked:
		return Returned
	}
	return Normal
}

// IsCause reports whether the alarm now suppresses those that name it in SuppressedBy.
func (s *State) IsCause() bool {
	return (s.Active || s.Latched) && !s.OffSchedule && s.Resting == "" && len(s.Causes) == 0 &&
		!s.OutOfService
}
