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

// maxCachedSensors is of how many sensors the states of alarms are kept.
const maxCachedSensors = 50_000

// stateCache are the states of alarms as the batches of this instance have left them, so that the
// next ones need not read them. What is kept of a sensor is true whenever the sensor's latest has
// the timestamp and the stamp that stand beside it (see steps), also when the batch that left it
// was rolled back: it either has changed no state, or its stamp is seen nowhere. Only alarms that
// stand alone are kept.
type stateCache struct {
	mu       sync.Mutex
	bySensor map[int64]*cachedSensor
}

// cachedSensor is used by one batch at a time.
type cachedSensor struct {
	taken  bool           // by one that is under way or has failed
	rules  *ruleSet       // that these alarms are of
	last   series.Instant // of its newest reading
	stamp  int64
	alarms []cachedAlarm // all that stand alone, in the order in which they are stepped
}

type cachedAlarm struct {
	id, version int64 // of the row
	rule        *alarm.Rule
	state       alarm.State
}

// take gives what is kept to sensors that have moved, and returns those of which nothing is kept
// that is true now.
func (k *stateCache) take(moved []movedSensor, rules *ruleSet) (missing []movedSensor) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range moved {
		v := &moved[i]
		if v.unlinked = rules.unlinked[v.sensor]; len(v.unlinked) == 0 {
			continue
		}
		if e := k.bySensor[v.sensor]; e != nil && !e.taken && e.last == v.previous &&
			e.stamp == v.stamp && e.follow(rules, v.unlinked) {
			e.taken, v.kept = true, e
		} else {
			missing = append(missing, *v)
		}
	}
	return missing
}

// keep keeps the states of alarms that stand alone as m leaves them.
func (k *stateCache) keep(m *evaluator) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range m.moved {
		v := &m.moved[i]
		switch {
		case len(v.unlinked) == 0:
		case v.kept != nil:
			v.kept.update(m, v)
			v.kept.taken = false
		default:
			delete(k.bySensor, v.sensor)
			e := &cachedSensor{
				stamp:  v.stamp,
				rules:  m.rules,
				alarms: make([]cachedAlarm, len(v.unlinked)),
			}
			if len(k.bySensor) < maxCachedSensors && e.update(m, v) {
				k.bySensor[v.sensor] = e
			}
		}
	}
}

// update makes e what is kept of a sensor after m. It reports whether all alarms are there.
func (e *cachedSensor) update(m *evaluator, v *movedSensor) bool {
	e.last = v.at
	if len(m.alarms) == 0 {
		return v.kept != nil
	}
	all := true
	for i, id := range v.unlinked {
		p := m.alarms[id]
		if p == nil {
			all = false // it is as it was, or deleted
			continue
		}
		e.alarms[i] = cachedAlarm{id: id, version: p.version, rule: p.rule, state: p.state}
		if p.written {
			e.alarms[i].version++
			e.stamp = m.stamp
		}
	}
	return all
}

// follow takes the rules as they are, and reports whether the states are of these alarms and made
// by these rules.
func (e *cachedSensor) follow(rules *ruleSet, ids []int64) bool {
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

// step steps the alarms with a reading until one changes in a way that has to be written, which it
// leaves as it was. It reports whether none does. Those before it take no harm when they are
// stepped with the reading again: it is late then.
func (e *cachedSensor) step(x alarm.Sample, now time.Time) bool {
	for i := range e.alarms {
		a := &e.alarms[i]
		if alarm.Unmoved(a.rule, &a.state, x) {
			a.state.Last = x
			continue
		}
		next, events, err := alarm.Step(a.rule, a.state, x, now)
		if err != nil || len(events) > 0 || alarm.Changed(&a.state, &next) {
			return false
		}
		a.state.Last = next.Last // all that can be different
	}
	return true
}

// takeCached is an alarm that is kept, to be stepped with a reading of sensor; nil when it is deleted
// or the reading late.
func (m *evaluator) takeCached(sensor, id int64) *evaluation {
	i, found := slices.BinarySearchFunc(m.moved, sensor,
		func(v movedSensor, id int64) int { return cmp.Compare(v.sensor, id) })
	if !found || m.moved[i].kept == nil {
		return nil
	}
	alarms := m.moved[i].kept.alarms // by id: none that stands alone has a cause
	k := sort.Search(len(alarms), func(k int) bool { return alarms[k].id >= id })
	if k == len(alarms) || alarms[k].id != id {
		return nil
	}
	a := &alarms[k]
	return &evaluation{rule: a.rule, version: a.version, before: a.state, state: a.state}
}
