package alarm

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestApply_RefusesCommands(t *testing.T) {
	r := sound(t, with(high(80), func(r *Rule) { r.Latching = true }))
	at := func(value ...float64) State {
		s := New(r, epoch)
		for i, v := range value {
			s, _, _ = Step(r, s, Sample{SensorID: 7, At: minute(float64(i)), Value: v},
				minute(float64(i)))
		}
		return s
	}
	tests := map[string]struct {
		s    State
		c    Command
		want error
	}{
		"an acknowledgement that names no version": {
			at(81), Command{Kind: Acknowledge, Occurrence: 1}, ErrStale,
		},
		"an acknowledgement of another occurrence": {
			at(81, 79, 81), Command{Kind: Acknowledge, Occurrence: 1, StateVersion: 3}, ErrStale,
		},
		"an acknowledgement of before it ended": {
			at(81, 79), Command{Kind: Acknowledge, Occurrence: 1, StateVersion: 1}, ErrStale,
		},
		"an acknowledgement of nothing": {
			at(79), Command{Kind: Acknowledge, StateVersion: 0}, ErrStale,
		},
		"a reset of an alarm whose trouble is there": {
			at(81), Command{Kind: ResetLatch}, ErrNotAllowed,
		},
		"shelving without a reason": {
			at(81), Command{Kind: Shelve, Until: minute(70)}, ErrInvalid,
		},
		"shelving for longer than eight hours": {
			at(81), Command{Kind: Shelve, Until: minute(60 + 8*60 + 1), Comment: "x"}, ErrInvalid,
		},
		"shelving until the past": {
			at(81), Command{Kind: Shelve, Until: minute(59), Comment: "x"}, ErrInvalid,
		},
		"one-shot shelving of what is normal": {
			at(79), Command{Kind: Shelve, OneShot: true, Comment: "x"}, ErrNotAllowed,
		},
		"unshelving what is not shelved": {
			at(81), Command{Kind: Unshelve}, ErrNotAllowed,
		},
		"returning to service what is in service": {
			at(81), Command{Kind: ReturnToService}, ErrNotAllowed,
		},
		"taking out of service without a reason": {at(81), Command{Kind: TakeOut}, ErrInvalid},
		"an empty comment": {
			at(81), Command{Kind: Remark, Comment: " "}, ErrInvalid,
		},
		"a comment that is too long": {
			at(81), Command{Kind: Remark, Comment: strings.Repeat("x", 1001)}, ErrInvalid,
		},
		"a comment with NUL": {
			at(81), Command{Kind: Remark, Comment: "x\x00"}, ErrInvalid,
		},
		"an unknown command": {at(81), Command{Kind: "explode"}, ErrInvalid},
		"a reset that saw another version": {
			at(81, 79), Command{Kind: ResetLatch, StateVersion: 1}, ErrStale,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, es, err := Apply(r, test.s, test.c, minute(60))
			if !errors.Is(err, test.want) || len(es) > 0 || Changed(&s, &test.s) {
				t.Errorf("got %v, %v want %v", es, err, test.want)
			}
		})
	}
}

func TestSuppression_LastsWhileTheCauseStands(t *testing.T) {
	r := sound(t, with(high(80), func(r *Rule) { r.SuppressedBy = []int64{2, 3} }))
	s := New(r, epoch)
	var log []string
	apply := func(k CommandKind, cause int64) {
		var es []Event
		var err error
		if s, es, err = Apply(r, s, Command{Kind: k, Cause: cause}, minute(1)); err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			log = append(log, string(e.Kind)+":"+string(e.After))
		}
	}
	apply(Suppress, 2)
	apply(Suppress, 2)
	apply(Suppress, 3)
	s, es, _ := Step(r, s, Sample{SensorID: 7, At: minute(2), Value: 81}, minute(2))
	if len(es) != 1 || !es[0].Quiet || s.IsCause() {
		t.Errorf("raised while suppressed: %v", es)
	}
	apply(Unsuppress, 2)
	apply(Unsuppress, 2)
	apply(Unsuppress, 3)
	if got, want := strings.Join(log, " "), "suppressed:H suppressed:H unsuppressed:H "+
		"unsuppressed:B"; got != want || !s.IsCause() {
		t.Errorf("got %s want %s", got, want)
	}
}

