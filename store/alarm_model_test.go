package store_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// TestAlarmEvents_EqualTheSimulation stores a random walk in random batches, each twice and by two
// instances, and holds the journal against the pure rule on what is stored.
func TestAlarmEvents_EqualTheSimulation(t *testing.T) {
	s, db := openRaw(t)
	instances := []*store.Store{s, openOther(t, db)}
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	r := highRule(v.ID)
	r.Limits.HighHigh = &alarm.Limit{Value: 90, Severity: alarm.Critical}
	r.Deadband, r.MinSamples = &alarm.Deadband{Value: 2}, 2
	a := addAlarm(t, s, r)
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for at := 1; at < 600; {
		var rs []store.Reading
		for range 1 + rnd.IntN(20) {
			rs = append(rs, reading(v.ID, at, 70+30*rnd.Float64()))
			at++
		}
		var wg sync.WaitGroup
		for _, s := range instances {
			wg.Go(func() {
				if _, err := s.Write(t.Context(), rs, store.SideWrites{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	var want []string
	ok(t, r.Compile())
	_, n, err := s.Simulate(t.Context(), &r, noon, noon.Add(24*time.Hour),
		func(e alarm.Event) bool {
			want = append(want,
				fmt.Sprintf("%d %s %d %s>%s", a.ID, e.Kind, e.Occurrence, e.Before.Name(),
					e.After.Name()))
			return true
		})
	ok(t, err)
	if n < 599 || len(want) < 10 {
		t.Fatalf("seed %d: %d readings, %d events", seed, n, len(want))
	}
	wantJournal(t, s, want...)
}
