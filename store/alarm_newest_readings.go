package store

import (
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/series"
)

// How long readings take to arrive.
//
// A reading is on its way from its effective time to its receipt. The newest of a sensor tells
// where the sensor's clock stands, and how much longer others took, which come in batches, is
// learned: it is latest.spread_ms. A delay of an alarm that no reading ends is over when a reading
// from its end would have arrived by that, and a margin.

const (
	// maxSpread bounds what is learned: a backlog of days does not keep delays waiting for days.
	maxSpread = 30 * time.Minute
	// minWait is how long a reading may take to be stored.
	minWait = time.Second
)

// nextSpread is spread_ms after excluded has become the newest reading: it grows at once, and in
// ten minutes it is forgotten.
const nextSpread = `CASE
			WHEN excluded.spread_ms IS NULL THEN latest.spread_ms
			ELSE greatest(excluded.spread_ms, least(1800000,
				coalesce(latest.spread_ms, 0)
					* least(1, greatest(0,
						1 - date_part('epoch', excluded.received_at - latest.received_at) / 600))
				+ 1000 * date_part('epoch', greatest(latest.received_at - latest.timestamp, '0')
					- greatest(excluded.received_at - excluded.timestamp, '0'))))::integer
			END`

// way is how long a reading was on its way.
func (r *Reading) way() time.Duration { return max(r.receipt().Sub(r.Timestamp), 0) }

// spreads is, for the newest row of each sensor, how many milliseconds longer than that others of
// the sensor were on their way, and one more; NULL for sensors whose alarms have no delays.
func (b *batch) spreads(newest []row, rules *ruleSet) []byte {
	list := make([]int32, len(newest))
	if len(rules.delayed) == 0 {
		return positive32s(list)
	}
	rows := b.rows
	for i, n := range newest {
		for len(rows) > 0 && rows[0].sensor < n.sensor {
			rows = rows[1:]
		}
		if !rules.delayed[n.sensor] {
			continue
		}
		way := b.readings[n.reading].way()
		longest := way
		for len(rows) > 0 && rows[0].sensor == n.sensor {
			if b.outcomes[rows[0].reading] == Stored {
				longest = max(longest, b.readings[rows[0].reading].way())
			}
			rows = rows[1:]
		}
		list[i] = int32(min(longest-way, maxSpread).Milliseconds()) + 1
	}
	return positive32s(list)
}

// noteLateReceipts notes the receipt of readings that were late, as signs of life, where an alarm watches
// for silence. It adds their sensors to those that m has moved.
func (b *batch) noteLateReceipts(ctx context.Context, tx *sqlx.Tx, newest []row, m *evaluator) error {
	if len(m.moved) == len(newest) {
		return nil
	}
	var sensors []int64
	var received []time.Time
	moved := m.moved
	for _, r := range newest {
		for len(moved) > 0 && moved[0].sensor < r.sensor {
			moved = moved[1:]
		}
		if len(moved) > 0 && moved[0].sensor == r.sensor || !m.rules.watchesSilence(r.sensor) {
			continue
		}
		sensors = append(sensors, r.sensor)
		received = append(received, b.readings[r.reading].receipt())
	}
	if len(sensors) == 0 {
		return nil
	}
	const q = `
		UPDATE latest l
		SET heard_at = greatest(l.heard_at, h.received)
		FROM unnest($1::int[], $2::timestamptz[]) AS h (sensor_id, received)
		WHERE l.sensor_id = h.sensor_id
		RETURNING l.sensor_id, l.timestamp, l.received_at, l.stamp`
	rows, err := tx.QueryContext(ctx, q, int32s(sensors), pq.Array(received))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var v movedSensor
		var at, received time.Time
		if err := rows.Scan(&v.sensor, &at, &received, &v.stamp); err != nil {
			return err
		}
		v.at, v.previous, v.previousReceived = series.InstantOf(at), series.InstantOf(at), series.InstantOf(received)
		m.moved = append(m.moved, v)
	}
	slices.SortFunc(m.moved, bySensor)
	return rows.Err()
}

// watchesSilence reports whether an alarm watches for the silence of sensor.
func (n *ruleSet) watchesSilence(sensor int64) bool {
	return slices.ContainsFunc(n.bySensor[sensor], func(id int64) bool {
		return n.byID[id].Kind == alarm.NoData
	})
}

// newestReadings are the newest readings of sensors, and when they were last heard of.
type newestReadings map[int64]newestReading

type newestReading struct {
	newest alarm.Sample
	heard  time.Time
}

// readNewest reads those of sensors.
func readNewest(ctx context.Context, q sqlx.QueryerContext, sensors []int64) (newestReadings, error) {
	const newest = `
		SELECT sensor_id, timestamp, received_at, coalesce(value, 'NaN'), quality,
			coalesce(spread_ms, 0), greatest(received_at, heard_at)
		FROM latest
		WHERE sensor_id = ANY ($1::int[])`
	rows, err := q.QueryContext(ctx, newest, int32s(sensors))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := make(newestReadings, len(sensors))
	for rows.Next() {
		var r Reading
		var spread int64
		var heard time.Time
		err := rows.Scan(&r.SensorID, &r.Timestamp, &r.Received, &r.Value, &r.Quality, &spread,
			&heard)
		if err != nil {
			return nil, err
		}
		x := sample(r)
		x.Spread = 2*time.Duration(spread)*time.Millisecond + minWait
		found[r.SensorID] = newestReading{newest: x, heard: heard.UTC()}
	}
	return found, rows.Err()
}

// tell gives an alarm's state the newest readings of its sensors.
func (a newestReadings) tell(r *alarm.Rule, s alarm.State) alarm.State {
	for _, sensor := range r.Sensors() {
		if x, ok := a[sensor]; ok {
			if r.Kind == alarm.NoData {
				x.newest.At, x.newest.Skew = x.heard, 0
			}
			s = s.Saw(r, x.newest)
		}
	}
	return s
}
