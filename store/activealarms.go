package store

import "context"

// ActiveAlarms returns the last event of each alarm that is not normal, at most limit, the worst
// first, as they are after the event with the offset last of the log epoch.
func (s *Store) ActiveAlarms(
	ctx context.Context, limit int,
) (epoch string, last int64, events []AlarmEvent, err error) {
	const q = `
		SELECT ` + eventColumns + `, l.last
		FROM alarm_log l
		CROSS JOIN alarm_states s
		CROSS JOIN LATERAL (SELECT * FROM alarm_events WHERE alarm_id = s.alarm_id ORDER BY "offset" DESC LIMIT 1) e
		WHERE s.state <> 'normal'
		ORDER BY s.rank DESC, s.alarm_id
		LIMIT $1` // one statement sees one state of all tables
	var rows []struct {
		AlarmEvent
		Last int64 `db:"last"`
	}
	if epoch, last, err = s.AlarmLog(ctx); err != nil {
		return "", 0, nil, err
	}
	if err := s.api.SelectContext(ctx, &rows, q, limit); err != nil {
		return "", 0, nil, explain("active alarms", err)
	}
	events = make([]AlarmEvent, len(rows))
	for i, row := range rows {
		epoch, last, events[i] = row.Epoch, row.Last, row.AlarmEvent
	}
	return epoch, last, events, nil
}

// WatchAlarmEvents calls changed whenever there may be new alarm events, of any instance, until ctx
// ends.
func (s *Store) WatchAlarmEvents(ctx context.Context, changed func()) error {
	return s.listen(ctx, "alarm_events", func(string) { changed() })
}
