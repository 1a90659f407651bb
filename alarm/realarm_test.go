package alarm

import (
	"testing"
	"time"
)

// TestRealarm_IsNotDueBeforeAChange has the time since the acknowledgement be over when the alarm
// resumes, or when its rule begins to remind: the reminder is of then, not of the past.
func TestRealarm_IsNotDueBeforeAChange(t *testing.T) {
	hourly := func(r *Rule) { r.RealarmAfter = Duration(time.Hour) }
	for name, test := range map[string]struct {
		first, then func(*Rule)
		commands    map[float64]Command
		want        time.Time
	}{
		"it stands all the time": {first: hourly, want: minute(62)},
		"it rested meanwhile": {first: hourly, want: minute(500), commands: map[float64]Command{
			30: {Kind: Rest, Comment: "sensor 7 is not in use"}, 500: {Kind: Resume},
		}},
		"it rested before that": {first: hourly, want: minute(62), commands: map[float64]Command{
			30: {Kind: Rest, Comment: "sensor 7 is not in use"}, 40: {Kind: Resume},
		}},
		"its rule reminds since later": {
			first: func(*Rule) {}, then: hourly, want: minute(500),
			commands: map[float64]Command{500: {Kind: FollowRule}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := sound(t, with(high(80), test.first))
			s := New(r, epoch)
			apply := func(at float64, c Command) {
				t.Helper()
				var err error
				if s, _, err = Apply(r, s, c, minute(at)); err != nil {
					t.Fatal(err)
				}
			}
			s, _, _ = Step(r, s, Sample{SensorID: 7, At: minute(1), Value: 90}, minute(1))
			apply(2, Command{Kind: Acknowledge, Occurrence: 1, StateVersion: s.Version})
			if test.then != nil {
				r = sound(t, with(high(80), test.then))
			}
			for _, at := range []float64{30, 40, 500} {
				if c, ok := test.commands[at]; ok {
					apply(at, c)
				}
			}
			if due := s.Due(r); !due.Equal(test.want) {
				t.Errorf("due: got %v, want %v", due, test.want)
			}
			_, es, err := Tick(r, s, minute(600))
			if err != nil || len(es) != 1 || es[0].Kind != Reraised || !es[0].At.Equal(test.want) {
				t.Errorf("got %+v, %v, want reraised at %v", es, err, test.want)
			}
		})
	}
}
