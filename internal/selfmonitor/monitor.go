// Package selfmonitor measures the system itself: gateways that are offline, clocks that are wrong,
// rejections, the disk, the delay of ingest, alarms that cannot be evaluated. What it measures are
// readings of system sensors, evaluated by alarms as those of any other sensor. internal/app runs
// it; it serves no requests.
package selfmonitor

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

const (
	// A value that does not change is stored again after this time, and after the longer one when
	// it is about a gateway.
	unchangedInterval        = time.Minute
	unchangedGatewayInterval = 15 * time.Minute
	// maxNewSensors bounds the sensors created in one pass; others are created in the next.
	maxNewSensors = 500
	// maxReadings bounds the readings of one transaction: with as many alarms as each may have, it
	// can evaluate them all.
	maxReadings = 100
)

// Sources are where a monitor gets what the store does not know, and sends what it has stored.
type Sources struct {
	// IngestLag returns for how long the oldest message of this instance has waited.
	IngestLag func(now time.Time) time.Duration
	// DiskFree returns the free part of the database's disk in percent; nil when it is not known.
	DiskFree func() (percent float64, err error)
	// Stored is called after a commit with the new readings, and whether there are new alarm
	// events; it must not block.
	Stored func(readings []store.Reading, alarmsChanged bool)
}

// Monitor measures at an interval. Of several instances one does so in each interval, for all.
type Monitor struct {
	cfg     Config
	store   *store.Store
	sources Sources
	log     *slog.Logger
}

// New returns a monitor that measures while Run runs.
func New(cfg Config, s *store.Store, sources Sources, log *slog.Logger) *Monitor {
	return &Monitor{cfg: cfg, store: s, sources: sources, log: log}
}

// Run measures until ctx ends.
func (m *Monitor) Run(ctx context.Context) error {
	if m.cfg.Interval == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(m.cfg.Interval)
	defer tick.Stop()
	failed := false
	for {
		err := m.measure(ctx)
		if err != nil && ctx.Err() == nil && !failed {
			m.log.WarnContext(ctx, "self-monitoring failed, retrying", "error", err)
		}
		failed = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// measure measures everything once and stores what has changed.
func (m *Monitor) measure(ctx context.Context) error {
	if err := m.store.SetIngestLag(ctx, m.sources.IngestLag(time.Now()),
		m.cfg.Interval); err != nil {
		return err
	}
	c, err := m.store.SystemConditions(ctx, m.cfg.Interval)
	if err != nil || c == nil {
		return err
	}
	var rs []store.Reading
	created := 0
	for _, q := range m.quantities(c) {
		v, exists := c.Sensors[q.sensor.Key]
		if !exists {
			if created++; created > maxNewSensors {
				continue
			}
			if v.ID, err = m.store.AddSystemSensor(ctx, q.sensor, &q.rule, c.At); err != nil {
				return err
			}
		}
		interval := unchangedInterval
		if q.sensor.AboutGatewayID != nil {
			interval = unchangedGatewayInterval
		}
		if v.At.IsZero() || v.Value != q.value || v.Quality != q.quality ||
			c.At.Sub(v.At) >= interval {
			// without SensorType: live topics by type do not have system sensors
			rs = append(rs, store.Reading{
				SensorID:  v.ID,
				GatewayID: c.Own,
				Timestamp: c.At,
				Received:  c.At,
				Value:     q.value,
				Quality:   q.quality,
			})
		}
	}
	if _, err := m.store.SetPresence(ctx,
		[]store.Presence{{GatewayID: c.Own, Status: "online", At: c.At}}); err != nil {
		return err
	}
	for some := range slices.Chunk(rs, maxReadings) {
		if err := m.write(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// write stores readings and hands on those that are new.
func (m *Monitor) write(ctx context.Context, rs []store.Reading) error {
	result, err := m.store.Write(ctx, rs, store.SideWrites{})
	if err != nil {
		return err
	}
	stored := rs[:0]
	for i, o := range result.Outcomes {
		if o == store.Stored {
			stored = append(stored, rs[i])
		}
	}
	m.sources.Stored(stored, result.AlarmsChanged)
	return nil
}

// quantity is a value of a system sensor, and the alarm that is created with the sensor.
type quantity struct {
	sensor  store.Sensor
	rule    alarm.Rule
	value   float64
	quality store.Quality
}

// quantities lists what c is made of. A gateway's sensors are created when there is something to
// measure: it has connected, its clock is known, something of it was rejected.
func (m *Monitor) quantities(c *store.SystemConditions) []quantity {
	list := []quantity{{sensor: faultedSensor, rule: faultedRule(), value: float64(c.Faulted)}}
	if m.cfg.IngestLag > 0 {
		list = append(list,
			quantity{
				sensor: lagSensor,
				rule:   lagRule(m.cfg.IngestLag),
				value:  round(c.Lag.Seconds(), 0.1),
			})
	}
	if m.cfg.DiskFreePercent > 0 && m.sources.DiskFree != nil {
		q := quantity{sensor: diskSensor, rule: diskRule(float64(m.cfg.DiskFreePercent))}
		var err error
		if q.value, err = m.sources.DiskFree(); err != nil {
			q.value, q.quality = math.NaN(), store.Bad
		}
		q.value = round(q.value, 0.1)
		list = append(list, q)
	}
	exists := func(key string) bool { _, ok := c.Sensors[key]; return ok }
	for _, g := range c.Gateways {
		if v := rejectionsSensor(g); m.cfg.RejectionsPerMinute > 0 &&
			(g.Rejected > 0 || exists(v.Key)) {
			rate := float64(g.Rejected) * float64(time.Minute) / float64(max(c.Elapsed,
				m.cfg.Interval))
			list = append(list,
				quantity{
					sensor: v,
					rule:   rejectionsRule(g, float64(m.cfg.RejectionsPerMinute)),
					value:  round(rate, 1),
				})
		}
		if g.IsSystem {
			continue
		}
		if v := offlineSensor(g); m.cfg.OfflineAfter > 0 && (g.Seen || exists(v.Key)) {
			q := quantity{sensor: v, rule: offlineRule(g, m.cfg.OfflineAfter)}
			switch {
			case !g.IsActive || g.Status == "online":
			case g.Status == "offline":
				q.value = 1
			default: // no instance has listened for some time, and it has not connected since
				q.value, q.quality = 1, store.Uncertain
			}
			list = append(list, q)
		}
		if v := skewSensor(g); m.cfg.ClockSkew > 0 && g.ClockSkewMs != nil {
			list = append(list,
				quantity{
					sensor: v,
					rule:   skewRule(g, m.cfg.ClockSkew),
					value:  round(float64(*g.ClockSkewMs)/1000, 0.1),
				})
		}
	}
	return list
}

// round rounds v to multiples of step, so that noise is not a change.
func round(v, step float64) float64 { return math.Round(v/step) / (1 / step) }
