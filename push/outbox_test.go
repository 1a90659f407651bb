package push

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestLane plays scripts of words: a number followed by a letter and a minute offers that sensor's
// reading, such as 1a0; ? takes up to two updates; < holds and > releases. What was taken is
// written as the updates, after -n when n were lost.
func TestLane(t *testing.T) {
	tests := map[string]struct{ script, want string }{
		"what fits leaves in order": {"1a0 2a0 1b1 ? ?", "1a0 2a0|1b1"},
		"a full lane keeps the newest of each sensor": {
			"1a0 1b1 1c2 1d3 1e4 2a0 1f5 ? ? ?", "1a0 1b1|1c2|-2 1f5 2a0",
		},
		"what only had to wait is not called lost": {
			"1a0 1b1 1c2 1d3 2a0 ? ? ?", "1a0 1b1|1c2|1d3 2a0",
		},
		"while some are late all that follows is": {
			"1a0 1b1 1c2 1d3 ? 1e4 ? ?", "1a0 1b1|1c2|-1 1e4",
		},
		"once caught up it goes on as before": {
			"1a0 1b1 1c2 1d3 1e4 ? ? ? 1f5 1g6 ?", "1a0 1b1|1c2|-1 1e4|1f5 1g6",
		},
		"an older reading does not hide a newer": {
			"1a0 1b1 1c2 1d9 1e3 ? ? ?", "1a0 1b1|1c2|-1 1d9",
		},
		"of the same instant the later one stands": {
			"1a0 1b1 1c2 1d3 1e3 ? ? ?", "1a0 1b1|1c2|-1 1e3",
		},
		"more late sensors than there is room leave in pieces": {
			"1a0 1b1 1c2 2a0 3a0 4a0 5a0 5b1 ? ? ? 1d3 ? ?", "1a0 1b1|1c2|-1 2a0 3a0|4a0 5b1|1d3",
		},
		"what is held waits and then leaves": {"< 1a0 ? 1b1 > ?", "|1a0 1b1"},
		"what is held conflates too": {
			"< 1a0 1b1 1c2 1d3 1e4 ? > ? ? ?", "|1a0 1b1|1c2|-1 1e4",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newOutbox(3, 3, func() {})
			room := make([]*update, 2)
			var taken []string
			for _, word := range strings.Fields(tt.script) {
				switch word {
				case "?":
					out := l.take(room)
					var words []string
					if out.dropped > 0 {
						words = append(words, fmt.Sprintf("-%d", out.dropped))
					}
					for _, u := range out.updates {
						words = append(words, string(u.json))
					}
					taken = append(taken, strings.Join(words, " "))
				case "<":
					l.hold()
				case ">":
					l.release()
				default:
					l.offer(&update{
						about: Topic{Kind: Sensors, ID: int64(word[0])},
						at:    order{at: t0.Add(time.Duration(word[2]) * time.Minute)},
						json:  []byte(word),
					}, 0)
				}
			}
			if got := strings.Join(taken, "|"); got != tt.want {
				t.Errorf("%s\n got %s\nwant %s", tt.script, got, tt.want)
			}
		})
	}
}

func TestALaneThatIsNeverEmptyDoesNotGrow(t *testing.T) {
	l := newOutbox(256, 1, func() {})
	room := make([]*update, 1)
	l.offer(&update{}, 0)
	for range 10_000 {
		l.offer(&update{}, 0)
		l.take(room)
	}
	if cap(l.queue) > 512 {
		t.Errorf("the queue of 1 has grown to %d", cap(l.queue))
	}
}

func TestALaneTakesOnlySoManyAnswers(t *testing.T) {
	l := newOutbox(1, 1, func() {})
	for i := range maxReplies {
		if !l.reply(nil) {
			t.Fatalf("no room for answer %d", i)
		}
	}
	if l.reply(nil) {
		t.Errorf("room for more than %d answers", maxReplies)
	}
	if got := len(l.take(nil).replies); got != maxReplies {
		t.Errorf("%d answers came out, want %d", got, maxReplies)
	}
	if !l.reply(nil) {
		t.Error("no room after all were taken")
	}
}

// TestAStampAheadHidesNoReading has a lane conflate readings of a clock that runs ahead, and of one
// that was put right.
func TestAStampAheadHidesNoReading(t *testing.T) {
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
		"a true reading follows": {
			[]*update{at(1, 0), at(2, time.Minute), at(3, 0)}, "1+0s 3+0s",
		},
		"a reading that is late does not": {
			[]*update{at(1, 0), at(3, time.Minute), at(2, 0)}, "1+0s 3+1m0s",
		},
		"stamps tell of those that come once": {
			[]*update{at(1, 0), at(2, time.Minute), at(2, time.Second)}, "1+0s 2+1m0s",
		},
	}
	for name, tt := range tests {
		l := newOutbox(1, 1, func() {})
		for _, u := range tt.updates {
			l.offer(u, 0)
		}
		var got []string
		for range 2 {
			for _, u := range l.take(make([]*update, 1)).updates {
				got = append(got, string(u.json))
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}
