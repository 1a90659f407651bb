package main

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/configs"
	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/push"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// newHub returns a hub with all that it asks of others.
func newHub(cfg *configs.Config, auth *server.Auth, st *store.Store, log *slog.Logger, reg prometheus.Registerer) (_ *push.Hub, err error) {
	hub := push.NewHub(cfg.Push, auth.Push(), log, reg)
	hub.Latest = func(ctx context.Context, topics []push.Topic, limit int) ([]push.Reading, error) {
		return latest(ctx, st, topics, limit)
	}
	if cfg.Server.RedisURL != "" {
		if hub.Relay, err = push.NewRelay(cfg.Server.RedisURL, cfg.Push.ShardedRelay, log, reg); err != nil {
			return nil, err
		}
	}
	return hub, nil
}

// announce tells the hub of every commit.
func announce(hub *push.Hub) func(ingest.Committed) {
	return func(c ingest.Committed) {
		hub.Publish(pushed(c.Readings))
		for _, s := range c.Presence {
			hub.PublishStatus(push.Status{GatewayID: s.GatewayID, Status: s.Status, At: s.At})
		}
	}
}

func pushed(readings []store.Reading) []push.Reading {
	rs := make([]push.Reading, len(readings))
	for i, r := range readings {
		rs[i] = push.Reading{
			SensorID: r.SensorID, GatewayID: r.GatewayID, SensorType: r.SensorType, Timestamp: r.Timestamp, Value: r.Value, Quality: r.Quality.String(),
		}
	}
	return rs
}

// latest returns the newest readings of the topics' sensors, at most about limit.
func latest(ctx context.Context, st *store.Store, topics []push.Topic, limit int) (rs []push.Reading, err error) {
	var sensors []int64
	var queries []store.LatestQuery
	for _, t := range topics {
		switch t.Kind {
		case push.Sensors:
			sensors = append(sensors, t.ID)
		case push.Gateways:
			queries = append(queries, store.LatestQuery{GatewayID: &t.ID})
		case push.SensorTypes:
			queries = append(queries, store.LatestQuery{Type: &t.Name})
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
