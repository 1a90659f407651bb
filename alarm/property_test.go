package alarm

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func second(t int) time.Time { return epoch.Add(time.Duration(t) * time.Second) }

// act is one thing that happens in a second.
type act struct {
	T    int
	What string // read, bad, late, tick, ack, reset, shelve, oneshot
	V    float64
}

func drawRule(t *rapid.T) *Rule {
	delay := func(name string) Duration {
		return Duration(rapid.SampledFrom([]int{0, 0, 1, 5, 12}).Draw(t, name)) * Duration(
			time.Second,
		)
	}
	lim := func(v float64, name string) *Limit {
		if rapid.Bool().Draw(t, name) {
			return &Limit{Value: v}
		}
		return nil
	}
	r := &Rule{
		ID: 1, Version: 1, SensorID: 7, Name: "n", Severity: Major, Kind: Threshold,
		Limits: &Limits{
			HighHigh: lim(9, "hh"),
			High:     lim(7, "h"),
			Low:      lim(3, "l"),
			LowLow:   lim(1, "ll"),
		},
		OnDelay:    delay("on"),
		OffDelay:   delay("off"),
		MinSamples: rapid.IntRange(0, 3).Draw(t, "min"),
		Latching:   rapid.Bool().Draw(t, "latching"), RealarmAfter: delay("realarm"),
	}
	if b := rapid.IntRange(0, 3).Draw(t, "band"); b > 0 {
		r.Deadband = &Deadband{Value: float64(b)}
	}
	if r.Limits.high() == nil && r.Limits.low() == nil {
		r.Limits.High = &Limit{Value: 7}
	}
	if err := r.Compile(); err != nil {
		t.Fatal(err)
	}
	return r
}

func drawActs(t *rapid.T, kinds ...string) []act {
	n := rapid.IntRange(0, 60).Draw(t, "n")
	now := 0
	var out []act
	for range n {
		now += rapid.SampledFrom([]int{0, 1, 1, 2, 5, 13}).Draw(t, "dt")
		out = append(out,
			act{
				now, rapid.SampledFrom(kinds).Draw(t, "what"),
				float64(rapid.IntRange(0, 10).Draw(t, "v")),
			})
	}
	return append(out, act{now + 60, "tick", 0})
}

var all = []string{
	"read", "read", "read", "read", "read", "bad", "late", "tick", "ack", "reset", "shelve",
	"oneshot",
}

// do gives one act to the machine; what it refuses changes nothing.
func do(t *rapid.T, r *Rule, s State, a act) (State, []Event) {
	var es []Event
	var err error
	at := second(a.T)
	before := s
	switch a.What {
	case "read", "bad":
		x := Sample{SensorID: 7, At: at, Value: a.V}
		if a.What == "bad" {
			x.Quality = Bad
		}
		s, es, err = Step(r, s, x, at)
		if ChangesNothing(r, &before, x) &&
			(err != nil || len(es) > 0 || Changed(&before, &s) || s.Last != x) {
			t.Fatalf("unmoved by %+v: %+v became %+v, %v, %v", x, before, s, es, err)
		}
	case "late":
		s, _, _ = Tick(r, s, at)
		before = s
		if s.Last.At.IsZero() {
			break
		}
		s, es, err = Step(r, s,
			Sample{SensorID: 7, At: s.Last.At.Add(-time.Duration(a.V) * time.Second), Value: a.V},
			at)
		if len(es) > 0 || Changed(&before, &s) {
			t.Fatal("a late reading changed the state")
		}
	case "tick":
		s, es, err = Tick(r, s, at)
	case "ack":
		s, es, err = Apply(r, s,
			Command{Kind: Acknowledge, Occurrence: s.Occurrence, StateVersion: s.Version}, at)
	case "reset":
		s, es, err = Apply(r, s, Command{Kind: ResetLatch}, at)
	case "shelve":
		s, es, err = Apply(r, s,
			Command{Kind: Shelve, Until: at.Add(20 * time.Second), Comment: "x"}, at)
	case "oneshot":
		s, es, err = Apply(r, s,
			Command{Kind: Shelve, OneShot: true, Until: at.Add(30 * time.Second), Comment: "x"}, at)
	}
	if err != nil && !errors.Is(err, ErrNotAllowed) && !errors.Is(err, ErrStale) {
		t.Fatal(err)
	}
	return s, es
}

