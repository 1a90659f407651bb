package store

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
)

// Time in which the server could not take readings says nothing of the sensors: silence and delays
// do not count it.

const (
	// IngestBeatInterval is how often BeatIngest is to be called.
	IngestBeatInterval = time.Second
	// MaxBeatPause is for how long no instance may have called it before ingest was away; at a
	// start it is maxStartPause.
	MaxBeatPause  = 3 * time.Second
	maxStartPause = 1500 * time.Millisecond
	// reconnectTime is how long gateways have to come back after a start; after a pause it is twice
	// as long as that, if it is less.
	reconnectTime = 30 * time.Second
	// maxAbsences is how many absences are kept.
	maxAbsences = 1000
)

// absence is when the sensors could not be heard, and gateways had not had the time to come back.
type absence struct{ since, until time.Time }

// absences are those that are known, the earliest first.
type absences []absence

// away is the absences that this instance knows of.
func (s *Store) away() absences {
	if list := s.absences.Load(); list != nil {
		return *list
	}
	return nil
}

// BeatIngest says that an instance takes readings at now. Where none has said so for a while,
// sensors are not taken for silent in between. It has to be called before alarms are swept, by each
// instance, and not by two at once.
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
		away AS (
			INSERT INTO ingest_absences (since, until)
			SELECT at, $1::timestamptz + CASE
				WHEN $4 THEN $5::interval
				ELSE least($5::interval, 2 * ($1::timestamptz - at)) END
			FROM before
			WHERE at < $1::timestamptz - make_interval(secs => $2)
			ON CONFLICT (since) DO NOTHING
			RETURNING since, until),
		gone AS (
			DELETE FROM ingest_absences
			WHERE since < (SELECT since FROM ingest_absences ORDER BY since DESC OFFSET $3 LIMIT 1))
		SELECT coalesce(json_agg(json_build_array(since, until) ORDER BY since), '[]')
		FROM (SELECT since, until FROM ingest_absences UNION SELECT since, until FROM away) a`
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

// after is t put off by the time after it in which sensors could not be heard.
func (a absences) after(t time.Time) time.Time {
	out, through := t, t
	for _, x := range a {
		if x.until.After(through) {
			out = out.Add(x.until.Sub(later(x.since, through)))
			through = x.until
		}
	}
	return out
}

// excuse has the time in which the sensors of an alarm could not be heard not count.
func (a absences) excuse(r *alarm.Rule, s alarm.State) alarm.State {
	if len(a) == 0 {
		return s
	}
	if r.Kind == alarm.NoData {
		s.Last = alarm.Sample{SensorID: r.SensorID, At: a.after(s.Heard())}
		return s
	}
	late := func(x *alarm.Sample) {
		if !x.At.IsZero() {
			x.Spread += a.after(x.Received()).Sub(x.Received())
		}
	}
	late(&s.Last)
	s.Others = slices.Clone(s.Others)
	for i := range s.Others {
		late(&s.Others[i])
	}
	return s
}
