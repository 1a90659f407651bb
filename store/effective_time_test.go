package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// stamped is a good reading received second seconds after noon and stamped so much ahead of that.
func stamped(second int, ahead time.Duration, value float64) store.Reading {
	received := noon.Add(time.Duration(second) * time.Second)
	return store.Reading{Timestamp: received.Add(ahead), Received: received, Value: value}
}

// TestTimestampAhead_HidesNoReadings stores readings of clocks that run ahead, in batches, and
// wants the alarm and latest to follow them in the order in which they came.
func TestTimestampAhead_HidesNoReadings(t *testing.T) {
	const ahead = 30 * time.Second
	tests := map[string]struct {
		batches [][]store.Reading
		want    []string
		latest  float64
	}{
		"a true reading after one that was stamped ahead raises": {
			batches: [][]store.Reading{{stamped(0, ahead, 20)}, {stamped(5, 0, 95)}},
			want:    []string{"raised 1"}, latest: 95,
		},
		"and clears": {
			batches: [][]store.Reading{{stamped(0, ahead, 95)}, {stamped(5, 0, 20)}},
			want:    []string{"raised 1", "cleared 1"}, latest: 20,
		},
		"also in the transaction that stores both": {
			batches: [][]store.Reading{{stamped(0, ahead, 20), stamped(5, 0, 95)}},
			want:    []string{"raised 1"}, latest: 95,
		},
		"and when that knows the alarm's state": {
			batches: [][]store.Reading{
				{stamped(0, 0, 20)},
				{stamped(1, 0, 20)},
				{stamped(2, ahead, 95), stamped(5, 0, 20)},
			},
			want: []string{"raised 1", "cleared 1"}, latest: 20,
		},
		"those that were received together keep the order of their stamps": {
			batches: [][]store.Reading{{stamped(0, ahead+time.Second, 20), stamped(0, ahead, 95)}},
			want:    []string{"raised 1", "cleared 1"}, latest: 20,
		},
		"also when they are stored one after the other": {
			batches: [][]store.Reading{
				{stamped(0, ahead, 95)},
				{stamped(0, ahead+time.Second, 20)},
				{stamped(0, ahead-time.Second, 96)},
			},
			want: []string{"raised 1", "cleared 1"}, latest: 20,
		},
		"of two clocks that run ahead the later to come is the newer": {
			batches: [][]store.Reading{
				{stamped(0, 5*time.Minute, 20)},
				{stamped(1, time.Second, 95)},
				{stamped(2, 2*time.Second, 20)},
			},
			want: []string{"raised 1", "cleared 1"}, latest: 20,
		},
		"one that was measured before is late": {
			batches: [][]store.Reading{{stamped(10, ahead, 20)}, {stamped(11, -5*time.Second, 95)}},
			latest:  20,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, db := openRaw(t)
			other := openOther(t, db)
			v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
			addAlarm(t, s, highRule(v.ID))
			r := highRule(v.ID)
			r.SuppressedBy = []int64{
				addAlarm(t, s, highRule(addSensor(t, s, v.GatewayID, "cause").ID)).ID,
			}
			linked := addAlarm(t, s, r) // its state is read in another way
			for _, b := range tt.batches {
				for i := range b {
					b[i].SensorID = v.ID
				}
				write(t, s, b...)
			}
			var want, got []string
			for _, w := range tt.want {
				want = append(want, w, w)
			}
			for _, line := range journal(t, s) {
				got = append(got, strings.Join(strings.Fields(line)[1:3], " "))
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("events: got %q, want %q", got, want)
			}
			list, err := s.Latest(t.Context(), store.LatestQuery{Limit: 10})
			ok(t, err)
			if len(list) != 1 || list[0].Value != tt.latest {
				t.Errorf("latest: got %+v, want %v", list, tt.latest)
			}
			// The last stored reading is known to any instance that continues.
			last := stamped(60, 0, 99)
			last.SensorID = v.ID
			write(t, other, last)
			if a, err := other.Alarm(t.Context(), linked.ID); err != nil ||
				a.StateName != "active_unacknowledged" {
				t.Errorf("another instance: got %v, %v", a.StateName, err)
			}
		})
	}
}

func TestLatest_KeepsTheTimestampOfTheDevice(t *testing.T) {
	s := open(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	r := stamped(0, time.Minute, 20)
	r.SensorID = v.ID
	write(t, s, r)
	list, err := s.Latest(t.Context(), store.LatestQuery{Limit: 10})
	ok(t, err)
	if len(list) != 1 || !list[0].Timestamp.Equal(noon.Add(time.Minute)) ||
		!list[0].EffectiveTime().Equal(noon) {
		t.Errorf("got %+v, want the stamp %v and the effective time %v", list,
			noon.Add(time.Minute), noon)
	}
}

// TestTimestampAhead_HidesNoReadingsAfterADeletion deletes the newest reading, so that one which
// was stamped ahead of now becomes it.
func TestTimestampAhead_HidesNoReadingsAfterADeletion(t *testing.T) {
	s := open(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	a := addAlarm(t, s, highRule(v.ID))
	now := time.Now().UTC().Truncate(time.Microsecond)
	at := func(received, stamp time.Duration, value float64) store.Reading {
		return store.Reading{
			SensorID:  v.ID,
			Timestamp: now.Add(stamp),
			Received:  now.Add(received),
			Value:     value,
		}
	}
	write(t, s, at(0, 4*time.Minute, 20))
	write(t, s, at(time.Second, 5*time.Minute, 20))
	_, err := s.DeleteReadings(t.Context(), v.ID, now.Add(5*time.Minute), now.Add(time.Hour), false)
	ok(t, err)
	write(t, s, at(time.Minute, time.Minute, 95))
	wantJournal(t, s, fmt.Sprintf("%d raised 1 normal>active_unacknowledged", a.ID))
}

func TestTimestampAhead_SilenceCountsFromTheReceipt(t *testing.T) {
	s := open(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	addAlarm(t, s, alarm.Rule{
		SensorID:    v.ID,
		Name:        "silent",
		Kind:        alarm.NoData,
		Severity:    alarm.Major,
		NoDataAfter: alarm.Duration(10 * time.Second),
	})
	r := stamped(0, 5*time.Minute, 20)
	r.SensorID = v.ID
	write(t, s, r)
	if n := sweep(t, s, noon.Add(11*time.Second)); n != 1 {
		t.Errorf("raised %d times, want 1: nothing has come for 11 s", n)
	}
	r = stamped(20, 0, 20)
	r.SensorID = v.ID
	write(t, s, r)
	if got := journal(t, s); len(got) != 2 {
		t.Errorf("got %q, want it raised and cleared", got)
	}
}