func line(e Event) string {
	return fmt.Sprintf("%s %d #%d %s %s", e.Kind, int(e.At.Sub(epoch)/time.Second), e.Occurrence,
		e.Level, e.After)
}

// For any readings and commands, the events are those of the model of relays and panel.
func TestStep_EqualsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		acts := drawActs(t, all...)
		p := newPlant(r)
		s := New(r, epoch)
		var got []string
		now := -1
		for _, a := range acts {
			if a.What == "late" {
				continue
			}
			// An operator acts on what the clock has shown; a reading at the instant when a delay
			// is over comes first.
			clock := second(a.T)
			reads := a.What == "read" || a.What == "bad"
			if reads && now < a.T {
				clock = clock.Add(-1)
			}
			var es []Event
			s, es, _ = Tick(r, s, clock)
			for _, e := range es {
				got = append(got, line(e))
			}
			s, es = do(t, r, s, a)
			for _, e := range es {
				got = append(got, line(e))
			}
			for now < a.T {
				now++
				if now < a.T || !reads {
					p.scan(now)
				} else {
					p.clocks(now)
				}
			}
			switch a.What {
			case "read", "bad":
				p.read(a.T, a.V, a.What == "bad")
			case "ack":
				if p.press("ack") {
					p.acked = a.T
					p.say("acknowledged", a.T)
				}
			case "reset":
				if p.press("reset") {
					p.say("reset", a.T)
				}
			case "shelve":
				p.shelf, p.oneShot = a.T+20, false
				p.say("shelved", a.T)
			case "oneshot":
				if p.code == 'B' || p.code == 'C' {
					p.shelf, p.oneShot = a.T+30, true
					p.say("shelved", a.T)
				}
			}
		}
		if !slices.Equal(got, p.log) {
			for i := range max(len(got), len(p.log)) {
				g, w := "-", "-"
				if i < len(got) {
					g = got[i]
				}
				if i < len(p.log) {
					w = p.log[i]
				}
				if g != w {
					t.Fatalf("event %d: got %q want %q\nrule %+v limits %+v\nacts %v\ngot  "+
						"%q\nwant %q", i, g, w, *r, *r.Limits, acts, got, p.log)
				}
			}
		}
	})
}

// Ticks and restarts at any time (the state encoded as JSON, its newest reading added) and repeated
// readings do not change the events.
func TestStep_IsIndependentOfTicksAndRestarts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		acts := drawActs(t, "read", "read", "read", "bad")
		plain, split := New(r, epoch), New(r, epoch)
		kept := split
		var want, got []Event
		var last Sample
		now := 0
		for _, a := range acts {
			var es []Event
			var err error
			plain, es = do(t, r, plain, a)
			want = append(want, es...)
			for rapid.IntRange(0, 3).Draw(t, "ticks") == 0 && now < a.T {
				now += rapid.IntRange(1, a.T-now).Draw(t, "tick")
				if split, es, err = Tick(r, split, second(now).Add(-1)); err != nil {
					t.Fatal(err)
				}
				got = append(got, es...)
			}
			now = a.T
			if Changed(&kept, &split) {
				kept = split
			}
			if rapid.Bool().Draw(t, "restart") {
				b, err := json.Marshal(kept)
				if err != nil {
					t.Fatal(err)
				}
				split = State{}
				if err := json.Unmarshal(b, &split); err != nil {
					t.Fatal(err)
				}
				if !last.At.IsZero() {
					split = split.WithNewest(r, last)
				}
			}
			split, es = do(t, r, split, a)
			got = append(got, es...)
			if a.What != "tick" && (last.At.IsZero() || second(a.T).After(last.At)) {
				last = Sample{SensorID: 7, At: second(a.T), Value: a.V}
			}
			again, es := do(t, r, split, a)
			if len(es) > 0 || Changed(&split, &again) {
				t.Fatalf("the same again: %v", es)
			}
		}
		if a, b := lines(want), lines(got); !slices.Equal(a, b) {
			t.Fatalf("rule %+v\nacts %v\nwhole %q\nsplit %q", *r, acts, a, b)
		}
	})
}

