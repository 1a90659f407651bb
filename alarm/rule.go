// Package alarm evaluates alarm rules and the life cycle of ISA-18.2, as pure functions of a rule,
// a state and a time. It has no clock, does no I/O and stores nothing. store calls it to evaluate
// readings, timers and commands; server calls it for rules.
package alarm

import (
	"encoding/json"
	"time"

	"github.com/expr-lang/expr/vm"
)

// Kind is the kind of condition of a rule.
type Kind string

// The kinds; each but BadQuality requires the member of Rule that is named.
const (
	Threshold    Kind = "threshold"     // Limits
	OutsideRange Kind = "outside_range" // Range
	InsideRange  Kind = "inside_range"  // Range
	RateOfChange Kind = "rate"          // Rate
	Deviates     Kind = "deviation"     // Deviation
	NoData       Kind = "no_data"       // NoDataAfter
	BadQuality   Kind = "bad_quality"
	Expressed    Kind = "expression" // Expression
)

// Rule is the rule of one alarm. The members with a JSON name are stored; its owner fills in the
// others before Compile. A compiled Rule does not change and is safe for concurrent use.
type Rule struct {
	ID       int64 `json:"-"`
	Version  int64 `json:"-"` // of the rule
	SensorID int64 `json:"-"` // whose readings are compared

	Sensor  string  `json:"-"` // name of the sensor, for messages
	Gateway string  `json:"-"` // name of its gateway, for messages
	Unit    string  `json:"-"` // of the sensor's values, for messages
	Span    float64 `json:"-"` // max_value - min_value of the sensor; 0: unknown

	Name      string     `json:"name"`
	Kind      Kind       `json:"kind"`
	Severity  Severity   `json:"severity"`
	Limits    *Limits    `json:"limits,omitempty"`
	Range     *Range     `json:"range,omitempty"`
	Rate      *Rate      `json:"rate,omitempty"`
	Deviation *Deviation `json:"deviation,omitempty"`
	// NoData: how long a silence raises the alarm
	NoDataAfter Duration    `json:"no_data_after_ms,omitempty"`
	Expression  *Expression `json:"expression,omitempty"`

	Deadband *Deadband `json:"deadband,omitempty"`
	// how long a breach must last before the alarm is raised
	OnDelay Duration `json:"on_delay_ms,omitempty"`
	// how long the limit must be left before the alarm clears
	OffDelay Duration `json:"off_delay_ms,omitempty"`
	// how many readings in a row must be in breach; 0 means 1
	MinSamples int `json:"min_samples,omitempty"`
	// whether readings of uncertain quality are not compared
	IgnoreUncertain bool `json:"ignore_uncertain,omitempty"`
	// whether the alarm stays after its breach until it is reset
	Latching bool `json:"latching,omitempty"`
	// how long after its acknowledgement an active alarm becomes unacknowledged again; 0: never
	RealarmAfter Duration `json:"realarm_after_ms,omitempty"`
	// the alarm is suppressed while it is not in force
	Schedule *Schedule `json:"schedule,omitempty"`
	// ids of alarms; while one of them stands, this alarm is suppressed
	SuppressedBy []int64 `json:"suppressed_by,omitempty"`

	Labels            map[string]string `json:"labels,omitempty"`
	Message           string            `json:"message,omitempty"` // template, see Render
	DocumentationURL  string            `json:"documentation_url,omitempty"`
	RecommendedAction string            `json:"recommended_action,omitempty"`

	program *vm.Program
	zone    *time.Location
}

// DropOtherKinds removes the settings that belong to other kinds than r.Kind.
func (r *Rule) DropOtherKinds() {
	if r.Kind != Threshold {
		r.Limits = nil
	}
	if r.Kind != OutsideRange && r.Kind != InsideRange {
		r.Range = nil
	}
	if r.Kind != RateOfChange {
		r.Rate = nil
	}
	if r.Kind != Deviates {
		r.Deviation = nil
	}
	if r.Kind != NoData {
		r.NoDataAfter = 0
	}
	if r.Kind != Expressed {
		r.Expression = nil
	}
}

