package alarm

import (
	"math"
	"slices"
	"time"
)

// Severity is how bad it is.
type Severity string

// The severities, worst first.
const (
	Critical Severity = "critical"
	Major    Severity = "major"
	Minor    Severity = "minor"
	Warning  Severity = "warning"
)

// Rank is higher the worse it is; 0 is no severity.
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

// Level is which limit is breached: Breach for rules that have only one.
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

// depth is how far out a level is, below zero on the low side.
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

// beyond says whether l is further out than m on the same side.
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

// Sample is one reading at its effective time, the earlier of its timestamp and its receipt. A
// Value that is NaN is of bad quality whatever Quality says.
type Sample struct {
	SensorID int64     `json:"sensor_id"`
	At       time.Time `json:"at"`
	// its timestamp less its receipt; 0 also where the receipt is not known
	Skew time.Duration `json:"skew,omitempty"`
	// how much longer than this one the sensor's readings may take to arrive
	Spread  time.Duration `json:"spread,omitempty"`
	Value   float64       `json:"value"`
	Quality Quality       `json:"quality,omitempty"`
}

// Received is when s was received, as far as that is known.
func (s Sample) Received() time.Time { return s.At.Add(max(-s.Skew, 0)) }

// lag is how long after an instant all that was measured until then has arrived, going by the
// newest reading s.
func (s Sample) lag() time.Duration { return max(-s.Skew, 0) + s.Spread }

// after reports whether s follows y, a reading of the same sensor: of two that were stamped ahead
// and received together, the one with the later timestamp.
func (s Sample) after(y Sample) bool {
	return s.At.After(y.At) || max(s.Skew, 0) > max(y.Skew, 0) && s.At.Equal(y.At)
}

func (s Sample) bad() bool {
	return s.Quality >= Bad || math.IsNaN(s.Value) || math.IsInf(s.Value,
		0)
}

// RatePoint is a value of a rate's window.
type RatePoint struct {
	At    time.Time `json:"at"`
	Value float64   `json:"value"`
}

// Wait is a limit whose breach, or whose end, has to last before it counts. The zero Wait is none.
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

// id is the reading that x was made of.
func (s Sample) id() ReadingID { return ReadingID{s.SensorID, s.At.Add(max(s.Skew, 0))} }