func lines(es []Event) []string {
	var out []string
	for _, e := range es {
		out = append(out, line(e))
	}
	return out
}

// The events alone give where the alarm is; states join; versions have no gap; shelved is quiet;
// latched goes by reset or a new occurrence only; an acknowledgement is of the newest occurrence;
// silence and bad readings clear nothing that was not leaving.
func TestEvents_DetermineTheState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		s := New(r, epoch)
		after, version, occurrence := Normal, int64(0), int64(0)
		for _, a := range drawActs(t, all...) {
			if a.What == "late" {
				a.What = "tick"
			}
			leaving := s.Fall != [2]Wait{}
			was := s
			var es []Event
			s, es = do(t, r, s, a)
			for _, e := range es {
				if e.Before != after || e.StateVersion != version+1 {
					t.Fatalf("%s v%d: began in %s, the one before ended in %s v%d", line(e),
						e.StateVersion, e.Before, after, version)
				}
				if e.Quiet != (e.After == Shelved) || e.Quiet && e.Notice() {
					t.Fatalf("%s: quiet %v", line(e), e.Quiet)
				}
				if e.Kind == Raised {
					if e.Occurrence != occurrence+1 {
						t.Fatalf("%s after occurrence %d", line(e), occurrence)
					}
					occurrence = e.Occurrence
				}
				if (e.Before == LatchedUnacked || e.Before == LatchedAcked) &&
					(e.After == Normal || e.After == Returned) && e.Kind != Reset {
					t.Fatalf("%s: latched has gone", line(e))
				}
				if e.Kind == Cleared && !leaving && a.What != "read" {
					t.Fatalf("%s by %s", line(e), a.What)
				}
				after, version = e.After, e.StateVersion
			}
			if after != s.Code() || version != s.Version || occurrence != s.Occurrence {
				t.Fatalf("events say %s v%d #%d, state is %s v%d #%d", after, version, occurrence,
					s.Code(), s.Version, s.Occurrence)
			}
			if was.Occurrence > 0 {
				stale := Command{
					Kind:         Acknowledge,
					Occurrence:   was.Occurrence,
					StateVersion: was.Version,
				}
				if was.Version != s.Version {
					if _, _, err := Apply(r, s, stale, second(a.T)); !errors.Is(err, ErrStale) {
						t.Fatalf("an acknowledgement of what was seen before: %v", err)
					}
				}
			}
		}
		if s, _, _ = Tick(r, s, second(1e6)); s.Code() == Shelved {
			t.Fatal("shelved for ever")
		}
	})
}

// A constant breach longer than its on-delay raises once; noise within the deadband then says
// nothing.
func TestStep_ConstantBreachRaisesOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := high(50)
		r.OnDelay = Duration(rapid.IntRange(0, 600).Draw(t, "on")) * Duration(time.Second)
		r.MinSamples = rapid.IntRange(0, 5).Draw(t, "min")
		r.Deadband = &Deadband{Value: rapid.Float64Range(0.5, 20).Draw(t, "band")}
		r.ID, r.SensorID, r.Name, r.Severity = 1, 7, "n", Minor
		if err := r.Compile(); err != nil {
			t.Fatal(err)
		}
		s := New(&r, epoch)
		var log []Event
		now := 0
		step := func(v float64) {
			now += rapid.IntRange(1, 100).Draw(t, "dt")
			var es []Event
			s, es = do(t, &r, s, act{now, "read", v})
			log = append(log, es...)
		}
		for i := 0; i < 6 || now <= 700; i++ {
			step(50 + rapid.Float64Range(0.001, 1e6).Draw(t, "beyond"))
		}
		for range 20 {
			step(50 - r.Deadband.Value*rapid.Float64Range(-1, 0.999).Draw(t, "noise"))
		}
		if len(log) != 1 || log[0].Kind != Raised {
			t.Fatalf("got %q", lines(log))
		}
	})
}

