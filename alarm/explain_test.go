package alarm

import (
	"strings"
	"testing"
	"time"
)

func TestExplain_NamesStaleInputs(t *testing.T) {
	expression := func(age Duration) Rule {
		return Rule{
			Kind: Expressed,
			Expression: &Expression{
				Text:   "a > b",
				Inputs: map[string]int64{"a": 7, "b": 8},
				MaxAge: age,
			},
		}
	}
	deviation := func(age Duration) Rule {
		return Rule{Kind: Deviates, Deviation: &Deviation{SensorID: 8, Limit: 1, MaxAge: age}}
	}
	const excluded = "The newest reading of sensor 8, of 2026-03-02T00:00:00Z, is stale: it is " +
		"1h older than the newest of the rule's sensors, " +
		"and max_age_ms admits 10m. Until it sends again the alarm stays as it is."
	const used = "It is 1h older than the newest of the rule's sensors, and used all the same, " +
		"since the rule has no max_age_ms that excludes it."
	for name, c := range map[string]struct {
		rule     Rule
		want     string
		compared bool
	}{
		"expression, too old": {expression(Duration(10 * time.Minute)), excluded, false},
		"expression, any age": {expression(0), used, true},
		"deviation, too old":  {deviation(Duration(10 * time.Minute)), excluded, false},
		"deviation, any age":  {deviation(0), used, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := sound(t, c.rule)
			s := New(r, epoch)
			for _, x := range []Sample{
				{SensorID: 8, At: minute(0), Value: 5}, {SensorID: 7, At: minute(60), Value: 9},
			} {
				var err error
				if s, _, err = Step(r, s, x, x.At); err != nil {
					t.Fatal(err)
				}
			}
			e := Explain(r, s, minute(61))
			if got := strings.Join(e.Why, " "); !strings.Contains(got, c.want) {
				t.Errorf("got %s", got)
			}
			if in := e.Inputs[1]; in.SensorID != 8 || in.Compared != c.compared {
				t.Errorf("input: got %+v", in)
			}
		})
	}
}
