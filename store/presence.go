package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Presence is what was last heard of a gateway.
type Presence struct {
	GatewayID int64
	Status    string // online, offline or unknown; "" keeps what is known
	At        time.Time
	Skew      *time.Duration // its clock minus ours; nil keeps what is known
}

// SetPresence records what was heard of gateways; of one that is there twice, the last counts.
func (s *Store) SetPresence(ctx context.Context, ps []Presence) error {
	if len(ps) == 0 {
		return nil
	}
	return explain("presence", tx(ctx, s.ingest, func(tx *sqlx.Tx) error { return setPresence(ctx, tx, ps) }))
}

// ResetPresence makes every gateway's status unknown: nothing is known of the time in which nobody listened.
func (s *Store) ResetPresence(ctx context.Context) error {
	_, err := s.ingest.ExecContext(ctx, `UPDATE gateways SET status = 'unknown' WHERE status <> 'unknown'`)
	return explain("presence", err)
}

func setPresence(ctx context.Context, tx *sqlx.Tx, ps []Presence) error {
	if len(ps) == 0 {
		return nil
	}
	merged := make(map[int64]Presence, len(ps))
	for _, p := range ps {
		old := merged[p.GatewayID]
		p.Status = cmp.Or(p.Status, old.Status)
		p.Skew = cmp.Or(p.Skew, old.Skew)
		merged[p.GatewayID] = p
	}
	ids := make([]int64, 0, len(merged))
	for id := range merged {
		ids = append(ids, id)
	}
	slices.Sort(ids) // rows are locked in order
	statuses, skews := make([]string, len(ids)), make([]*int64, len(ids))
	for i, id := range ids {
		statuses[i] = merged[id].Status
		if skew := merged[id].Skew; skew != nil {
			ms := skew.Milliseconds()
			skews[i] = &ms
		}
	}
	const q = `
		UPDATE gateways g
		SET status = coalesce(nullif(p.status, ''), g.status),
			last_seen_at = CASE WHEN g.last_seen_at < now() + interval '1 minute' THEN greatest(g.last_seen_at, p.at) ELSE p.at END,
			clock_skew_ms = coalesce(p.skew, g.clock_skew_ms)
		FROM unnest($1::int[], $2::text[], $3::timestamptz[], $4::bigint[]) AS p (id, status, at, skew)
		WHERE g.id = p.id`
	// what is still to come was said by a clock of ours that ran ahead
	_, err := tx.ExecContext(ctx, q, int32s(ids), pq.Array(statuses),
		timestamps(len(ids), func(i int) time.Time { return merged[ids[i]].At }), pq.Array(skews))
	return err
}
