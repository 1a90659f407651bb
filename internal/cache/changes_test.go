package cache

import (
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// hours is a query for sensor 1 in the hours from..to after noon.
func hours(from, to int) *Query {
	return &Query{
		Sensors: []int64{1},
		From:    noon.Add(time.Duration(from) * time.Hour),
		To:      noon.Add(time.Duration(to) * time.Hour),
	}
}

// found is what a poll with the given xmin finds: changes of sensors in the hour at noon, by
// transaction.
func found(xmin uint64, changed ...store.Change) *store.Changes {
	return &store.Changes{
		Database:       "db",
		Marked:         true,
		Through:        noon.Add(10 * time.Hour),
		Xmin:           xmin,
		Xmax:           xmin + 10,
		DeletedThrough: 90,
		List:           changed,
	}
}

func change(transaction uint64, sensor int64, hour time.Time) store.Change {
	return store.Change{Transaction: transaction, SensorID: sensor, Hour: hour}
}

func TestChanges_AnswerIsValidUntilItsReadingsChange(t *testing.T) {
	made := snapshot{"db", 100}
	later := snapshot{"db", 120}
	tests := map[string]struct {
		polls []*store.Changes // after one at 100
		at    snapshot
		q     *Query
		valid bool
	}{
		"nothing has changed": {nil, made, hours(0, 1), true},
		"another sensor has changed": {
			[]*store.Changes{found(110, change(105, 2, noon))}, made, hours(0, 1), true,
		},
		"an hour of the range has changed": {
			[]*store.Changes{found(110, change(105, 1, noon))}, made, hours(0, 1), false,
		},
		"the last hour of the range has changed": {
			[]*store.Changes{found(110, change(105, 1, noon))}, made, hours(-5, 1), false,
		},
		"the hour in which the range begins has changed": {
			[]*store.Changes{found(110, change(105, 1, noon))},
			made,
			&Query{
				Sensors: []int64{2, 1},
				From:    noon.Add(time.Minute),
				To:      noon.Add(2 * time.Hour),
			},
			false,
		},
		"the hour before the range has changed": {
			[]*store.Changes{found(110, change(105, 1, noon))}, made, hours(1, 2), true,
		},
		"the hour after the range has changed": {
			[]*store.Changes{found(110, change(105, 1, noon))}, made, hours(-1, 0), true,
		},
		"all hours of the sensor have changed": {
			[]*store.Changes{found(110, change(105, 1, time.Time{}))}, made, hours(5, 6), false,
		},
		"every sensor has changed": {
			[]*store.Changes{found(110, change(105, 0, noon))}, made, hours(0, 1), false,
		},
		"every sensor has changed in another hour": {
			[]*store.Changes{found(110, change(105, 0, noon))}, made, hours(1, 2), true,
		},
		"a transaction before the snapshot has changed it": {
			[]*store.Changes{found(110, change(99, 1, noon))}, made, hours(0, 1), true,
		},
		"the first transaction after the snapshot has changed it": {
			[]*store.Changes{found(110, change(100, 1, noon))}, made, hours(0, 1), false,
		},
		"it changed before the snapshot of the answer": {
			[]*store.Changes{found(120, change(105, 1, noon))}, later, hours(0, 1), true,
		},
		"it changed before the snapshot and again after it": {
			[]*store.Changes{found(110, change(105, 1, noon)), found(130, change(125, 1, noon))},
			later, hours(0, 1), false,
		},
		"the same change is polled again": {
			[]*store.Changes{found(120, change(105, 1, noon)), found(130, change(105, 1, noon))},
			later, hours(0, 1), true,
		},
		"changes that the answer may not have seen were forgotten": {
			[]*store.Changes{
				{Database: "db", Marked: true, Xmin: 110, Xmax: 110, DeletedThrough: 100},
				found(110),
			},
			snapshot{"db", 90},
			hours(0, 1), false,
		},
		"its snapshot is before the horizon":  {nil, snapshot{"db", 90}, hours(0, 1), false},
		"its snapshot is the horizon":         {nil, snapshot{"db", 91}, hours(0, 1), true},
		"its snapshot is after the last xmax": {nil, snapshot{"db", 111}, hours(0, 1), false},
		"its snapshot is of another database": {nil, snapshot{"other", 100}, hours(0, 1), false},
		"its range is open":                   {nil, made, hours(0, 11), false},
		"another server has taken over": {
			[]*store.Changes{{Database: "other", Marked: true, Xmin: 110, Xmax: 120}},
			made,
			hours(0, 1), false,
		},
		"changes are not marked": {
			[]*store.Changes{{Database: "db", Xmin: 110, Xmax: 120}}, made, hours(0, 1), false,
		},
		"there are more changes than one poll returns": {[]*store.Changes{{
			Database:       "db",
			Marked:         true,
			Through:        noon.Add(10 * time.Hour),
			Xmin:           110,
			Xmax:           120,
			DeletedThrough: 90,
			More:           true,
		}, found(115)}, made, hours(0, 1), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newChanges(10, time.Hour)
			c.add(time.Now(), found(100))
			for _, poll := range tt.polls {
				c.add(time.Now(), poll)
			}
			if got := c.isValid(tt.at, tt.q); got != tt.valid {
				t.Errorf("got %v, want %v", got, tt.valid)
			}
		})
	}
}

