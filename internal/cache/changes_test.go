package cache

import (
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// hours is a question about sensor 1 in the hours from..to after noon.
func hours(from, to int) *Question {
	return &Question{
		Sensors: []int64{1},
		From:    noon.Add(time.Duration(from) * time.Hour),
		To:      noon.Add(time.Duration(to) * time.Hour),
	}
}

// found is what a look finds while transactions before over are over: changes of sensors in the
// hour at noon, by transaction.
func found(over uint64, changed ...store.Change) *store.Changes {
	return &store.Changes{
		Database:       "db",
		Marked:         true,
		Through:        noon.Add(10 * time.Hour),
		Xmin:           over,
		Xmax:           over + 10,
		DeletedThrough: 90,
		List:           changed,
	}
}

func change(transaction uint64, sensor int64, hour time.Time) store.Change {
	return store.Change{Transaction: transaction, SensorID: sensor, Hour: hour}
}

func TestAnAnswerHoldsUntilItsReadingsChange(t *testing.T) {
	made := moment{"db", 100}
	later := moment{"db", 120}
	tests := map[string]struct {
		looks []*store.Changes // after one at 100
		m     moment
		q     *Question
		holds bool
	}{
		"nothing has changed": {nil, made, hours(0, 1), true},
		"another sensor has": {
			[]*store.Changes{found(110, change(105, 2, noon))}, made, hours(0, 1), true,
		},
		"an hour of it": {
			[]*store.Changes{found(110, change(105, 1, noon))}, made, hours(0, 1), false,
		},
		"the last hour of it": {
			[]*store.Changes{found(110, change(105, 1, noon))}, made, hours(-5, 1), false,
		},
		"an hour that it begins within": {
			[]*store.Changes{found(110, change(105, 1, noon))},
			made,
			&Question{
				Sensors: []int64{2, 1},
				From:    noon.Add(time.Minute),
				To:      noon.Add(2 * time.Hour),
			},
			false,
		},
		"the hour before": {
			[]*store.Changes{found(110, change(105, 1, noon))}, made, hours(1, 2), true,
		},
		"the hour behind": {
			[]*store.Changes{found(110, change(105, 1, noon))}, made, hours(-1, 0), true,
		},
		"all of the sensor": {
			[]*store.Changes{found(110, change(105, 1, time.Time{}))}, made, hours(5, 6), false,
		},
		"every sensor": {
			[]*store.Changes{found(110, change(105, 0, noon))}, made, hours(0, 1), false,
		},
		"every sensor, in another hour": {
			[]*store.Changes{found(110, change(105, 0, noon))}, made, hours(1, 2), true,
		},
		"by one that was over before": {
			[]*store.Changes{found(110, change(99, 1, noon))}, made, hours(0, 1), true,
		},
		"by the first that was not": {
			[]*store.Changes{found(110, change(100, 1, noon))}, made, hours(0, 1), false,
		},
		"before, and the answer was made behind it": {
			[]*store.Changes{found(120, change(105, 1, noon))}, later, hours(0, 1), true,
		},
		"before and again": {
			[]*store.Changes{found(110, change(105, 1, noon)), found(130, change(125, 1, noon))},
			later, hours(0, 1), false,
		},
		"again, as it is found anew": {
			[]*store.Changes{found(120, change(105, 1, noon)), found(130, change(105, 1, noon))},
			later, hours(0, 1), true,
		},
		"what it may not have seen has gone": {
			[]*store.Changes{
				{Database: "db", Marked: true, Xmin: 110, Xmax: 110, DeletedThrough: 100}, found(110),
			},
			moment{"db", 90},
			hours(0, 1), false,
		},
		"it is from before all that is known":   {nil, moment{"db", 90}, hours(0, 1), false},
		"it is the first of which all is known": {nil, moment{"db", 91}, hours(0, 1), true},
		"it is of a time to come":               {nil, moment{"db", 111}, hours(0, 1), false},
		"of another database":                   {nil, moment{"other", 100}, hours(0, 1), false},
		"of a range that is open":               {nil, made, hours(0, 11), false},
		"another server has taken over": {
			[]*store.Changes{{Database: "other", Marked: true, Xmin: 110, Xmax: 120}},
			made,
			hours(0, 1), false,
		},
		"changes are not noted": {
			[]*store.Changes{{Database: "db", Xmin: 110, Xmax: 120}}, made, hours(0, 1), false,
		},
		"more than could be found": {[]*store.Changes{{
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
			c.learn(time.Now(), found(100))
			for _, look := range tt.looks {
				c.learn(time.Now(), look)
			}
			if got := c.holds(tt.m, tt.q); got != tt.holds {
				t.Errorf("got %v, want %v", got, tt.holds)
			}
		})
	}
}

func TestChangesThatWereMissedAreLookedForFromTheBeginning(t *testing.T) {
	for name, gap := range map[string]*store.Changes{
		"some have gone": {Database: "db", Marked: true, Xmin: 200, Xmax: 210, DeletedThrough: 100},
		"in another database": {
			Database:       "other",
			Marked:         true,
			Xmin:           200,
			Xmax:           210,
			DeletedThrough: 10,
		},
		"they were not noted":  {Database: "db", Xmin: 200, Xmax: 210},
		"all that is asked of": {Database: "db", Marked: true, Xmin: 200, Xmax: 210, DeletedThrough: 150},
	} {
		c := newChanges(10, time.Hour)
		c.learn(time.Now(), found(100, change(95, 1, noon)))
		if again := c.learn(time.Now(), gap); again != gap.Marked || c.since() != 0 {
			t.Errorf("%s: again %v, since %d", name, again, c.since())
		}
		if _, reason := c.moment(hours(0, 1)); reason != behind {
			t.Errorf("%s: got reason %q, want %q", name, reason, behind)
		}
	}
}

// A flood of changes is more than is remembered: answers from before it are forgotten, and those
// made behind it hold, but for what is by transactions that are not over, as long as one of these
// keeps all of them open.
func TestAFloodIsNotRemembered(t *testing.T) {
	c := newChanges(3, time.Hour)
	flood := func(over uint64, transactions ...uint64) {
		list := []store.Change{}
		for i, by := range transactions {
			list = append(list, change(by, 1, noon.Add(time.Duration(i)*time.Hour)))
		}
		c.learn(time.Now(), found(over, list...))
	}
	flood(100)
	flood(110, 101, 102, 103, 104, 105)
	if c.holds(moment{"db", 100}, hours(-5, -4)) {
		t.Error("an answer from before the flood: holds")
	}
	if !c.holds(moment{"db", 110}, hours(0, 5)) {
		t.Error("an answer from behind it: does not hold")
	}
	flood(110, 111, 112, 113, 114)
	if _, reason := c.moment(hours(0, 1)); reason != behind {
		t.Errorf("a flood that goes on: got reason %q, want %q", reason, behind)
	}
	if c.since() != 110 {
		t.Errorf("since %d, want 110", c.since())
	}
	flood(110, 111, 112)
	if c.holds(moment{"db", 110}, hours(0, 1)) || !c.holds(moment{"db", 110}, hours(2, 3)) {
		t.Error("behind it, what is not over and has changed must not hold, and all else must")
	}
}

func TestNothingHoldsWhenTheLastLookIsOld(t *testing.T) {
	c := newChanges(10, time.Second)
	if _, reason := c.moment(hours(0, 1)); reason != behind {
		t.Errorf("before the first: got reason %q", reason)
	}
	for age, reason := range map[time.Duration]string{
		0: "", 2 * time.Second: behind, -2 * time.Second: behind,
	} {
		c.learn(time.Now().Add(-age), found(100))
		if _, got := c.moment(hours(0, 1)); got != reason ||
			c.holds(moment{"db", 100}, hours(0, 1)) != (reason == "") {
			t.Errorf("%v old: got reason %q, want %q", age, got, reason)
		}
	}
	c.learn(time.Now(), found(100))
	if _, reason := c.moment(hours(0, 11)); reason != open {
		t.Errorf("a range that is not over: got reason %q, want %q", reason, open)
	}
}
