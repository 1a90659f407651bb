package store

import (
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/series"
)

// How long readings take to arrive.
//
// The transit time of a reading is the time from its effective time to its receipt. The transit
// time of a sensor's newest reading tells how far its clock is off; how much longer other readings
// take, which arrive in batches, is learned as latest.spread_ms. When no reading ends a delay of an
// alarm, the delay is over once a reading from its end would have arrived, with a margin.

const (
	// maxSpread bounds the spread: a backlog of days must not make delays wait for days.
	maxSpread = 30 * time.Minute
	// minWait is how long it may take to store a reading.
	minWait = time.Second
)

// nextSpread is the SQL of spread_ms after excluded has become the newest reading: it grows at once
// and decays within ten minutes.
const nextSpread = `CASE
			WHEN excluded.spread_ms IS NULL THEN latest.spread_ms
			ELSE greatest(excluded.spread_ms, least(1800000,
				coalesce(latest.spread_ms, 0)
					* least(1, greatest(0,
						1 - date_part('epoch', excluded.received_at - latest.received_at) / 600))
				+ 1000 * date_part('epoch', greatest(latest.received_at - latest.timestamp, '0')
					- greatest(excluded.received_at - excluded.timestamp, '0'))))::integer
			END`

// transit returns how long r took to arrive.
func (r *Reading) transit() time.Duration { return max(r.receivedTime().Sub(r.Timestamp), 0) }

// spreads returns for the newest row of each sensor by how many milliseconds the transit time of
// its other rows is longer, plus 1; 0 for sensors without an alarm that has delays.
func (b *batch) spreads(newest []row, rules *ruleSet) []int32 {
	spreads := make([]int32, len(newest))
	if len(rules.delayed) == 0 {
		return spreads
	}
	rows := b.rows
	for i, n := range newest {
		for len(rows) > 0 && rows[0].sensor < n.sensor {
			rows = rows[1:]
		}
		if !rules.delayed[n.sensor] {
			continue
		}
		transit := b.readings[n.reading].transit()
		maxTransit := transit
		for len(rows) > 0 && rows[0].sensor == n.sensor {
			if b.outcomes[rows[0].reading] == Stored {
				maxTransit = max(maxTransit, b.readings[rows[0].reading].transit())
			}
			rows = rows[1:]
		}
		spreads[i] = int32(min(maxTransit-transit, maxSpread).Milliseconds()) + 1
	}
	return spreads
}

// noteLateReceipts records the receipt of late readings, as signs of life, where an alarm watches
// for silence. It adds their sensors to ev.moved.
func (b *batch) noteLateReceipts(
	ctx context.Context, tx *sqlx.Tx, newest []row, ev *evaluator,
) error {
	if len(ev.moved) == len(newest) {
		return nil
	}
	var late []row
	moved := ev.moved
	for _, r := range newest {
		for len(moved) > 0 && moved[0].sensor < r.sensor {
			moved = moved[1:]
		}
		isMoved := len(moved) > 0 && moved[0].sensor == r.sensor
		if !isMoved && ev.rules.watchesSilence(r.sensor) {
			late = append(late, r)
		}
	}
	if len(late) == 0 {
		return nil
	}
	const q = `
		UPDATE latest l
		SET heard_at = greatest(l.heard_at, h.received)
		FROM unnest($1::int[], $2::timestamptz[]) AS h (sensor_id, received)
		WHERE l.sensor_id = h.sensor_id
		RETURNING l.sensor_id, l.timestamp, l.received_at, l.stamp`
	rows, err := tx.QueryContext(ctx, q,
		column(late, asInt4, func(r row) int64 { return r.sensor }),
		column(late, asTimestamptz,
			func(r row) time.Time { return b.readings[r.reading].receivedTime() }))
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
		v.at, v.previous = series.InstantOf(at), series.InstantOf(at)
		v.previousReceived = series.InstantOf(received)
		ev.moved = append(ev.moved, v)
	}
	slices.SortFunc(ev.moved, bySensor)
	return rows.Err()
}

// watchesSilence reports whether an alarm watches for the silence of sensor.
func (n *ruleSet) watchesSilence(sensor int64) bool {
	return slices.ContainsFunc(n.bySensor[sensor], func(id int64) bool {
		return n.byID[id].Kind == alarm.NoData
	})
}

// newestReadings are the newest readings of sensors.
type newestReadings map[int64]newestReading

type newestReading struct {
	sample alarm.Sample
	heard  time.Time // when any reading of the sensor was last received
}

// readNewest reads the newest readings of sensors.
func readNewest(
	ctx context.Context, q sqlx.QueryerContext, sensors []int64,
) (newestReadings, error) {
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
		found[r.SensorID] = newestReading{sample: x, heard: heard.UTC()}
	}
	return found, rows.Err()
}

// addTo returns s with the newest readings of the sensors of its rule r.
func (n newestReadings) addTo(s alarm.State, r *alarm.Rule) alarm.State {
	for _, sensor := range r.Sensors() {
		newest, ok := n[sensor]
		if !ok {
			continue
		}
		x := newest.sample
		if r.Kind == alarm.NoData {
			x.At, x.Skew = newest.heard, 0
		}
		s = s.WithNewest(r, x)
	}
	return s
}
