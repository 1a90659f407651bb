package alarm

import (
	"testing"
	"time"
)

// TestEvaluate_BeginsDelaysByTheSensorsClock changes a rule while a sensor whose clock is slow is
// beyond the limit.
func TestEvaluate_BeginsDelaysByTheSensorsClock(t *testing.T) {
	const slow = 4 * time.Minute
	r := sound(t, with(high(80), func(r *Rule) { r.OnDelay = Duration(10 * time.Second) }))
	reading := func(received float64) Sample {
		at := minute(received).Add(-slow)
		return Sample{SensorID: 7, At: at, Skew: -slow, Value: 90}
	}
	s, _, err := Evaluate(r, New(r, epoch).WithNewest(r, reading(10)), minute(10), "changed")
	if err != nil {
		t.Fatal(err)
	}
	s, es, err := Step(r, s, reading(10.1), minute(10.1))
	if err != nil || len(es) != 0 {
		t.Errorf("after 6 s: got %+v, %v", es, err)
	}
	_, es, err = Step(r, s, reading(10.2), minute(10.2))
	want := minute(10).Add(10*time.Second - slow)
	if err != nil || len(es) != 1 || es[0].Kind != Raised || !es[0].At.Equal(want) {
		t.Errorf("after 12 s: got %+v, %v, want it raised at %v", es, err, want)
	}
	// Without a delay the event is of the change.
	r = sound(t, high(80))
	_, es, err = Evaluate(r, New(r, epoch).WithNewest(r, reading(10)), minute(10), "changed")
	if err != nil || len(es) != 1 || !es[0].At.Equal(minute(10)) {
		t.Errorf("without a delay: got %+v, %v, want it raised at %v", es, err, minute(10))
	}
}
