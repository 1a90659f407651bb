package push

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestSubscriptions compares with plain sets, and keeps old lists to check that they are immutable.
func TestSubscriptions(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	cs := make([]*conn, 3*maxPart)
	for i := range cs {
		cs[i] = &conn{number: uint64(i)}
	}
	type held struct{ list, copied [][]subscriber }
	var old []held
	x, sets := make(subscriptions), map[Topic]map[*conn]bool{}
	topics := []Topic{{Kind: Sensors, ID: 1}, {Kind: Sensors, ID: 2}, {Kind: Gateways, ID: 1}}
	for n := range 5000 {
		topic, c := topics[r.IntN(3)], cs[r.IntN(len(cs))]
		if sets[topic] == nil {
			sets[topic] = make(map[*conn]bool)
		}
		if n%1500 < 1000 && r.IntN(10) > 0 || r.IntN(10) == 0 { // it grows and shrinks
			x.add(topic, c, time.Duration(r.IntN(2)))
			sets[topic][c] = true
		} else {
			x.remove(topic, c)
			delete(sets[topic], c)
		}
		copied := slices.Clone(x[topic].parts)
		for i, part := range copied {
			if len(part) == 0 || len(part) > maxPart {
				t.Fatalf("a part has %d subscribers, want 1 to 128", len(part))
			}
			copied[i] = slices.Clone(part)
		}
		old = append(old, held{x[topic].parts, copied})
		if got, want := x[topic].size, len(sets[topic]); got != want {
			t.Fatalf("size %d, want %d", got, want)
		}

		a, b := x[topics[0]], x[topics[2]]
		seen := make(map[*conn]int)
		recipients{a, subscribers{}, b}.each(func(c *conn, _ time.Duration) { seen[c]++ })
		for _, c := range cs {
			want := 0
			if sets[topics[0]][c] || sets[topics[2]][c] {
				want = 1
			}
			if seen[c] != want {
				t.Fatalf("connection %d was visited %d times, want %d", c.number, seen[c], want)
			}
		}
	}
	for _, h := range old {
		if !slices.EqualFunc(h.list, h.copied, slices.Equal) {
			t.Fatal("a list changed after it was taken")
		}
	}
	for _, topic := range topics {
		for _, c := range cs {
			x.remove(topic, c)
		}
	}
	if len(x) != 0 {
		t.Errorf("%d topics are left without subscribers", len(x))
	}
}
