package store

import "context"

// SensorSummary identifies a sensor to people.
type SensorSummary struct {
	GatewayKey string `db:"gateway_key"`
	Key        string `db:"key"`
	Name       string `db:"name"`
	Unit       string `db:"unit"`
}

// SensorSummaries returns the summaries of sensors by id; an unknown sensor is absent from the
// result.
func (s *Store) SensorSummaries(ctx context.Context, ids []int64) (map[int64]SensorSummary, error) {
	const query = `
		SELECT s.id, g.key AS gateway_key, s.key, s.name, s.unit
		FROM sensors s
		JOIN gateways g ON g.id = s.gateway_id
		WHERE s.id = ANY ($1::int[])`
	var rows []struct {
		ID int64 `db:"id"`
		SensorSummary
	}
	if err := s.api.SelectContext(ctx, &rows, query, int32s(unique(ids))); err != nil {
		return nil, explain("sensor summaries", err)
	}
	summaries := make(map[int64]SensorSummary, len(rows))
	for _, r := range rows {
		summaries[r.ID] = r.SensorSummary
	}
	return summaries, nil
}
