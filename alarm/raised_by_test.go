package alarm

import "testing"

// TestRaisedBy_IsTheReadingThatRaised raises an alarm over two sensors by a reading that is not the
// newest of them all.
func TestRaisedBy_IsTheReadingThatRaised(t *testing.T) {
	both := sound(t, with(high(80), func(r *Rule) {
		r.Kind, r.Limits = Expressed, nil
		inputs := map[string]int64{"a": 7, "b": 8}
		r.Expression = &Expression{Text: "a > 80 and b > 80", Inputs: inputs}
	}))
	for name, test := range map[string]struct {
		before, raises Sample
	}{
		"at the same instant": {
			Sample{SensorID: 7, At: minute(1), Value: 90},
			Sample{SensorID: 8, At: minute(1), Value: 90},
		},
		"of a slower clock": {
			Sample{SensorID: 8, At: minute(10), Value: 90},
			Sample{SensorID: 7, At: minute(1), Value: 90},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := Step(both, New(both, epoch), test.before, minute(10))
			s, es, err := Step(both, s, test.raises, minute(10))
			want := ReadingID{test.raises.SensorID, test.raises.At}
			if err != nil || len(es) != 1 || s.RaisedBy != want {
				t.Errorf("got %+v after %v, %v, want %+v", s.RaisedBy, es, err, want)
			}
		})
	}
}