func TestFollowRule_TakesEffectWithTheNextReading(t *testing.T) {
	r := sound(t, high(80))
	s := New(r, epoch)
	s, _, _ = Step(r, s, Sample{SensorID: 7, At: minute(1), Value: 81}, minute(1))
	next := high(90)
	next.Latching = true
	r = sound(t, next)
	r.Version = 2
	s, es, err := Apply(r, s, Command{Kind: FollowRule, User: "eve"}, minute(2))
	if err != nil || len(es) != 1 || es[0].Kind != RuleChanged || es[0].RuleVersion != 2 ||
		s.Code() != ActiveUnacked {
		t.Fatalf("%v, %v, in %s", es, err, s.Code())
	}
	if s, es, err = Step(r, s, Sample{SensorID: 7, At: minute(3), Value: 85},
		minute(3)); err != nil || len(es) != 1 || s.Code() != LatchedUnacked {
		t.Errorf("%v, %v, in %s", es, err, s.Code())
	}
}

func TestExplain_ListsTimers(t *testing.T) {
	r := sound(t, with(high(80), func(r *Rule) { r.OnDelay = 5 * mins }))
	s := New(r, epoch)
	s, _, _ = Step(r, s, Sample{SensorID: 7, At: minute(1), Value: 81}, minute(1))
	e := Explain(r, s, minute(2))
	if len(e.Timers) != 1 || e.Timers[0].Name != "on_delay" || !e.Timers[0].Due.Equal(minute(6)) ||
		*e.Inputs[0].Value != 81 || e.State != Normal {
		t.Errorf("got %+v", e)
	}
	if got, want := e.Why[len(e.Why)-1], "Level high is breached since 2026-03-02T00:01:00Z and "+
		"is raised at 2026-03-02T00:06:00Z if that lasts."; got != want {
		t.Errorf("got %q want %q", got, want)
	}
	if e = Explain(r, New(r, epoch), epoch); e.Why[1] != "No reading of sensor 7 is stored." {
		t.Errorf("got %q", e.Why)
	}
}

func TestKPI(t *testing.T) {
	k := NewKPI(epoch, minute(60), EEMUA191)
	k.Standing(99, epoch.Add(-30*time.Hour), time.Time{})
	for i := range 12 { // a flood of one chattering alarm within a minute
		at := minute(20).Add(time.Duration(i) * 5 * time.Second)
		k.Add(1, Event{At: at, Kind: Raised, Severity: Major})
		k.Add(1, Event{At: at.Add(time.Second), Kind: Cleared})
	}
	for i := range 6 {
		k.Add(int64(10+i), Event{At: minute(31), Kind: Raised, Severity: Minor})
		k.Add(int64(10+i), Event{At: minute(31 + float64(i)), Kind: Acknowledged})
	}
	k.Add(2, Event{At: minute(45), Kind: Raised, Quiet: true})
	k.Add(2, Event{At: minute(61), Kind: Raised})
	got := k.Result()
	if got.Alarms != 18 || got.Average != 3 || got.Peak != 12 || got.BySeverity[Minor] != 6 ||
		got.BySeverity[Major] != 12 {
		t.Errorf("rate: %+v", got)
	}
	if len(got.Floods) != 1 || !got.Floods[0].From.Equal(minute(20)) ||
		!got.Floods[0].To.Equal(minute(40)) || got.Floods[0].Alarms != 18 {
		t.Errorf("floods: %+v", got.Floods)
	}
	if got.ChatteringAlarms != 1 || got.Chattering[0] != (Count{1, 10}) ||
		got.TopTen[0] != (Count{1, 12}) {
		t.Errorf("chattering %v, top %v", got.Chattering, got.TopTen)
	}
	if got.StaleAlarms != 1 || got.Stale[0].AlarmID != 99 || got.Acknowledged != 6 ||
		got.MeanTimeToAck != 150*time.Second {
		t.Errorf("stale %v, acknowledged %d after %s", got.Stale, got.Acknowledged,
			got.MeanTimeToAck)
	}
	if s := strings.Join(got.Missed, " "); s != "average_per_10_min peak_per_10_min flood_share "+
		"chattering top_ten_share" {
		t.Errorf("missed %s", s)
	}
}
