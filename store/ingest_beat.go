package store

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
)

// Silence and delays of alarms do not count the time in which the server could not take readings.

const (
	// IngestBeatInterval is how often BeatIngest is to be called.
	IngestBeatInterval = time.Second
	// MaxBeatPause is the pause between two calls, of any instances, that is not an absence of
	// ingest; for the first call after a start it is maxStartPause.
	MaxBeatPause  = 3 * time.Second
	maxStartPause = 1500 * time.Millisecond
	// reconnectTime is how long gateways may take to reconnect after a start. After a pause they
	// may take twice as long as the pause, but no longer than after a start.
	reconnectTime = 30 * time.Second
	// maxAbsences is how many absences are kept.
	maxAbsences = 1000
)

// absence is a time in which ingest took no readings, or gateways had not yet reconnected.
type absence struct{ since, until time.Time }

// absences are the known absences, the earliest first.
type absences []absence

// knownAbsences returns the absences that this instance has learned.
func (s *Store) knownAbsences() absences {
	if list := s.absences.Load(); list != nil {
		return *list
	}
	return nil
}

// BeatIngest records that an instance takes readings at now. When no instance has done so for a
// while, it records an absence. Each instance has to call it before it sweeps alarms, and not
// concurrently.
func (s *Store) BeatIngest(ctx context.Context, now time.Time) error {
	starts, pause := s.absences.Load() == nil, MaxBeatPause
	if starts {
		pause = maxStartPause
	}
	const q = `
		WITH before AS MATERIALIZED (SELECT at FROM ingest_beat FOR UPDATE),
		beat AS (
			INSERT INTO ingest_beat (at) VALUES ($1)
			ON CONFLICT (one) DO UPDATE SET at = greatest(ingest_beat.at, excluded.at)),
		added AS (
			INSERT INTO ingest_absences (since, until)
			SELECT at, $1::timestamptz + CASE
				WHEN $4 THEN $5::interval
				ELSE least($5::interval, 2 * ($1::timestamptz - at)) END
			FROM before
			WHERE at < $1::timestamptz - make_interval(secs => $2)
			ON CONFLICT (since) DO NOTHING
			RETURNING since, until),
		deleted AS (
			DELETE FROM ingest_absences
			WHERE since < (
				SELECT since
				FROM ingest_absences
				ORDER BY since DESC
				OFFSET $3
				LIMIT 1))
		SELECT coalesce(json_agg(json_build_array(since, until) ORDER BY since), '[]')
		FROM (
			SELECT since, until FROM ingest_absences
			UNION
			SELECT since, until FROM added) a`
	var found []byte
	var times [][2]time.Time
	args := []any{now, pause.Seconds(), maxAbsences, starts, reconnectTime.String()}
	err := s.ingest.QueryRowContext(ctx, q, args...).Scan(&found)
	if err == nil {
		err = json.Unmarshal(found, &times)
	}
	if err != nil {
		return explain("ingest beat", err)
	}
	list := make(absences, len(times))
	for i, t := range times {
		list[i] = absence{t[0], t[1]}
	}
	s.absences.Store(&list)
	return nil
}

// postpone returns t postponed by the absences after it.
func (a absences) postpone(t time.Time) time.Time {
	out, through := t, t
	for _, x := range a {
		if x.until.After(through) {
			out = out.Add(x.until.Sub(later(x.since, through)))
			through = x.until
		}
	}
	return out
}

// exclude returns s, the state of an alarm with the rule r, as if the absences were not part of its
// silence and delays.
func (a absences) exclude(r *alarm.Rule, s alarm.State) alarm.State {
	if len(a) == 0 {
		return s
	}
	if r.Kind == alarm.NoData {
		s.Last = alarm.Sample{SensorID: r.SensorID, At: a.postpone(s.LastHeard())}
		return s
	}
	a.widen(&s.Last)
	s.Others = slices.Clone(s.Others)
	for i := range s.Others {
		a.widen(&s.Others[i])
	}
	return s
}

// widen lets the readings after x take longer to arrive by the absences since x.
func (a absences) widen(x *alarm.Sample) {
	if !x.At.IsZero() {
		x.Spread += a.postpone(x.Received()).Sub(x.Received())
	}
}