// Limits are those of a Threshold rule: one alarm, whose level is the outermost limit that the
// value is beyond.
type Limits struct {
	HighHigh *Limit `json:"high_high,omitempty"`
	High     *Limit `json:"high,omitempty"`
	Low      *Limit `json:"low,omitempty"`
	LowLow   *Limit `json:"low_low,omitempty"`
}

// Limit is breached by a value beyond it, not by one equal to it.
type Limit struct {
	Value    float64  `json:"value"`
	Severity Severity `json:"severity,omitempty"` // empty: the rule's
}

// Range is the range from low to high, both included.
type Range struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Direction is the direction in which a change or deviation counts.
type Direction string

// The directions.
const (
	Either Direction = ""
	Up     Direction = "up"
	Down   Direction = "down"
)

// Rate is breached when the value moves by more than Limit per Per, from the newest reading that is
// at least Window older.
type Rate struct {
	Limit     float64   `json:"limit"`
	Per       string    `json:"per"` // second, minute, hour
	Window    Duration  `json:"window_ms"`
	Direction Direction `json:"direction,omitempty"`
}

// Deviation is breached when the value is further than Limit from Setpoint, or from the newest
// value of SensorID.
type Deviation struct {
	Setpoint  *float64  `json:"setpoint,omitempty"`
	SensorID  int64     `json:"sensor_id,omitempty"`
	Limit     float64   `json:"limit"`
	Direction Direction `json:"direction,omitempty"`
	// how much older than the newest value the other may be; 0: any age
	MaxAge Duration `json:"max_age_ms,omitempty"`
}

// Expression is breached when Text is true. Inputs names the sensor of each name in it.
type Expression struct {
	Text   string           `json:"text"`
	Inputs map[string]int64 `json:"inputs"`
	// how much older than the newest input the others may be; 0: any age
	MaxAge Duration `json:"max_age_ms,omitempty"`
}

// Deadband is how far a value must return beyond a limit before the limit counts as left.
type Deadband struct {
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"` // absolute (or empty), percent of the sensor's span
}

// Duration is a number of whole milliseconds in JSON.
type Duration time.Duration

// MarshalJSON writes milliseconds.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).Milliseconds())
}

// UnmarshalJSON reads milliseconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var ms int64
	if err := json.Unmarshal(b, &ms); err != nil {
		return err
	}
	const maxMs = int64(1<<63-1) / int64(time.Millisecond)
	*d = Duration(min(max(ms, -maxMs), maxMs) * int64(time.Millisecond))
	return nil
}

// Sensors returns the sensors whose readings the rule needs, each once, its own first.
func (r *Rule) Sensors() []int64 {
	out := []int64{r.SensorID}
	add := func(id int64) {
		for _, have := range out {
			if have == id {
				return
			}
		}
		out = append(out, id)
	}
	if r.Deviation != nil && r.Deviation.SensorID != 0 {
		add(r.Deviation.SensorID)
	}
	if r.Expression != nil {
		for _, name := range r.Expression.names() {
			add(r.Expression.Inputs[name])
		}
	}
	return out
}

// severity returns the severity at a level.
func (r *Rule) severity(l Level) Severity {
	if lim := r.limit(l); lim != nil && lim.Severity != "" {
		return lim.Severity
	}
	return r.Severity
}

// limit returns the limit of a level; nil when there is none.
func (r *Rule) limit(l Level) *Limit {
	if r.Limits == nil {
		return nil
	}
	switch l {
	case HighHigh:
		return r.Limits.HighHigh
	case High:
		return r.Limits.High
	case Low:
		return r.Limits.Low
	case LowLow:
		return r.Limits.LowLow
	}
	return nil
}
