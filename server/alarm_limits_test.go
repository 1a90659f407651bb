package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/gen/api"
)

// soundRules are rules that have every member between them, each far from the limits that members
// set each other.
var soundRules = []string{
	`{"name":"n","kind":"threshold","severity":"major","limits":{"high":{"value":1,` +
		`"severity":"minor"}},
		"deadband":{"value":1,"unit":"absolute"},"on_delay_ms":1,"off_delay_ms":1,
		"min_samples":1,"ignore_uncertain":true,
		"latching":true,"realarm_after_ms":1000,"labels":{"a":"b"},"message":"m",
		"documentation_url":"https://a",
		"schedule":{"zone":"UTC","days":["mon"],"from":"06:00","to":"22:00"},
		"suppressed_by":[1],"recommended_action":"r"}`,
	`{"name":"n","kind":"threshold","severity":"major","limits":{"high_high":{"value":1}}}`,
	`{"name":"n","kind":"threshold","severity":"major","limits":{"low":{"value":1}}}`,
	`{"name":"n","kind":"threshold","severity":"major","limits":{"low_low":{"value":1}}}`,
	`{"name":"n","kind":"outside_range","severity":"major","range":{"low":-1e300,"high":1e300}}`,
	`{"name":"n","kind":"rate","severity":"major","rate":{"limit":1,"per":"hour",` +
		`"window_ms":1000,"direction":"up"}}`,
	`{"name":"n","kind":"deviation","severity":"major","deviation":{"setpoint":1,"limit":1,` +
		`"direction":"up","max_age_ms":1}}`,
	`{"name":"n","kind":"deviation","severity":"major","deviation":{"sensor_id":1,"limit":1}}`,
	`{"name":"n","kind":"no_data","severity":"major","no_data_after_ms":1000}`,
	`{"name":"n","kind":"expression","severity":"major","expression":{"text":"a > 1",` +
		`"inputs":{"a":1},"max_age_ms":1}}`,
}

// inWords are the values that the contract refuses in the description of a member only, and what is
// in that.
var inWords = map[string]struct {
	words string
	holds func(v any) bool
}{
	"realarm_after_ms": {
		"or 1000 to", func(v any) bool { n := v.(float64); return n > 0 && n < 1000 },
	},
}

func TestAlarmRule_LimitsOfContractAreThoseOfCode(t *testing.T) {
	doc, err := api.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	p := limitsProbe{t: t, rule: doc.Components.Schemas["AlarmRule"].Value, met: map[string]bool{}}
	for _, rule := range soundRules {
		p.sound = rule
		p.walk(p.rule, p.parse(), nil)
	}
	p.expectAll(p.rule, nil)
	if p.probes < 1000 {
		t.Errorf("only %d values were tried", p.probes)
	}
}

// limitsProbe holds what the contract accepts against what the code accepts.
type limitsProbe struct {
	t      *testing.T
	rule   *openapi3.Schema
	sound  string // a rule that both accept
	met    map[string]bool
	probes int
}

func (p *limitsProbe) parse() (rule map[string]any) {
	if err := json.Unmarshal([]byte(p.sound), &rule); err != nil {
		p.t.Fatal(err)
	}
	return rule
}

// walk tries values of every member of v.
func (p *limitsProbe) walk(s *openapi3.Schema, v map[string]any, path []string) {
	for name := range v {
		at := append(slices.Clone(path), name)
		member := s.Properties[name].Value
		p.met[strings.Join(at, ".")] = true
		p.try(member, at, nil)
		if sub, ok := v[name].(map[string]any); ok && len(member.Properties) > 0 {
			p.walk(member, sub, at)
			continue
		}
		for _, value := range p.values(member, at) {
			p.try(member, at, value)
		}
	}
}

