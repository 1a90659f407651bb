package ingest

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// laneSimulation is a lane in simulated time.
type laneSimulation struct {
	arrivals  []time.Duration // of messages, in order
	onAck     func(at time.Duration, messages int) []time.Duration
	commit    time.Duration // of a transaction
	latencies []time.Duration
	batches   int
	end       time.Duration
}

// run takes messages for a simulated time, as lane.gather does.
func (s *laneSimulation) run(p *pacing, length time.Duration) {
	zero := time.Unix(1e9, 0)
	now := time.Duration(0)
	for len(s.arrivals) > 0 && now < length {
		now = max(now, s.arrivals[0])
		first := s.arrivals[0]
		batch := []time.Duration{}
		take := func() {
			p.arrived(zero.Add(s.arrivals[0]))
			batch, s.arrivals = append(batch, s.arrivals[0]), s.arrivals[1:]
		}
		for len(s.arrivals) > 0 && s.arrivals[0] <= now {
			take()
		}
		if room := p.room(zero.Add(first), zero.Add(now)); room > 0 {
			n, end, silent := len(batch), now+room, now+p.silence()
			for len(s.arrivals) > 0 && s.arrivals[0] < min(end, silent) {
				now = s.arrivals[0]
				take()
				silent = now + p.silence()
			}
			now = min(end, silent)
			p.waited(len(batch) - n)
		}
		now += s.commit
		p.committed(s.commit)
		s.batches++
		for _, at := range batch {
			s.latencies = append(s.latencies, now-at)
		}
		if s.onAck != nil {
			s.arrivals = append(s.arrivals, s.onAck(now, len(batch))...)
			slices.Sort(s.arrivals)
		}
	}
	s.end = now
	slices.Sort(s.latencies)
}

func (s *laneSimulation) quantile(q float64) time.Duration {
	return s.latencies[int(q*float64(len(s.latencies)-1))]
}

func (s *laneSimulation) perBatch() float64 {
	return float64(len(s.latencies)) / float64(s.batches)
}

func (s *laneSimulation) rate() float64 { return float64(len(s.latencies)) / s.end.Seconds() }

// steady returns arrivals at random times, rate per second on average, for a minute.
func steady(rate float64) (list []time.Duration) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for at := 0.0; at < 60; at += rnd.ExpFloat64() / rate {
		list = append(list, time.Duration(at*float64(time.Second)))
	}
	return list
}

func TestPacing(t *testing.T) {
	const target = 20 * time.Millisecond
	open := func(rate float64, commit time.Duration) *laneSimulation {
		s := &laneSimulation{arrivals: steady(rate), commit: commit}
		s.run(&pacing{target: target}, time.Minute)
		return s
	}
	t.Run("a few messages a second are committed at once", func(t *testing.T) {
		if s := open(5, 3*time.Millisecond); s.quantile(0.9) > 4*time.Millisecond {
			t.Errorf("latency: p90 %v", s.quantile(0.9))
		}
	})
	t.Run("a steady stream shares transactions within the target", func(t *testing.T) {
		for rate, least := range map[float64]float64{500: 4, 2500: 15} {
			s := open(rate, 3*time.Millisecond)
			if s.perBatch() < least || s.quantile(0.99) > target {
				t.Errorf("%v/s: %.1f a transaction, p99 %v", rate, s.perBatch(), s.quantile(0.99))
			}
		}
	})
	t.Run("nobody waits when a transaction takes the target", func(t *testing.T) {
		s := &laneSimulation{arrivals: steady(500), commit: target}
		p := &pacing{target: target}
		s.run(p, time.Minute)
		if room := p.room(time.Unix(1, 0), time.Unix(1, 0)); room != 0 {
			t.Errorf("there is room: %v", room)
		}
	})
	t.Run("without a target nobody waits", func(t *testing.T) {
		s := &laneSimulation{arrivals: steady(500), commit: 3 * time.Millisecond}
		s.run(&pacing{}, time.Minute)
		if s.perBatch() > 3 {
			t.Errorf("%.1f a transaction", s.perBatch())
		}
	})
	// publishers that send the next message after the acknowledgement of the last
	closed := func(publishers int, target time.Duration) float64 {
		s := &laneSimulation{commit: 3 * time.Millisecond}
		rnd := rand.New(rand.NewPCG(3, 4))
		s.onAck = func(at time.Duration, n int) (next []time.Duration) {
			for range n {
				next = append(next, at+time.Duration(100+rnd.IntN(200))*time.Microsecond)
			}
			return next
		}
		s.arrivals = s.onAck(0, publishers)
		slices.Sort(s.arrivals)
		s.run(&pacing{target: target}, time.Minute)
		return s.rate()
	}
	t.Run("who waits for acknowledgements is not held up", func(t *testing.T) {
		for publishers, least := range map[int]float64{1: 0.9, 2: 0.5, 10: 0.5, 200: 0.8} {
			if ratio := closed(publishers, target) / closed(publishers, 0); ratio < least {
				t.Errorf("%d publishers: %.2f of the rate without waiting", publishers, ratio)
			}
		}
	})
}