func TestChanges_StartOverWhenSomeWereMissed(t *testing.T) {
	for name, gap := range map[string]*store.Changes{
		"some were forgotten": {
			Database:       "db",
			Marked:         true,
			Xmin:           200,
			Xmax:           210,
			DeletedThrough: 100,
		},
		"the database is another one": {
			Database:       "other",
			Marked:         true,
			Xmin:           200,
			Xmax:           210,
			DeletedThrough: 10,
		},
		"they were not marked": {Database: "db", Xmin: 200, Xmax: 210},
		"more were forgotten than polled": {
			Database:       "db",
			Marked:         true,
			Xmin:           200,
			Xmax:           210,
			DeletedThrough: 150,
		},
	} {
		c := newChanges(10, time.Hour)
		c.add(time.Now(), found(100, change(95, 1, noon)))
		if again := c.add(time.Now(), gap); again != gap.Marked || c.since() != 0 {
			t.Errorf("%s: again %v, since %d", name, again, c.since())
		}
		if _, reason := c.snapshot(hours(0, 1)); reason != reasonBehind {
			t.Errorf("%s: got reason %q, want %q", name, reason, reasonBehind)
		}
	}
}

// A flood has more changes than are kept. Answers from before it become invalid. Those from after
// it are valid, except where transactions have changed something that run at the xmin of the poll.
func TestChanges_ForgetAFlood(t *testing.T) {
	c := newChanges(3, time.Hour)
	flood := func(xmin uint64, transactions ...uint64) {
		list := []store.Change{}
		for i, transaction := range transactions {
			list = append(list, change(transaction, 1, noon.Add(time.Duration(i)*time.Hour)))
		}
		c.add(time.Now(), found(xmin, list...))
	}
	flood(100)
	flood(110, 101, 102, 103, 104, 105)
	if c.isValid(snapshot{"db", 100}, hours(-5, -4)) {
		t.Error("an answer from before the flood is valid")
	}
	if !c.isValid(snapshot{"db", 110}, hours(0, 5)) {
		t.Error("an answer from after the flood is not valid")
	}
	flood(110, 111, 112, 113, 114)
	if _, reason := c.snapshot(hours(0, 1)); reason != reasonBehind {
		t.Errorf("while the flood goes on: got reason %q, want %q", reason, reasonBehind)
	}
	if c.since() != 110 {
		t.Errorf("since %d, want 110", c.since())
	}
	flood(110, 111, 112)
	if c.isValid(snapshot{"db", 110}, hours(0, 1)) || !c.isValid(snapshot{"db", 110}, hours(2, 3)) {
		t.Error("after the flood: want only the answer whose readings have changed to be invalid")
	}
}

func TestChanges_NoAnswerIsValidAfterAnOldPoll(t *testing.T) {
	c := newChanges(10, time.Second)
	if _, reason := c.snapshot(hours(0, 1)); reason != reasonBehind {
		t.Errorf("before the first poll: got reason %q", reason)
	}
	for age, reason := range map[time.Duration]string{
		0: "", 2 * time.Second: reasonBehind, -2 * time.Second: reasonBehind,
	} {
		c.add(time.Now().Add(-age), found(100))
		if _, got := c.snapshot(hours(0, 1)); got != reason ||
			c.isValid(snapshot{"db", 100}, hours(0, 1)) != (reason == "") {
			t.Errorf("%v old: got reason %q, want %q", age, got, reason)
		}
	}
	c.add(time.Now(), found(100))
	if _, reason := c.snapshot(hours(0, 11)); reason != reasonOpen {
		t.Errorf("an open range: got reason %q, want %q", reason, reasonOpen)
	}
}