// A simulation tells what live told of the same readings, with the clock ticking live.
func TestSimulate_EqualsLiveEvaluation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		acts := drawActs(t, "read", "read", "bad")
		s := New(r, epoch)
		var live, simulated []Event
		for now, i := 0, 0; now <= acts[len(acts)-1].T; now++ {
			var es []Event
			var err error
			if s, es, err = Tick(r, s, second(now).Add(-1)); err != nil {
				t.Fatal(err)
			}
			live = append(live, es...)
			for ; i < len(acts) && acts[i].T == now; i++ {
				s, es = do(t, r, s, acts[i])
				live = append(live, es...)
			}
		}
		readings := func(yield func(Sample, error) bool) {
			for _, a := range acts[:len(acts)-1] {
				x := Sample{SensorID: 7, At: second(a.T), Value: a.V}
				if a.What == "bad" {
					x.Quality = Bad
				}
				if !yield(x, nil) {
					return
				}
			}
		}
		end, err := Simulate(r, nil, readings, epoch, second(acts[len(acts)-1].T),
			func(e Event) bool {
				simulated = append(simulated, e)
				return true
			})
		if err != nil {
			t.Fatal(err)
		}
		if a, b := lines(live), lines(simulated); !slices.Equal(a, b) {
			t.Fatalf("rule %+v\nacts %v\nlive      %q\nsimulated %q", *r, acts, a, b)
		}
		if Changed(&s, &end) {
			t.Fatalf("live ends in %+v\nsimulated in %+v", s, end)
		}
	})
}

// For any batches and sensor clocks, live evaluation, with the clock ticking between batches, makes
// the events of the simulation. No batch takes longer than the sensor's readings are known to take.
func TestBatches_EqualTheSimulation(t *testing.T) {
	const maxBatch = 20 // seconds of a batch
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		acts := drawActs(t, "read", "read", "read", "bad")
		acts = acts[:len(acts)-1]
		slow := time.Duration(rapid.SampledFrom([]int{0, 0, 2, 120, 1e8}).Draw(t,
			"slow")) * time.Second
		var live, simulated []Event
		var series []Sample
		s := New(r, epoch)
		now := epoch.Add(slow)
		sweep := func(to time.Time) {
			s.Last.Spread = 2*maxBatch*time.Second + time.Second // as the store has it
			for ticks := rapid.IntRange(0, 3).Draw(t, "ticks"); ticks >= 0 &&
				to.After(now); ticks-- {
				if now = now.Add(to.Sub(now) / time.Duration(ticks+1)); !now.Before(to) {
					now = to.Add(-1)
					ticks = 0
				}
				var es []Event
				var err error
				if s, es, err = Tick(r, s, now); err != nil {
					t.Fatal(err)
				}
				live = append(live, es...)
			}
			now = to
		}
		for i := 0; i < len(acts); {
			n := 1
			for end := i + rapid.IntRange(1, 10).Draw(t, "batch"); i+n < min(end, len(acts)) &&
				acts[i+n].T-acts[i].T <= maxBatch; n++ {
			}
			received := second(acts[i+n-1].T).Add(slow)
			sweep(received)
			for _, a := range acts[i : i+n] {
				x := Sample{
					SensorID: 7,
					At:       second(a.T),
					Value:    a.V,
					Skew:     second(a.T).Sub(received),
				}
				if a.What == "bad" {
					x.Quality = Bad
				}
				var es []Event
				var err error
				if s, es, err = Step(r, s, x, received); err != nil {
					t.Fatal(err)
				}
				live = append(live, es...)
				series = append(series, x)
			}
			i += n
		}
		sweep(now.Add(10 * time.Minute))
		readings := func(yield func(Sample, error) bool) {
			for _, x := range series {
				x.Skew = 0 // what is stored does not know it
				if !yield(x, nil) {
					return
				}
			}
		}
		if _, err := Simulate(r, nil, readings, epoch, now, func(e Event) bool {
			simulated = append(simulated, e)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if a, b := lines(live), lines(simulated); !slices.Equal(a, b) {
			t.Fatalf("rule %+v %+v\nslow %v acts %v\nlive      %q\nsimulated %q", *r, *r.Limits,
				slow, acts, a, b)
		}
	})
}