// try sets the member at path to value, or removes it when that is nil, and compares the verdicts.
func (p *limitsProbe) try(s *openapi3.Schema, path []string, value any) {
	p.probes++
	rule := p.parse()
	in := rule
	for _, name := range path[:len(path)-1] {
		in = in[name].(map[string]any)
	}
	last := path[len(path)-1]
	if in[last] = value; value == nil {
		delete(in, last)
	}
	name := strings.Join(path, ".")
	accepted := p.rule.VisitJSON(rule) == nil
	fault := p.fault(rule, name)
	if w, ok := inWords[name]; ok && value != nil && w.holds(value) {
		text := strings.Join(strings.Fields(s.Description), " ")
		if !strings.Contains(text, w.words) {
			p.t.Errorf("%s: the description has no %q", name, w.words)
		}
		accepted = false
	}
	// the code looks whether it is there
	isID := s.Max != nil && *s.Max == math.MaxInt32
	stricter := !accepted && (value == nil || value == 0.0 || isID) // to the code 0 is absent
	if accepted != (fault == "") && !stricter {
		p.t.Errorf("%s = %.80v: the contract accepts %v, the code says %q", name, value, accepted,
			fault)
	}
}

// fault is what the code says of the member name, but for its belonging to another kind, which
// stands in the table of kinds.
func (p *limitsProbe) fault(rule map[string]any, name string) string {
	text, err := json.Marshal(rule)
	if err != nil {
		p.t.Fatal(err)
	}
	r, err := alarm.ParseRule(text)
	if err != nil {
		return err.Error()
	}
	r.Span = 100
	for _, f := range r.Validate() {
		rest, of := strings.CutPrefix(f.Field, name)
		if of && (rest == "" || rest[0] == '.' || rest[0] == '[') &&
			!strings.Contains(f.Reason, " kind ") {
			return f.Field + " " + f.Reason
		}
	}
	return ""
}

// values are those at the limits of a member and beyond them, and at limits that it might have.
func (p *limitsProbe) values(s *openapi3.Schema, path []string) (out []any) {
	name := strings.Join(path, ".")
	switch {
	case s.Type.Is("integer") || s.Type.Is("number"):
		grid := []float64{
			-1e9, -1, 0, 1, 99, 100, 101, 999, 1000, 1001, 86400000, 604800000, 2592000000,
			31622400000, 1e15,
		}
		if s.Type.Is("integer") && (s.Min == nil || s.Max == nil) {
			p.t.Errorf("%s: an integer has no limits", name)
		}
		for _, limit := range []*float64{s.Min, s.Max} {
			if limit != nil {
				grid = append(grid, *limit-1, *limit, *limit+1)
			}
		}
		for _, n := range grid {
			if s.Type.Is("number") {
				out = append(out, n+0.5)
			}
			out = append(out, n)
		}
	case s.Type.Is("string") && s.Enum != nil:
		out = append(append(out, s.Enum...), "other")
	case s.Type.Is("string"):
		return append(p.texts(s, name), "\x00")
	case s.Type.Is("array"):
		for n := range *s.MaxItems + 2 {
			out = append(out, items(s.Items.Value, int(n)))
		}
		twice := items(s.Items.Value, 1)
		out = append(out, append(twice, twice...))
	case s.Type.Is("object"):
		for n := range *s.MaxProps + 2 {
			out = append(out, p.members(s.AdditionalProperties.Schema.Value, int(n), name))
		}
		for _, text := range p.texts(s.AdditionalProperties.Schema.Value, name) {
			if name == "labels" {
				out = append(out, map[string]any{"a": text})
			}
		}
	}
	return out
}

