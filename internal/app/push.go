package app

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/configs"
	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/internal/eventjson"
	"github.com/oei-ms/oei-ms/internal/timejson"
	"github.com/oei-ms/oei-ms/push"
	"github.com/oei-ms/oei-ms/push/relay"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// newHub returns a hub that reads from the store, and its relay, which is nil without Redis.
func newHub(
	cfg *configs.Config, auth *auth.Auth, st *store.Store, log *slog.Logger,
	reg prometheus.Registerer,
) (*push.Hub, *relay.Relay, error) {
	hub := push.New(cfg.Push, push.Deps{
		Auth: server.PushAuth(auth, st),
		Latest: func(ctx context.Context, topics []push.Topic, limit int) ([]push.Reading, error) {
			return latest(ctx, st, topics, limit)
		},
		Alarms: &push.AlarmSource{
			Events: func(
				ctx context.Context, after int64, limit int,
			) (string, []push.AlarmEvent, error) {
				return alarmEvents(ctx, st, after, limit)
			},
			Active: func(ctx context.Context) (string, int64, []push.ActiveAlarm, error) {
				return activeAlarms(ctx, st)
			},
		},
	}, log, reg)
	if cfg.Auth.RedisURL == "" {
		return hub, nil, nil
	}
	r, err := relay.New(cfg.Auth.RedisURL, cfg.Push.ShardedRelay, hub, log, reg)
	return hub, r, err
}

// maxPublished bounds the copies made at a time: a transaction may have 20,000 readings.
const maxPublished = 512

// announce returns what publishes the outcome of a commit to the hub and the relay.
func announce(hub *push.Hub, others *relay.Relay) func(ingest.Committed) {
	return func(c ingest.Committed) {
		if c.AlarmsChanged {
			hub.ReadAlarms() // at once, also when the database's notification is late
			others.AlarmsChanged()
		}
		for chunk := range slices.Chunk(c.Readings, maxPublished) {
			readings := pushed(chunk)
			hub.Publish(readings)
			others.Publish(readings)
		}
		for _, s := range c.Presence {
			status := push.Status{GatewayID: s.GatewayID, Status: s.Status, At: s.At}
			hub.PublishStatus(status)
			others.PublishStatus(status)
		}
	}
}

func pushed(readings []store.Reading) []push.Reading {
	rs := make([]push.Reading, len(readings))
	for i, r := range readings {
		rs[i] = push.Reading{
			SensorID:   r.SensorID,
			GatewayID:  r.GatewayID,
			SensorType: r.SensorType,
			Timestamp:  r.Timestamp,
			// as the database keeps it, for snapshots
			Received: r.Received.Truncate(time.Microsecond),
			Value:    r.Value,
			Quality:  r.Quality.String(),
		}
	}
	return rs
}

// latest returns the latest readings of the topics' sensors, at most limit.
func latest(
	ctx context.Context, st *store.Store, topics []push.Topic, limit int,
) (rs []push.Reading, err error) {
	var sensors []int64
	var queries []store.LatestQuery
	for _, t := range topics {
		switch t.Kind {
		case push.Sensors:
			sensors = append(sensors, t.ID)
		case push.Gateways:
			queries = append(queries, store.LatestQuery{GatewayID: &t.ID})
		case push.SensorTypes:
			queries = append(queries, store.LatestQuery{Type: &t.Name, IsSystem: new(false)})
		}
	}
	if len(sensors) > 0 {
		queries = append(queries, store.LatestQuery{Sensors: sensors})
	}
	for _, q := range queries {
		if q.Limit = limit - len(rs); q.Limit <= 0 {
			break
		}
		found, err := st.Latest(ctx, q)
		if err != nil {
			return nil, err
		}
		rs = append(rs, pushed(found)...)
	}
	return rs, nil
}

// maxActiveAlarms bounds the alarms of a snapshot, the most severe first.
const maxActiveAlarms = 10_000

func alarmEvents(
	ctx context.Context, st *store.Store, after int64, limit int,
) (epoch string, events []push.AlarmEvent, err error) {
	found, err := st.AlarmEvents(ctx, after, limit)
	if err == nil && len(found) == 0 {
		epoch, _, err = st.AlarmLog(ctx)
	}
	for _, e := range found {
		epoch = e.Epoch
		events = append(events,
			push.AlarmEvent{Offset: e.Offset, Severity: e.Severity, JSON: alarmJSON(e)})
	}
	return epoch, events, err
}

func activeAlarms(
	ctx context.Context, st *store.Store,
) (epoch string, last int64, alarms []push.ActiveAlarm, err error) {
	epoch, last, found, err := st.ActiveAlarms(ctx, maxActiveAlarms)
	for _, e := range found {
		alarms = append(alarms,
			push.ActiveAlarm{Severity: e.Severity, JSON: alarmJSON(e)})
	}
	return epoch, last, alarms, err
}

func alarmJSON(e store.AlarmEvent) []byte {
	b, _ := timejson.Marshal(eventjson.Alarm(e)) // texts and numbers; a value is finite
	return b
}
