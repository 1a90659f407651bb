package alarm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Fault is a fault of one field of a rule, which is named as in its JSON, with the remedy.
type Fault struct {
	Field  string
	Reason string
}

// The bounds of a rule.
const (
	maxDelay   = Duration(7 * 24 * time.Hour)
	maxSamples = 1000
	maxLabels  = 32
	maxCauses  = 32
	maxInputs  = 16
)

// ParseRule decodes a rule and refuses unknown members.
func ParseRule(b []byte) (Rule, error) {
	var r Rule
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Rule{}, fmt.Errorf("rule: %w", err)
	}
	if d.More() {
		return Rule{}, errors.New("rule: more than one value")
	}
	return r, nil
}

// Compile validates a rule and makes it ready for use.
func (r *Rule) Compile() error {
	if fs := r.Validate(); len(fs) > 0 {
		return fmt.Errorf("rule: %s: %s", fs[0].Field, fs[0].Reason)
	}
	if r.Schedule != nil {
		r.zone = r.Schedule.location()
	}
	if r.Expression != nil {
		p, err := r.Expression.compile()
		if err != nil {
			return fmt.Errorf("rule: expression: %w", err)
		}
		r.program = p
	}
	return nil
}

type faults []Fault

func (fs *faults) add(bad bool, field, reason string) {
	if bad {
		*fs = append(*fs, Fault{field, reason})
	}
}

func (fs *faults) text(field, s string, maxLength int) {
	fs.add(!utf8.ValidString(s) || strings.ContainsRune(s, 0), field, "must be text without NUL")
	fs.add(utf8.RuneCountInString(s) > maxLength, field,
		fmt.Sprintf("must have at most %d characters", maxLength))
}

func (fs *faults) delay(field string, d Duration) {
	fs.add(d < 0 || d > maxDelay, field, "must be 0 to 604800000 (7 days)")
}

