package push

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// at is a reading n seconds after t0.
func at(sensor, n int64) Reading {
	r := reading(sensor, 1, float64(n))
	r.Timestamp = t0.Add(time.Duration(n) * time.Second)
	return r
}

// TestSnapshotAndLive publishes while the snapshot is being read, and after it what it has told
// already.
func TestSnapshotAndLive(t *testing.T) {
	tests := map[string]struct {
		before, during, after []int64 // seconds of readings that are published
		snapshot              int64
		want                  string // values; a bar precedes the snapshot
	}{
		"readings stored meanwhile follow": {
			nil, []int64{6, 7}, []int64{8}, 5, "|5 6 7 8",
		},
		"a reading of the snapshot is not sent again": {
			nil, []int64{6, 7}, []int64{8}, 6, "|6 7 8",
		},
		"nor is it when it is published late": {nil, nil, []int64{5, 6}, 5, "|5 6"},
		"older readings leave before the snapshot": {
			nil, []int64{5, 6, 7}, nil, 6, "5|6 7",
		},
		"a late reading is sent": {
			nil, nil, []int64{3, 6}, 5, "|5 3 6",
		},
		"readings before the subscription are not sent": {
			[]int64{3, 4}, []int64{6}, nil, 5, "|5 6",
		},
		"all at once": {[]int64{1}, []int64{4, 5, 6}, []int64{6, 5, 7}, 5, "4|5 6 6 7"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var hub *Hub
			latest := func(context.Context, []Topic, int) ([]Reading, error) {
				for _, n := range tt.during {
					hub.Publish([]Reading{at(1, n)})
				}
				return []Reading{at(1, tt.snapshot), at(1, tt.snapshot)}, nil // of two topics
			}
			inBubbleWith(t, DefaultConfig(), Deps{Latest: latest}, func(t *testing.T, w *fixture) {
				hub = w.hub
				c := w.subscribe("ann")
				for _, n := range tt.before {
					w.hub.Publish([]Reading{at(1, n)})
				}
				frames := c.collect()
				c.send(`{"type":"subscribe","topics":["sensors/1","gateways/1"],"snapshot":true}`)
				synctest.Wait()
				for _, n := range tt.after {
					w.hub.Publish([]Reading{at(1, n)})
				}
				time.Sleep(time.Second)
				var got strings.Builder
				for len(frames) > 0 {
					frame := <-frames
					if strings.HasPrefix(frame, `{"type":"snapshot"`) {
						if strings.Count(frame, "sensor_id") != 1 ||
							!strings.HasSuffix(frame, `"more":false}`) {
							t.Errorf("got %s, want one item and no more", frame)
						}
						fmt.Fprintf(&got, "|%d", tt.snapshot)
					}
					for _, v := range values(t, frame) {
						fmt.Fprintf(&got, " %v", v)
					}
				}
				if s := strings.TrimSpace(got.String()); s != tt.want {
					t.Errorf("got %q, want %q", s, tt.want)
				}
			})
		})
	}
}

func TestSnapshot_Unavailable(t *testing.T) {
	latest := func(_ context.Context, topics []Topic, limit int) ([]Reading, error) {
		if topics[0].Kind == Sensors {
			return nil, errors.New("no database")
		}
		return make([]Reading, limit), nil
	}
	inBubbleWith(t, DefaultConfig(), Deps{Latest: latest}, func(t *testing.T, w *fixture) {
		c := w.subscribe("ann")
		c.send(`{"type":"subscribe","topics":["sensors/1"],"snapshot":true}`)
		c.skip("subscribed")
		if got := c.skip("error"); !strings.Contains(got, `"code":"unavailable"`) ||
			!strings.Contains(got, "sensors/1") {
			t.Errorf("got %s, want unavailable", got)
		}
		w.hub.Publish([]Reading{at(1, 1)}) // the client is not subscribed
		c.send(`{"type":"subscribe","topics":["gateways/1"],"snapshot":true}`)
		c.skip("subscribed")
		if got := c.skip("error"); !strings.Contains(got, `"code":"snapshot_too_large"`) {
			t.Errorf("got %s, want snapshot_too_large", got)
		}
		w.hub.Publish([]Reading{at(1, 2)})
		c.skip("sensor_data")
	})
}

// TestConflate publishes a reading every 101 ms.
func TestConflate(t *testing.T) {
	tests := map[string]struct {
		subscribe []string
		want      string // values, with bars between different times
	}{
		"every reading without a policy": {
			[]string{`"topics":["sensors/1"]`}, "0|1|2|3|4|5|6|7|8|9|10|11",
		},
		"the newest in each interval": {
			[]string{`"topics":["sensors/1"],"policy":"conflate","interval_ms":500`}, "0|4|9|11",
		},
		"a second when no interval is given": {
			[]string{`"topics":["sensors/1"],"policy":"conflate"`}, "0|9|11",
		},
		"the shortest interval of two topics counts": {
			[]string{
				`"topics":["gateways/1"],"policy":"conflate"`,
				`"topics":["sensors/1"],"policy":"conflate","interval_ms":500`,
			},
			"0|4|9|11",
		},
		"a topic without interval counts first": {
			[]string{`"topics":["sensors/1"],"policy":"conflate"`, `"topics":["gateways/1"]`},
			"0|1|2|3|4|5|6|7|8|9|10|11",
		},
		"subscribing again changes the interval": {
			[]string{`"topics":["sensors/1"]`, `"topics":["sensors/1"],"policy":"conflate"`},
			"0|9|11",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
				c := w.subscribe("ann")
				for _, s := range tt.subscribe {
					c.send(`{"type":"subscribe",` + s + `}`)
					c.skip("subscribed")
				}
				frames := c.collect()
				var got []string
				take := func() {
					synctest.Wait()
					var vs []string
					for len(frames) > 0 {
						vs = append(vs, fmt.Sprint(values(t, <-frames)[0]))
					}
					if len(vs) > 0 {
						got = append(got, strings.Join(vs, " "))
					}
				}
				time.Sleep(50 * time.Millisecond)
				for i := range int64(12) {
					w.hub.Publish([]Reading{at(1, i)})
					take()
					time.Sleep(50 * time.Millisecond)
					take()
					time.Sleep(51 * time.Millisecond)
				}
				for range 15 {
					take()
					time.Sleep(100 * time.Millisecond)
				}
				if s := strings.Join(got, "|"); s != tt.want {
					t.Errorf("got %s, want %s", s, tt.want)
				}
			})
		})
	}
}

func TestTypesAndStatuses(t *testing.T) {
	inBubble(t, DefaultConfig(), func(t *testing.T, w *fixture) {
		c := w.subscribe("ann")
		c.send(`{"type":"subscribe","topics":["sensors?type=temperature","gateways/status"]}`)
		c.want(`{"type":"subscribed","topics":["sensors?type=temperature","gateways/status"]}`)
		warm, other := at(1, 1), at(2, 2)
		warm.SensorType, other.SensorType = "temperature", "pressure"
		w.hub.Publish([]Reading{other, warm, at(3, 3)})
		if got := values(t, c.skip("sensor_data")); got[0] != 1 {
			t.Errorf("got %v, want the temperature", got)
		}
		w.hub.PublishStatus(Status{GatewayID: 9, Status: "online", At: t0})
		c.skip("gateway_status")
		c.send(`{"type":"unsubscribe","topics":["sensors?type=temperature"]}`)
		c.skip("unsubscribed")
		if w.hub.typeSubscriptions != 0 {
			t.Errorf("%d topics of types are left, want 0", w.hub.typeSubscriptions)
		}
	})
}
