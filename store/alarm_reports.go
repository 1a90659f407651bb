package store

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
)

// simulationPage is how many readings Simulate reads at once.
const simulationPage = 10_000

// Simulate evaluates a compiled rule on the stored readings of [from, to) and calls each with its
// events until that returns false; see alarm.Simulate. Alarms that may suppress it are simulated
// with their rules of today. It returns the state at the end and the number of readings.
func (s *Store) Simulate(
	ctx context.Context, r *alarm.Rule, from, to time.Time, each func(alarm.Event) bool,
) (alarm.State, int, error) {
	var causes []*alarm.Rule
	if len(r.SuppressedBy) > 0 {
		rules, err := s.newestRules(ctx)
		if err != nil {
			return alarm.State{}, 0, explain("simulate", err)
		}
		causes = rules.causes(r)
	}
	sensors := r.Sensors()
	for _, c := range causes {
		sensors = append(sensors, c.Sensors()...)
	}
	n := 0
	state, err := alarm.Simulate(r, causes, s.samples(ctx, unique(sensors), from, to, &n), from, to,
		each)
	return state, n, explain("simulate", err)
}

// samples returns the readings of sensors in order of time, beginning with the last reading of each
// before from. It counts the readings since from in n.
func (s *Store) samples(
	ctx context.Context, sensors []int64, from, to time.Time, n *int,
) iter.Seq2[alarm.Sample, error] {
	return func(yield func(alarm.Sample, error) bool) {
		var before []alarm.Sample
		for _, sensor := range sensors {
			last := ReadingsQuery{Sensors: []int64{sensor}, End: &from, Limit: 1}
			rs, err := s.Readings(ctx, last)
			if err != nil {
				yield(alarm.Sample{}, err)
				return
			}
			for _, r := range rs {
				before = append(before, sample(r))
			}
		}
		slices.SortFunc(before, func(a, b alarm.Sample) int { return a.At.Compare(b.At) })
		for _, x := range before {
			if !yield(x, nil) {
				return
			}
		}
		q := ReadingsQuery{
			Sensors:   sensors,
			Start:     &from,
			End:       &to,
			Ascending: true,
			Limit:     simulationPage,
		}
		for {
			rs, err := s.Readings(ctx, q)
			if err != nil {
				yield(alarm.Sample{}, err)
				return
			}
			for _, r := range rs {
				*n++
				if !yield(sample(r), nil) {
					return
				}
			}
			if len(rs) < simulationPage {
				return
			}
			last := rs[len(rs)-1]
			q.After = &Cursor{Timestamp: last.Timestamp, SensorID: last.SensorID}
		}
	}
}

// ExplainAlarm explains why the alarm id is in its state at now.
func (s *Store) ExplainAlarm(
	ctx context.Context, id int64, now time.Time,
) (alarm.Explanation, error) {
	a, err := s.Alarm(ctx, id)
	if err != nil {
		return alarm.Explanation{}, err
	}
	rules, err := s.newestRules(ctx)
	if err != nil {
		return alarm.Explanation{}, explain("alarm", err)
	}
	r := rules.byID[id]
	if r == nil {
		return alarm.Explanation{}, explain("alarm", ErrNotFound)
	}
	state, err := a.State()
	if err != nil {
		return alarm.Explanation{}, explain("alarm", err)
	}
	found, err := readNewest(ctx, s.api, r.Sensors())
	if err != nil {
		return alarm.Explanation{}, explain("alarm", err)
	}
	state = s.knownAbsences().exclude(r, found.addTo(state, r))
	e := alarm.Explain(r, state, now.UTC())
	by := state.RaisedBy
	if by.SensorID == 0 || !state.Active && !state.Latched && !state.Unacked {
		return e, nil
	}
	var stored bool
	const q = `SELECT EXISTS (SELECT FROM sensor_data WHERE sensor_id = $1 AND timestamp = $2)`
	if err := s.api.GetContext(ctx, &stored, q, by.SensorID, by.Timestamp); err != nil {
		return alarm.Explanation{}, explain("alarm", err)
	}
	if !stored {
		e.Why = append(e.Why, fmt.Sprintf("The reading of sensor %d of %s that raised it is not "+
			"stored any more: it was deleted, or its retention is over.",
			by.SensorID, by.Timestamp.UTC().Format(time.RFC3339Nano)))
	}
	return e, nil
}

// AlarmKPI measures the alarm system in [from, to) by EEMUA 191.
func (s *Store) AlarmKPI(ctx context.Context, from, to time.Time) (alarm.KPIResult, error) {
	k := alarm.NewKPI(from, to, alarm.EEMUA191)
	if err := s.addStanding(ctx, k, from); err != nil {
		return alarm.KPIResult{}, explain("alarm kpi", err)
	}
	const q = `
		SELECT at, alarm_id, occurrence, version, rule_version, kind, before, after, level,
			severity, quiet
		FROM alarm_events
		WHERE at >= $1 AND at < $2
		ORDER BY at, "offset"`
	var events []AlarmEvent
	if err := s.api.SelectContext(ctx, &events, q, from, to); err != nil {
		return alarm.KPIResult{}, explain("alarm kpi", err)
	}
	for _, e := range events {
		k.Add(e.AlarmID, alarm.Event{
			At:           e.At,
			Kind:         alarm.EventKind(e.Kind),
			Occurrence:   e.Occurrence,
			StateVersion: e.StateVersion,
			RuleVersion:  e.RuleVersion,
			Level:        alarm.Level(e.Level),
			Severity:     alarm.Severity(e.Severity),
			Quiet:        e.Quiet,
		})
	}
	return k.Result(), nil
}

// addStanding adds to k the alarms that stand at from.
func (s *Store) addStanding(ctx context.Context, k *alarm.KPI, from time.Time) error {
	const standing = `
		SELECT alarm_id, occurrence, at
		FROM (
			SELECT DISTINCT ON (alarm_id) alarm_id, occurrence, kind, at
			FROM alarm_events
			WHERE kind IN ('raised', 'cleared', 'latched', 'deleted') AND at < $1
			ORDER BY alarm_id, "offset" DESC) e
		WHERE kind = 'raised'`
	var raised []AlarmEvent
	if err := s.api.SelectContext(ctx, &raised, standing, from); err != nil {
		return err
	}
	const acknowledged = `
		SELECT alarm_id, occurrence
		FROM alarm_events
		WHERE kind = 'acknowledged' AND at < $1`
	var acks []AlarmEvent
	if err := s.api.SelectContext(ctx, &acks, acknowledged, from); err != nil {
		return err
	}
	type occurrence struct{ alarmID, number int64 }
	isAcked := map[occurrence]bool{}
	for _, e := range acks {
		isAcked[occurrence{e.AlarmID, e.Occurrence}] = true
	}
	for _, e := range raised {
		unacked := e.At
		if isAcked[occurrence{e.AlarmID, e.Occurrence}] {
			unacked = time.Time{}
		}
		k.Standing(e.AlarmID, e.At, unacked)
	}
	return nil
}