func (fs *faults) direction(field string, d Direction) {
	fs.add(d != Either && d != Up && d != Down, field, "must be up or down, or absent for either")
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// Validate returns all faults of a rule.
func (r *Rule) Validate() []Fault {
	var fs faults
	fs.add(strings.TrimSpace(r.Name) == "", "name", "must not be empty")
	fs.text("name", r.Name, 100)
	fs.add(r.Severity.Rank() == 0, "severity", "must be critical, major, minor or warning")
	r.parts(&fs)
	r.deadband(&fs)
	fs.delay("on_delay_ms", r.OnDelay)
	fs.delay("off_delay_ms", r.OffDelay)
	fs.delay("realarm_after_ms", r.RealarmAfter)
	fs.add(r.RealarmAfter > 0 && r.RealarmAfter < Duration(time.Second), "realarm_after_ms",
		"must be at least 1000, or 0 for never")
	fs.add(r.MinSamples < 0 || r.MinSamples > maxSamples, "min_samples",
		fmt.Sprintf("must be 0 to %d", maxSamples))
	if r.Kind == NoData {
		fs.add(r.OnDelay != 0, "on_delay_ms",
			"must be absent with no_data: no_data_after_ms is the delay")
		fs.add(r.MinSamples > 1, "min_samples", "must be absent with no_data")
	}
	if r.Schedule != nil {
		r.Schedule.validate(&fs)
	}
	fs.add(len(r.SuppressedBy) > maxCauses, "suppressed_by",
		fmt.Sprintf("must name at most %d alarms", maxCauses))
	for i, id := range r.SuppressedBy {
		field := fmt.Sprintf("suppressed_by[%d]", i)
		fs.add(id <= 0, field, "must be the id of an alarm")
		fs.add(id == r.ID && id > 0, field, "must not be the alarm itself")
		fs.add(slices.Contains(r.SuppressedBy[:i], id), field, "must not be named twice")
	}
	fs.add(len(r.Labels) > maxLabels, "labels", fmt.Sprintf("must be at most %d", maxLabels))
	for k, v := range r.Labels {
		fs.add(!isName(k), "labels",
			"must have names of letters, digits and _, at most 50, not beginning with a digit")
		fs.text("labels", v, 200)
	}
	fs.text("message", r.Message, 500)
	if name, ok := unknownPlaceholder(r.Message); !ok {
		fs.add(true, "message",
			fmt.Sprintf("%.60q is not known: use {name}, {sensor}, {gateway}, {value}, {unit}, "+
				"{limit}, {level}, {severity}, {time} or {label.NAME}", name))
	}
	fs.text("documentation_url", r.DocumentationURL, 500)
	if r.DocumentationURL != "" {
		u, err := url.Parse(r.DocumentationURL)
		fs.add(err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "",
			"documentation_url", "must be an http or https address")
	}
	fs.text("recommended_action", r.RecommendedAction, 2000)
	return fs
}

// parts checks that the rule has the members of its kind, and no others.
func (r *Rule) parts(fs *faults) {
	belongs := func(field string, present, wanted bool) bool {
		fs.add(present && !wanted, field, fmt.Sprintf("does not belong to kind %.20s", r.Kind))
		fs.add(!present && wanted, field, fmt.Sprintf("is required by kind %.20s", r.Kind))
		return present && wanted
	}
	known := []Kind{
		Threshold, OutsideRange, InsideRange, RateOfChange, Deviates, NoData, BadQuality, Expressed,
	}
	if !slices.Contains(known, r.Kind) {
		fs.add(true, "kind",
			"must be threshold, outside_range, inside_range, rate, deviation, no_data, "+
				"bad_quality or expression")
		return
	}
	if belongs("limits", r.Limits != nil, r.Kind == Threshold) {
		r.Limits.validate(fs)
	}
	if belongs("range", r.Range != nil, r.Kind == OutsideRange || r.Kind == InsideRange) {
		fs.add(!finite(r.Range.Low), "range.low", "must be a number")
		fs.add(!finite(r.Range.High), "range.high", "must be a number")
		fs.add(r.Range.Low >= r.Range.High, "range.low", "must be below range.high")
	}
	if belongs("rate", r.Rate != nil, r.Kind == RateOfChange) {
		fs.add(!finite(r.Rate.Limit) || r.Rate.Limit <= 0, "rate.limit", "must be above 0")
		fs.add(r.Rate.per() == 0, "rate.per", "must be second, minute or hour")
		fs.add(r.Rate.Window < Duration(time.Second/10) || r.Rate.Window > Duration(24*time.Hour),
			"rate.window_ms", "must be 100 to 86400000 (a day)")
		fs.direction("rate.direction", r.Rate.Direction)
	}
	if belongs("deviation", r.Deviation != nil, r.Kind == Deviates) {
		r.Deviation.validate(fs, r.SensorID)
	}
	if belongs("no_data_after_ms", r.NoDataAfter != 0, r.Kind == NoData) {
		fs.add(r.NoDataAfter < Duration(time.Second) || r.NoDataAfter > 30*Duration(24*time.Hour),
			"no_data_after_ms", "must be 1000 to 2592000000 (30 days)")
	}
	if belongs("expression", r.Expression != nil, r.Kind == Expressed) {
		r.Expression.validate(fs)
	}
}

func (l *Limits) validate(fs *faults) {
	var before *Limit
	var name string
	for _, x := range []struct {
		name  string
		limit *Limit
	}{
		{"limits.low_low", l.LowLow},
		{"limits.low", l.Low},
		{"limits.high", l.High},
		{"limits.high_high", l.HighHigh},
	} {
		if x.limit == nil {
			continue
		}
		fs.add(!finite(x.limit.Value), x.name+".value", "must be a number")
		fs.add(x.limit.Severity != "" && x.limit.Severity.Rank() == 0, x.name+".severity",
			"must be critical, major, minor or warning")
		fs.add(before != nil && before.Value >= x.limit.Value, x.name+".value",
			fmt.Sprintf("must be above %s", name))
		before, name = x.limit, x.name
	}
	fs.add(before == nil, "limits", "must have at least one of high_high, high, low and low_low")
}

func (d *Deviation) validate(fs *faults, own int64) {
	fs.add(!finite(d.Limit) || d.Limit <= 0, "deviation.limit", "must be above 0")
	fs.add((d.Setpoint == nil) == (d.SensorID == 0), "deviation",
		"must have either setpoint or sensor_id")
	fs.add(d.Setpoint != nil && !finite(*d.Setpoint), "deviation.setpoint", "must be a number")
	fs.add(d.SensorID < 0, "deviation.sensor_id", "must be the id of a sensor")
	fs.add(d.SensorID != 0 && d.SensorID == own, "deviation.sensor_id",
		"must be another sensor than the alarm's own")
	fs.direction("deviation.direction", d.Direction)
	fs.delay("deviation.max_age_ms", d.MaxAge)
}

// deadband checks that the deadband lets a limit be left.
func (r *Rule) deadband(fs *faults) {
	d := r.Deadband
	if d == nil {
		return
	}
	switch r.Kind {
	case NoData, BadQuality, Expressed:
		fs.add(true, "deadband", fmt.Sprintf("does not belong to kind %s", r.Kind))
		return
	}
	fs.add(d.Unit != "" && d.Unit != "absolute" && d.Unit != "percent", "deadband.unit",
		"must be absolute or percent")
	fs.add(!finite(d.Value) || d.Value < 0, "deadband.value", "must be 0 or above")
	fs.add(d.Unit == "percent" && d.Value > 100, "deadband.value", "must be at most 100 percent")
	fs.add(d.Unit == "percent" && !(r.Span > 0), "deadband.unit",
		"must be absolute, since the sensor has no min_value and max_value to take a percentage of")
	room := math.Inf(1)
	within := ""
	switch {
	case r.Limits != nil && r.Limits.high() != nil && r.Limits.low() != nil:
		room, within = r.Limits.high().Value-r.Limits.low().Value, "the distance from low to high"
	case r.Range != nil && r.Kind == OutsideRange:
		room, within = (r.Range.High-r.Range.Low)/2, "half of the range"
	case r.Rate != nil:
		room, within = r.Rate.Limit, "rate.limit"
	case r.Deviation != nil:
		room, within = r.Deviation.Limit, "deviation.limit"
	}
	fs.add(r.band() >= room, "deadband.value",
		"must be smaller than "+within+", or the alarm could never clear")
}

// high returns the inner high limit.
func (l *Limits) high() *Limit {
	if l.High != nil {
		return l.High
	}
	return l.HighHigh
}

// low returns the inner low limit.
func (l *Limits) low() *Limit {
	if l.Low != nil {
		return l.Low
	}
	return l.LowLow
}

// band returns the deadband in the unit of the compared values.
func (r *Rule) band() float64 {
	switch {
	case r.Deadband == nil:
		return 0
	case r.Deadband.Unit == "percent":
		return r.Deadband.Value / 100 * r.Span
	}
	return r.Deadband.Value
}

// isName reports whether s can name a label or an input of an expression.
func isName(s string) bool {
	if s == "" || len(s) > 50 || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for _, c := range []byte(s) {
		if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}
