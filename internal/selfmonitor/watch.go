// Package selfmonitor measures how the system itself is: gateways that are missing, clocks that are
// wrong, refusals, the disk, how far ingest is behind, alarms that cannot be evaluated. What it
// finds are readings of the server's own sensors, and what they mean is decided by alarms, as of
// any other sensor.
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
	// unchanged is how long a sensor says nothing while its value stays the same, and longUnchanged
	// one that is about a gateway.
	unchanged, longUnchanged = time.Minute, 15 * time.Minute
	// mostMade is how many sensors are made at once; the others have to wait for the next time.
	mostMade = 500
	// maxTogether is how many readings one transaction stores: with as many alarms as may be on
	// each, it can evaluate them all.
	maxTogether = 100
)

// Watcher looks again and again. Of several instances one does so in each interval, for all.
type Watcher struct {
	Lag      func(now time.Time) time.Duration   // of ingest, in this instance
	DiskFree func() (percent float64, err error) // nil: there is no disk of ours to look at
	// told of the stored readings after the commit, and whether there are new alarm events; must
	// not block
	Tell func(stored []store.Reading, alarmsChanged bool)

	cfg     Config
	store   *store.Store
	log     *slog.Logger
	failing bool
}

// New makes a watcher that looks while Run does.
func New(cfg Config, s *store.Store, log *slog.Logger) *Watcher {
	return &Watcher{
		Lag:  func(time.Time) time.Duration { return 0 },
		Tell: func([]store.Reading, bool) {},
		cfg:  cfg, store: s, log: log,
	}
}

// Run looks until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	if w.cfg.Interval == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(w.cfg.Interval)
	defer tick.Stop()
	for {
		err := w.look(ctx)
		if err != nil && ctx.Err() == nil && !w.failing {
			w.log.WarnContext(ctx, "the system itself is not watched, it is tried again", "error",
				err)
		}
		w.failing = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look measures everything once and stores what has changed.
func (w *Watcher) look(ctx context.Context) error {
	if err := w.store.SetIngestLag(ctx, w.Lag(time.Now()), w.cfg.Interval); err != nil {
		return err
	}
	c, err := w.store.SystemConditions(ctx, w.cfg.Interval)
	if err != nil || c == nil {
		return err
	}
	found := w.found(c)
	var rs []store.Reading
	made := 0
	for _, m := range found {
		v, there := c.Sensors[m.sensor.Key]
		if !there {
			if made++; made > mostMade {
				continue
			}
			if v.ID, err = w.store.AddSystemSensor(ctx, m.sensor, &m.rule, c.At); err != nil {
				return err
			}
		}
		rest := unchanged
		if m.sensor.AboutGatewayID != nil {
			rest = longUnchanged
		}
		if v.At.IsZero() || v.Value != m.value || v.Quality != m.quality || c.At.Sub(v.At) >= rest {
			// without SensorType: live topics by type are of the plant's sensors
			rs = append(rs, store.Reading{
				SensorID:  v.ID,
				GatewayID: c.Own,
				Timestamp: c.At,
				Received:  c.At,
				Value:     m.value,
				Quality:   m.quality,
			})
		}
	}
	if _, err := w.store.SetPresence(ctx,
		[]store.Presence{{GatewayID: c.Own, Status: "online", At: c.At}}); err != nil {
		return err
	}
	for some := range slices.Chunk(rs, maxTogether) {
		if err := w.write(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// write stores readings and tells of those that are new.
func (w *Watcher) write(ctx context.Context, rs []store.Reading) error {
	result, err := w.store.Write(ctx, rs, store.SideWrites{})
	if err != nil {
		return err
	}
	stored := rs[:0]
	for i, o := range result.Outcomes {
		if o == store.Stored {
			stored = append(stored, rs[i])
		}
	}
	w.Tell(stored, result.AlarmsChanged)
	return nil
}

// measured is a value of one of the server's own sensors, and the alarm that is made with the
// sensor.
type measured struct {
	sensor  store.Sensor
	rule    alarm.Rule
	value   float64
	quality store.Quality
}

// found is what c comes to. A gateway's sensors begin when there is something to say: it was heard
// of, its clock is known, something of it was refused.
func (w *Watcher) found(c *store.SystemConditions) []measured {
	list := []measured{{sensor: faultedSensor, rule: faultedRule(), value: float64(c.Faulted)}}
	if w.cfg.IngestLag > 0 {
		list = append(list,
			measured{
				sensor: lagSensor,
				rule:   lagRule(w.cfg.IngestLag),
				value:  round(c.Lag.Seconds(), 0.1),
			})
	}
	if w.cfg.DiskFreePercent > 0 && w.DiskFree != nil {
		m := measured{sensor: diskSensor, rule: diskRule(float64(w.cfg.DiskFreePercent))}
		var err error
		if m.value, err = w.DiskFree(); err != nil {
			m.value, m.quality = math.NaN(), store.Bad
		}
		m.value = round(m.value, 0.1)
		list = append(list, m)
	}
	there := func(key string) bool { _, ok := c.Sensors[key]; return ok }
	for _, g := range c.Gateways {
		if v := refusedSensor(g); w.cfg.RefusalsPerMinute > 0 && (g.Refused > 0 || there(v.Key)) {
			rate := float64(g.Refused) * float64(time.Minute) / float64(max(c.Elapsed,
				w.cfg.Interval))
			list = append(list,
				measured{
					sensor: v,
					rule:   refusedRule(g, float64(w.cfg.RefusalsPerMinute)),
					value:  round(rate, 1),
				})
		}
		if g.IsSystem {
			continue
		}
		if v := offlineSensor(g); w.cfg.OfflineAfter > 0 && (g.Met || there(v.Key)) {
			m := measured{sensor: v, rule: offlineRule(g, w.cfg.OfflineAfter)}
			switch {
			case !g.IsActive || g.Status == "online":
			case g.Status == "offline":
				m.value = 1
			default: // we have not listened for some time, and it has not been heard of since
				m.value, m.quality = 1, store.Uncertain
			}
			list = append(list, m)
		}
		if v := skewSensor(g); w.cfg.ClockSkew > 0 && g.ClockSkewMs != nil {
			list = append(list,
				measured{
					sensor: v,
					rule:   skewRule(g, w.cfg.ClockSkew),
					value:  round(float64(*g.ClockSkewMs)/1000, 0.1),
				})
		}
	}
	return list
}

// round is v in steps, so that noise is no change.
func round(v, step float64) float64 { return math.Round(v/step) / (1 / step) }
