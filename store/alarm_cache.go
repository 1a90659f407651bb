package store

import (
	"cmp"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/series"
)

// maxCachedSensors is for how many sensors the states of alarms are cached.
const maxCachedSensors = 50_000

// stateCache holds the states of alarms as the batches of this instance have left them, so that the
// next batches need not read them. The entry of a sensor is current whenever the sensor's row in
// latest has the entry's timestamp and stamp (see evaluator). That holds even when the batch that
// made the entry was rolled back: either it changed no state, or its stamp appears nowhere. Only
// unlinked alarms are cached.
type stateCache struct {
	mu       sync.Mutex
	bySensor map[int64]*cachedSensor
}

// cachedSensor is the entry of a sensor. One batch at a time uses it.
type cachedSensor struct {
	taken  bool           // by a batch that is in progress or has failed
	rules  *ruleSet       // that the alarms have their rules from
	last   series.Instant // of the newest reading
	stamp  int64
	alarms []cachedAlarm // all unlinked alarms of the sensor, in the order of their evaluation
}

type cachedAlarm struct {
	id, rowVersion int64
	rule           *alarm.Rule
	state          alarm.State
}

// take gives the sensors that have moved their entries, and returns those without a current entry.
func (c *stateCache) take(moved []movedSensor, rules *ruleSet) (missing []movedSensor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range moved {
		v := &moved[i]
		if v.unlinked = rules.unlinked[v.sensor]; len(v.unlinked) == 0 {
			continue
		}
		if e := c.bySensor[v.sensor]; e != nil && !e.taken && e.last == v.previous &&
			e.stamp == v.stamp && e.adopt(rules, v.unlinked) {
			e.taken, v.cached = true, e
		} else {
			missing = append(missing, *v)
		}
	}
	return missing
}

// put stores the states of unlinked alarms as ev leaves them.
func (c *stateCache) put(ev *evaluator) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range ev.moved {
		v := &ev.moved[i]
		switch {
		case len(v.unlinked) == 0:
		case v.cached != nil:
			v.cached.update(ev, v)
			v.cached.taken = false
		default:
			delete(c.bySensor, v.sensor)
			e := &cachedSensor{
				stamp:  v.stamp,
				rules:  ev.rules,
				alarms: make([]cachedAlarm, len(v.unlinked)),
			}
			if len(c.bySensor) < maxCachedSensors && e.update(ev, v) {
				c.bySensor[v.sensor] = e
			}
		}
	}
}

// update updates the entry of a sensor with the states of ev. It reports whether the entry is
// complete.
func (e *cachedSensor) update(ev *evaluator, v *movedSensor) bool {
	e.last = v.at
	if len(ev.alarms) == 0 {
		return v.cached != nil
	}
	complete := true
	for i, id := range v.unlinked {
		p := ev.alarms[id]
		if p == nil {
			complete = false // it was not loaded, or it is deleted
			continue
		}
		e.alarms[i] = cachedAlarm{id: id, rowVersion: p.rowVersion, rule: p.rule, state: p.state}
		if p.written {
			e.alarms[i].rowVersion++
			e.stamp = ev.stamp
		}
	}
	return complete
}

// adopt replaces the rules of the entry by those of rules. It reports whether the states belong to
// the alarms ids and were made by these rules.
func (e *cachedSensor) adopt(rules *ruleSet, ids []int64) bool {
	if e.rules == rules {
		return true
	}
	if len(e.alarms) != len(ids) {
		return false
	}
	for i := range e.alarms {
		a := &e.alarms[i]
		if a.rule = rules.byID[ids[i]]; a.id != ids[i] || a.state.RuleVersion != a.rule.Version {
			return false
		}
	}
	e.rules = rules
	return true
}

// evaluate evaluates the alarms with x up to the first whose change has to be written, which it
// leaves unchanged. It reports whether there is none. The alarms before that one may be evaluated
// with x again: it is late for them and changes nothing.
func (e *cachedSensor) evaluate(x alarm.Sample, now time.Time) bool {
	for i := range e.alarms {
		a := &e.alarms[i]
		if alarm.ChangesNothing(a.rule, &a.state, x) {
			a.state.Last = x
			continue
		}
		next, events, err := alarm.Step(a.rule, a.state, x, now)
		if err != nil || len(events) > 0 || alarm.Changed(&a.state, &next) {
			return false
		}
		a.state.Last = next.Last // nothing else can differ
	}
	return true
}

// takeCached returns a cached alarm to be evaluated with a reading of sensor; nil when the alarm is
// deleted or the reading is late.
func (ev *evaluator) takeCached(sensor, id int64) *evaluation {
	i, found := slices.BinarySearchFunc(ev.moved, sensor,
		func(v movedSensor, id int64) int { return cmp.Compare(v.sensor, id) })
	if !found || ev.moved[i].cached == nil {
		return nil
	}
	alarms := ev.moved[i].cached.alarms // by id: unlinked alarms have no causes
	k := sort.Search(len(alarms), func(k int) bool { return alarms[k].id >= id })
	if k == len(alarms) || alarms[k].id != id {
		return nil
	}
	a := &alarms[k]
	return &evaluation{rule: a.rule, rowVersion: a.rowVersion, before: a.state, state: a.state}
}