// texts are texts of so many characters, and blank ones.
func (p *limitsProbe) texts(s *openapi3.Schema, name string) (out []any) {
	if s.Type.Is("string") && s.MaxLength == nil {
		p.t.Errorf("%s: a text has no maxLength", name)
		return nil
	}
	switch name {
	case "schedule.from", "schedule.to":
		return []any{
			"00:00", "23:59", "24:00", "06:60", "6:00", "0600", "06:00:00", "ab:cd", "", " 6:00",
		}
	case "schedule.zone":
		return []any{"Europe/Rome", "UTC", "", strings.Repeat("x", 101)}
	case "documentation_url":
		out = append(out, "", "ftp://a", "a", "HTTP://a")
	case "name", "message", "recommended_action", "labels":
		out = append(out, "", " ", "\u00a0", "\u3000 \u2003", "a b", "\u65e5")
	}
	prefix, pad := "", "x"
	switch name {
	case "documentation_url":
		prefix = "https://"
	case "expression.text":
		prefix, pad = "a > 1", " "
	}
	for _, limit := range []int{20, 50, 100, 200, 254, 500, 1000, 2000, 4000} {
		for _, n := range []int{limit, limit + 1} {
			out = append(out, prefix+strings.Repeat(pad, n-len(prefix)))
		}
	}
	if s.MaxLength != nil {
		out = append(out, prefix+strings.Repeat(pad, int(*s.MaxLength)-len(prefix)))
		out = append(out, prefix+strings.Repeat(pad, int(*s.MaxLength)+1-len(prefix)))
	}
	return out
}

// items are n different ones.
func items(s *openapi3.Schema, n int) []any {
	list := []any{}
	for i := range n {
		if s.Enum != nil {
			list = append(list, s.Enum[i%len(s.Enum)])
		} else {
			list = append(list, float64(i+1))
		}
	}
	return list
}

// members are n different ones; those of an expression are used in no text, so only their number is
// compared.
func (p *limitsProbe) members(s *openapi3.Schema, n int, name string) map[string]any {
	m := map[string]any{}
	for i := range n {
		m[fmt.Sprintf("a%d", i)] = any("x")
		if s.Type.Is("integer") {
			m[fmt.Sprintf("a%d", i)] = float64(i + 1)
		}
	}
	return m
}

// expectAll fails for members of the contract that no sound rule has.
func (p *limitsProbe) expectAll(s *openapi3.Schema, path []string) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		at := append(slices.Clone(path), name)
		if !p.met[strings.Join(at, ".")] {
			if len(at) == 3 && at[0] == "limits" { // severity of the other three
				continue
			}
			p.t.Errorf("%s: no rule of the test has it", strings.Join(at, "."))
		}
		p.expectAll(s.Properties[name].Value, at)
	}
}

func TestAlarmCommands_LimitsOfContractAreThoseOfCode(t *testing.T) {
	doc, err := api.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	r := alarm.Rule{
		Name:     "n",
		Kind:     alarm.Threshold,
		Severity: alarm.Major,
		Limits:   &alarm.Limits{High: &alarm.Limit{Value: 1}},
	}
	now := time.Now()
	for schema, c := range map[string]alarm.Command{
		"AlarmShelveRequest":       {Kind: alarm.Shelve},
		"AlarmOutOfServiceRequest": {Kind: alarm.TakeOut},
		"AlarmCommentRequest":      {Kind: alarm.Remark},
	} {
		for _, comment := range []string{
			"", " ", "\u00a0\u2003", "\u3000\u0085", "a", " a ", strings.Repeat("\u65e5", 1000),
			strings.Repeat("\u65e5", 1001),
		} {
			for _, seconds := range []int{0, 1, 28800, 28801} {
				c.Comment, c.Until = comment, now.Add(time.Duration(seconds)*time.Second)
				body := map[string]any{"comment": comment}
				if c.Kind == alarm.Shelve {
					body["duration_seconds"] = float64(seconds)
				}
				_, _, err := alarm.Apply(&r, alarm.New(&r, now), c, now)
				accepted := doc.Components.Schemas[schema].Value.VisitJSON(body) == nil
				if accepted != (err == nil) {
					t.Errorf("%s %q, %d s: the contract accepts %v, the code says %v", schema,
						comment, seconds, accepted, err)
				}
			}
		}
		if !slices.Contains(doc.Components.Schemas[schema].Value.Required, "comment") {
			t.Errorf("%s does not require a comment", schema)
		}
	}
}
