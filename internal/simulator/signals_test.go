package simulator

import (
	"math"
	"testing"
	"time"
)

var tuesday = time.Date(2026, time.March, 3, 0, 0, 0, 0, time.UTC)

// walk gives f many instants of ten weeks: at an odd step, so that it meets every phase of every
// cycle.
func walk(f func(time.Time)) {
	for t := tuesday; t.Before(tuesday.AddDate(0, 0, 70)); t = t.Add(97*time.Second +
		311*time.Millisecond) {
		f(t)
	}
}

func TestSignals_StayInRangeAndMove(t *testing.T) {
	for _, s := range append(sensors(1, len(kinds)), sensors(99, 2*len(kinds))...) {
		t.Run(s.key, func(t *testing.T) {
			least, most := math.Inf(1), math.Inf(-1)
			walk(func(at time.Time) {
				v := s.kind.value(s, seconds(at))
				least, most = min(least, v), max(most, v)
			})
			if !(least >= s.kind.min && most <= s.kind.max) {
				t.Errorf("got values from %v to %v, want them in %v to %v", least, most, s.kind.min,
					s.kind.max)
			}
			if most-least < 1 {
				t.Errorf("got values from %v to %v only, want it to move", least, most)
			}
		})
	}
}

func TestSignals_DependOnTheSeedOnly(t *testing.T) {
	a, again, other := sensors(7, len(kinds)), sensors(7, len(kinds)), sensors(8, len(kinds))
	for i := range a {
		at := tuesday.Add(5 * time.Hour)
		v := a[i].kind.value(a[i], seconds(at))
		if got := again[i].kind.value(again[i], seconds(at)); got != v {
			t.Errorf("%s: got %v from the same seed, want %v", a[i].key, got, v)
		}
		if got := other[i].kind.value(other[i], seconds(at)); got == v {
			t.Errorf("%s: got %v from another seed too", a[i].key, got)
		}
	}
}

func TestSensors_HaveUniqueKeys(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sensors(1, 100) {
		if seen[s.key] {
			t.Errorf("%s: twice", s.key)
		}
		seen[s.key] = true
	}
}

func TestEnergy_NeverFalls(t *testing.T) {
	meter := sensors(3, len(kinds))[len(kinds)-1]
	last := 0.0
	walk(func(at time.Time) {
		v := meter.kind.value(meter, seconds(at))
		if v < last {
			t.Fatalf("%v: got %v after %v", at, v, last)
		}
		last = v
	})
}

func TestFaults_AreRareAndMarked(t *testing.T) {
	count := map[string]int{}
	samples := 0
	for _, s := range sensors(5, len(kinds)) {
		walk(func(at time.Time) {
			got := s.at(at)
			if got.Value == nil && got.Quality != "bad" {
				t.Fatalf("no value has quality %s, want bad", got.Quality)
			}
			if got.Value == nil {
				count["none"]++
			}
			count[got.Quality]++
			samples++
		})
	}
	for what, share := range map[string]float64{
		"none": noValue, "bad": noValue + badValue, "uncertain": uncertainValue,
	} {
		got := float64(count[what]) / float64(samples)
		if got < share/2 || got > share*2 {
			t.Errorf("%s: got a share of %.4f, want about %.4f", what, got, share)
		}
	}
}

func TestSample_IsRoundedWithMicroseconds(t *testing.T) {
	s := sensors(1, 1)[0]
	at := time.Date(2026, 3, 3, 4, 5, 6, 789_000_000, time.FixedZone("CET", 3600))
	got := s.at(at)
	if want := "2026-03-03T03:05:06.789000Z"; got.Timestamp != want {
		t.Errorf("got timestamp %s, want %s", got.Timestamp, want)
	}
	if scaled := *got.Value * 100; math.Abs(scaled-math.Round(scaled)) > 1e-6 {
		t.Errorf("got %v, want two digits after the point", *got.Value)
	}
}
