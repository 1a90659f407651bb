package push

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// outboxStep is one call on an outbox. Updates are named by sensor and minute, such as "s1@0".
type outboxStep func(o *outbox, took *[]string)

// offers adds updates, in order.
func offers(names string) outboxStep {
	return func(o *outbox, _ *[]string) {
		for _, name := range strings.Fields(names) {
			var sensor, minute int64
			if _, err := fmt.Sscanf(name, "s%d@%d", &sensor, &minute); err != nil {
				panic(fmt.Sprintf("%s: %v", name, err))
			}
			o.offer(&update{
				about: Topic{Kind: Sensors, ID: sensor},
				at:    order{at: t0.Add(time.Duration(minute) * time.Minute)},
				json:  []byte(name),
			}, 0)
		}
	}
}

// takes takes up to two updates n times. A batch is recorded as its updates, such as "s1@0 s2@0",
// after the number of those that were lost, such as "(2 lost) s1@3".
func takes(n int) outboxStep {
	return func(o *outbox, took *[]string) {
		for range n {
			b := o.take(make([]*update, 2))
			var words []string
			if b.dropped > 0 {
				words = append(words, fmt.Sprintf("(%d lost)", b.dropped))
			}
			for _, u := range b.updates {
				words = append(words, string(u.json))
			}
			*took = append(*took, strings.Join(words, " "))
		}
	}
}

func holds(o *outbox, _ *[]string)    { o.hold() }
func releases(o *outbox, _ *[]string) { o.release() }

// TestOutbox uses an outbox with room for three updates.
func TestOutbox(t *testing.T) {
	tests := map[string]struct {
		steps []outboxStep
		want  []string
	}{
		"updates that fit leave in order": {
			[]outboxStep{offers("s1@0 s2@0 s1@1"), takes(2)},
			[]string{"s1@0 s2@0", "s1@1"},
		},
		"a full outbox keeps the newest of each sensor": {
			[]outboxStep{offers("s1@0 s1@1 s1@2 s1@3 s1@4 s2@0 s1@5"), takes(3)},
			[]string{"s1@0 s1@1", "s1@2", "(2 lost) s1@5 s2@0"},
		},
		"an update that only waited is not lost": {
			[]outboxStep{offers("s1@0 s1@1 s1@2 s1@3 s2@0"), takes(3)},
			[]string{"s1@0 s1@1", "s1@2", "s1@3 s2@0"},
		},
		"while some updates are conflated later ones are too": {
			[]outboxStep{offers("s1@0 s1@1 s1@2 s1@3"), takes(1), offers("s1@4"), takes(2)},
			[]string{"s1@0 s1@1", "s1@2", "(1 lost) s1@4"},
		},
		"an empty outbox queues again": {
			[]outboxStep{
				offers("s1@0 s1@1 s1@2 s1@3 s1@4"), takes(3), offers("s1@5 s1@6"), takes(1),
			},
			[]string{"s1@0 s1@1", "s1@2", "(1 lost) s1@4", "s1@5 s1@6"},
		},
		"an older reading does not replace a newer one": {
			[]outboxStep{offers("s1@0 s1@1 s1@2 s1@9 s1@3"), takes(3)},
			[]string{"s1@0 s1@1", "s1@2", "(1 lost) s1@9"},
		},
		"of two readings of one instant the later one stays": {
			[]outboxStep{offers("s1@0 s1@1 s1@2 s1@3 s1@3"), takes(3)},
			[]string{"s1@0 s1@1", "s1@2", "(1 lost) s1@3"},
		},
		"more conflated sensors than there is room leave in several batches": {
			[]outboxStep{
				offers("s1@0 s1@1 s1@2 s2@0 s3@0 s4@0 s5@0 s5@1"), takes(3),
				offers("s1@3"), takes(2),
			},
			[]string{"s1@0 s1@1", "s1@2", "(1 lost) s2@0 s3@0", "s4@0 s5@1", "s1@3"},
		},
		"held updates leave after the release": {
			[]outboxStep{holds, offers("s1@0"), takes(1), offers("s1@1"), releases, takes(1)},
			[]string{"", "s1@0 s1@1"},
		},
		"held updates conflate": {
			[]outboxStep{
				holds, offers("s1@0 s1@1 s1@2 s1@3 s1@4"), takes(1), releases, takes(3),
			},
			[]string{"", "s1@0 s1@1", "s1@2", "(1 lost) s1@4"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := newOutbox(3, 3, func() {})
			var got []string
			for _, step := range tt.steps {
				step(o, &got)
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tt.want) {
				t.Errorf("took %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOutbox_DoesNotGrowWhenNeverEmpty(t *testing.T) {
	o := newOutbox(256, 1, func() {})
	room := make([]*update, 1)
	o.offer(&update{}, 0)
	for range 10_000 {
		o.offer(&update{}, 0)
		o.take(room)
	}
	if cap(o.queue) > 512 {
		t.Errorf("the queue has 1 update and capacity for %d, want at most 512", cap(o.queue))
	}
}

func TestOutbox_BoundsAnswers(t *testing.T) {
	o := newOutbox(1, 1, func() {})
	for i := range maxReplies {
		if !o.reply(nil) {
			t.Fatalf("no room for answer %d", i)
		}
	}
	if o.reply(nil) {
		t.Errorf("room for more than %d answers", maxReplies)
	}
	if got := len(o.take(nil).replies); got != maxReplies {
		t.Errorf("took %d answers, want %d", got, maxReplies)
	}
	if !o.reply(nil) {
		t.Error("no room after all answers were taken")
	}
}

// TestOutbox_ConflatesByEffectiveTime conflates readings of a clock that runs ahead, and of a clock
// that was corrected. A reading is written as its received time and how far its timestamp is ahead.
func TestOutbox_ConflatesByEffectiveTime(t *testing.T) {
	at := func(received, ahead time.Duration) *update {
		r := Reading{SensorID: 1, Timestamp: t0.Add(received + ahead), Received: t0.Add(received)}
		return &update{
			about: Topic{Kind: Sensors, ID: 1},
			at:    r.order(),
			json:  fmt.Appendf(nil, "%d+%v", int64(received), ahead),
		}
	}
	tests := map[string]struct {
		updates []*update
		want    string
	}{
		"a correct reading follows": {
			[]*update{at(1, 0), at(2, time.Minute), at(3, 0)}, "1+0s 3+0s",
		},
		"a late reading does not": {
			[]*update{at(1, 0), at(3, time.Minute), at(2, 0)}, "1+0s 3+1m0s",
		},
		"timestamps order readings that were received at once": {
			[]*update{at(1, 0), at(2, time.Minute), at(2, time.Second)}, "1+0s 2+1m0s",
		},
	}
	for name, tt := range tests {
		o := newOutbox(1, 1, func() {})
		for _, u := range tt.updates {
			o.offer(u, 0)
		}
		var got []string
		for range 2 {
			for _, u := range o.take(make([]*update, 1)).updates {
				got = append(got, string(u.json))
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}