// Shelf is an alarm's being put aside. The zero Shelf is none.
type Shelf struct {
	Until   time.Time `json:"until,omitzero"`
	OneShot bool      `json:"one_shot,omitempty"` // ends also when the alarm clears
	By      string    `json:"by,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

func (s Shelf) equal(t Shelf) bool {
	return s.Until.Equal(t.Until) && s.OneShot == t.OneShot && s.By == t.By && s.Reason == t.Reason
}

// State is all that is known of one alarm between two readings. It is a value: functions return a
// new one and leave the old as it was. It is kept as JSON; what Changed does not look at need not
// be kept (see WithNewest).
type State struct {
	// counts changes that made an event, comments aside: what a command names
	Version     int64 `json:"version"`
	RuleVersion int64 `json:"rule_version"` // of the definition it follows
	Occurrence  int64 `json:"occurrence"`   // number of the newest one; 0 before the first

	Active      bool     `json:"active,omitempty"`       // the trouble is there
	Unacked     bool     `json:"unacked,omitempty"`      // nobody has acknowledged it
	Latched     bool     `json:"latched,omitempty"`      // it has gone and waits for a reset
	Level       Level    `json:"level,omitempty"`        // of the occurrence
	Severity    Severity `json:"severity,omitempty"`     // of the occurrence
	Shelf       Shelf    `json:"shelf,omitzero"`         // shelved until
	OffSchedule bool     `json:"off_schedule,omitempty"` // suppressed since the schedule says so
	Causes      []int64  `json:"causes,omitempty"`       // suppressed since these alarms stand
	// suppressed and not judged, since what this names is not in use
	Resting      string `json:"resting,omitempty"`
	OutOfService bool   `json:"out_of_service,omitempty"`
	Fault        string `json:"fault,omitempty"` // why the rule cannot be evaluated

	Began    time.Time `json:"began"`              // when the rule began to be watched
	RaisedAt time.Time `json:"raised_at,omitzero"` // of the occurrence
	// the reading that raised or escalated it, or the newest when a delay did; zero: silence did
	RaisedBy  ReadingID `json:"raised_by,omitzero"`
	ClearedAt time.Time `json:"cleared_at,omitzero"` // of the occurrence, zero while Active
	// of the newest acknowledgement of the occurrence
	AckedAt time.Time `json:"acked_at,omitzero"`
	// how far the schedule has been followed; reminders are not due before
	Clock time.Time `json:"clock,omitzero"`

	// limits breached that wait for the on-delay, the nearer first
	Rise [2]Wait `json:"rise,omitzero"`
	// limits left that wait for the off-delay, the nearer first
	Fall   [2]Wait     `json:"fall,omitzero"`
	Window []RatePoint `json:"window,omitempty"` // of a rate, oldest first

	Last   Sample   `json:"last,omitzero"`    // newest reading of the rule's sensor
	Others []Sample `json:"others,omitempty"` // newest reading of each other sensor
}

// New is the state of an alarm whose rule begins at now: normal, until readings or silence say
// otherwise.
func New(r *Rule, now time.Time) State {
	s := State{RuleVersion: r.Version, Began: now, Clock: now}
	s.OffSchedule = r.Schedule != nil && !r.Schedule.on(r.location(), now)
	return s
}

// WithNewest is the state with x as the newest reading of its sensor, when it is, and nothing else
// changed. Whoever loads a state calls it with the newest reading before those that are stepped,
// for each sensor of the rule.
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

// otherClock is how much older than the newest reading of a rule another sensor's is before that
// sensor is not waited for.
const otherClock = time.Hour

// lag is how long after its end a delay is known to be over when no reading says so: by then the
// sensors' readings have arrived.
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

// seen is the newest reading of a sensor.
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

// Changed says whether b must be written when a is what is kept: all but the newest readings
// counts.
func Changed(a, b *State) bool {
	return a.Version != b.Version || a.RuleVersion != b.RuleVersion ||
		a.Occurrence != b.Occurrence ||
		a.Active != b.Active || a.Unacked != b.Unacked || a.Latched != b.Latched ||
		a.Level != b.Level ||
		a.Severity != b.Severity || !a.Shelf.equal(b.Shelf) || a.OffSchedule != b.OffSchedule ||
		a.Resting != b.Resting ||
		a.OutOfService != b.OutOfService ||
		a.Fault != b.Fault || !slices.Equal(a.Causes, b.Causes) ||
		!a.RaisedAt.Equal(b.RaisedAt) || !a.ClearedAt.Equal(b.ClearedAt) ||
		!a.AckedAt.Equal(b.AckedAt) || !a.Clock.Equal(b.Clock) ||
		!same(a.Rise, b.Rise) || !same(a.Fall, b.Fall) ||
		!slices.EqualFunc(a.Window, b.Window,
			func(p, q RatePoint) bool { return p.At.Equal(q.At) && p.Value == q.Value })
}

// StateCode is the letter that ISA-18.2 has for a state of the life cycle: A…I.
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
	Normal: "normal", ActiveUnacked: "active_unacknowledged", ActiveAcked: "active_acknowledged",
	Returned:       "returned_unacknowledged",
	LatchedUnacked: "latched_unacknowledged",
	LatchedAcked:   "latched_acknowledged",
	Shelved:        "shelved", Suppressed: "suppressed", OutOfService: "out_of_service",
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

// IsCause says whether alarms that name this one in SuppressedBy are suppressed now.
func (s *State) IsCause() bool {
	return (s.Active || s.Latched) && !s.OffSchedule && s.Resting == "" && len(s.Causes) == 0 &&
		!s.OutOfService
}
