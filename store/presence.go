package store

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Presence is a report on the presence of a gateway.
type Presence struct {
	GatewayID int64          `db:"gateway_id"`
	Status    string         `db:"status"` // online, offline or unknown; "" keeps the known status
	At        time.Time      `db:"at"`
	Skew      *time.Duration // the gateway's clock minus the server's; nil keeps the known skew
	Link      Link
	// the report was made at an unknown time before At, as that of a retained message: it sets the
	// status, but neither since when it holds nor when the gateway was last seen
	Old bool
}

// Link is the relation of a gateway to the broker in this process. Of several reports on a gateway
// that are written together, the last link counts, and so does any LinkUp.
type Link uint8

// The links.
const (
	NoLink Link = iota // the report comes from another broker
	Linked             // the gateway is connected
	LinkUp             // it has just connected: this instance now reports when it disconnects
	// it has disconnected; ignored if it has connected to another instance since
	LinkDown
)

const (
	// InstanceBeatInterval is how often BeatInstance is to be called.
	InstanceBeatInterval = 5 * time.Second
	// instanceDead is the time without a call of BeatInstance after which an instance is dead.
	instanceDead = 20 * time.Second
)

// SetPresence stores reports and returns those that changed a gateway's status. An earlier report
// does not replace a later one, also of another instance. Of several reports on a gateway the last
// in the list counts.
func (s *Store) SetPresence(
	ctx context.Context, reports []Presence,
) (changed []Presence, err error) {
	err = inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		changed, err = s.setPresence(ctx, tx, reports)
		return err
	})
	return changed, explain("presence", err)
}

// statusCounts is the SQL that says whether the status of the report p to instance $8 becomes that
// of its gateway g. A status_at in the future was written by a clock that ran ahead.
const statusCounts = `(p.status <> ''
	AND (p.connected
		OR p.disconnected AND g.held_by = $8
		OR NOT (p.disconnected AND g.held_by IS NOT NULL)
			AND (g.status_at IS NULL OR g.status_at <= p.at
				OR g.status_at > now() + interval '1 minute')))`

func (s *Store) setPresence(
	ctx context.Context, tx *sqlx.Tx, reports []Presence,
) (changed []Presence, err error) {
	if len(reports) == 0 {
		return nil, nil
	}
	merged := mergePresence(reports)
	const q = `
		WITH old AS MATERIALIZED (
			SELECT id, status
			FROM gateways
			WHERE id = ANY ($1::int[])
			ORDER BY id
			FOR NO KEY UPDATE)
		UPDATE gateways g
		SET status = CASE WHEN ` + statusCounts + ` THEN p.status ELSE g.status END,
			status_at = CASE
				WHEN NOT p.old AND ` + statusCounts + ` THEN p.at
				ELSE g.status_at END,
			held_by = CASE
				WHEN p.disconnected AND ` + statusCounts + ` THEN NULL
				WHEN p.connected THEN $8
				WHEN p.linked AND p.status = 'online' AND ` + statusCounts + `
					THEN coalesce(g.held_by, $8)
				ELSE g.held_by END,
			last_seen_at = CASE
				WHEN p.old THEN g.last_seen_at
				WHEN g.last_seen_at < now() + interval '1 minute'
					THEN greatest(g.last_seen_at, p.at)
				ELSE p.at END,
			clock_skew_ms = coalesce(p.skew, g.clock_skew_ms)
		FROM unnest($1::int[], $2::text[], $3::timestamptz[], $4::bigint[], $5::boolean[],
				$6::boolean[], $7::boolean[], $9::boolean[])
				AS p (id, status, at, skew, connected, disconnected, linked, old)
			JOIN old ON old.id = p.id
		WHERE g.id = p.id
		RETURNING g.id, g.status, g.status <> old.status`
	rows, err := tx.QueryContext(ctx, q,
		column(merged, asInt4, func(p mergedPresence) int64 { return p.GatewayID }),
		column(merged, asText, func(p mergedPresence) string { return p.Status }),
		column(merged, asTimestamptz, func(p mergedPresence) time.Time { return p.At }),
		column(merged, orNull(asInt8), mergedPresence.skewMs),
		column(merged, asBool, func(p mergedPresence) bool { return p.connected }),
		column(merged, asBool, func(p mergedPresence) bool { return p.Link == LinkDown }),
		column(merged, asBool, func(p mergedPresence) bool { return p.Link != NoLink }),
		s.instance,
		column(merged, asBool, func(p mergedPresence) bool { return p.Old }))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var status string
		var isChanged bool
		if err := rows.Scan(&id, &status, &isChanged); err != nil {
			return nil, err
		}
		if i, _ := slices.BinarySearchFunc(merged, id, mergedPresence.compare); isChanged {
			changed = append(changed,
				Presence{GatewayID: id, Status: status, At: merged[i].At})
		}
	}
	return changed, rows.Err()
}

// mergedPresence is all reports on a gateway.
type mergedPresence struct {
	Presence
	connected bool // one of them had LinkUp
}

func (p mergedPresence) skewMs() *int64 {
	if p.Skew == nil {
		return nil
	}
	return new(p.Skew.Milliseconds())
}

func (p mergedPresence) compare(gateway int64) int { return cmp.Compare(p.GatewayID, gateway) }

// mergePresence merges the reports on each gateway, and returns them by gateway: the order in which
// rows are locked.
func mergePresence(reports []Presence) []mergedPresence {
	all := make(map[int64]mergedPresence, len(reports))
	for _, p := range reports {
		before := all[p.GatewayID]
		if p.Status == "" {
			p.Status, p.Link = before.Status, before.Link
		}
		p.Skew = cmp.Or(p.Skew, before.Skew)
		p.Old = p.Old && (before.GatewayID == 0 || before.Old)
		all[p.GatewayID] = mergedPresence{p, before.connected || p.Link == LinkUp}
	}
	return slices.SortedFunc(maps.Values(all),
		func(a, b mergedPresence) int { return cmp.Compare(a.GatewayID, b.GatewayID) })
}

// ResetPresence sets the status of every gateway to unknown that is not held by a live instance: no
// instance has listened to it. With alone, no other instance is live.
func (s *Store) ResetPresence(ctx context.Context, alone bool) error {
	const q = `
		UPDATE gateways
		SET status = 'unknown', status_at = now(), held_by = NULL
		WHERE status <> 'unknown' AND NOT is_system
			AND ($1 OR held_by IS NULL OR held_by NOT IN (
				SELECT id FROM instances WHERE beat_at > now() - make_interval(secs => $2)))`
	_, err := s.ingest.ExecContext(ctx, q, alone, instanceDead.Seconds())
	return explain("presence", err)
}

// BeatInstance records that this instance is live. It removes dead instances and sets the status of
// their gateways to unknown; it returns these gateways, each to one of several instances. missed
// means that another instance has taken this one for dead since the previous call. It must not be
// called concurrently.
func (s *Store) BeatInstance(ctx context.Context) (lost []Presence, missed bool, err error) {
	const beat = `
		INSERT INTO instances (id, beat_at) VALUES ($1, now())
		ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at
		RETURNING xmax = 0` // the row was inserted
	const removeDead = `
		DELETE FROM instances
		WHERE beat_at < now() - make_interval(secs => $1)
		RETURNING id`
	previous := s.beat
	err = inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &missed, beat, s.instance); err != nil {
			return err
		}
		// after an outage of the database the other instances get the time to beat first
		if time.Since(previous) > instanceDead {
			return nil
		}
		var dead []int64
		if err := tx.SelectContext(ctx, &dead, removeDead, instanceDead.Seconds()); err != nil {
			return err
		}
		lost, err = releaseGateways(ctx, tx, dead)
		return err
	})
	if err == nil {
		s.beat = time.Now()
	}
	return lost, missed && !previous.IsZero(), explain("presence", err)
}

// RemoveInstance removes this instance, which ends, and sets the status of its gateways to unknown.
// It returns them.
func (s *Store) RemoveInstance(ctx context.Context) (lost []Presence, err error) {
	err = inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		const remove = `DELETE FROM instances WHERE id = $1`
		if _, err := tx.ExecContext(ctx, remove, s.instance); err != nil {
			return err
		}
		lost, err = releaseGateways(ctx, tx, []int64{s.instance})
		return err
	})
	return lost, explain("presence", err)
}

// releaseGateways sets the status of the gateways to unknown that instances hold, and returns them.
func releaseGateways(
	ctx context.Context, tx *sqlx.Tx, instances []int64,
) (released []Presence, err error) {
	if len(instances) == 0 {
		return nil, nil
	}
	const q = `
		WITH held AS MATERIALIZED (
			SELECT id
			FROM gateways
			WHERE held_by = ANY ($1::bigint[])
			ORDER BY id
			FOR NO KEY UPDATE)
		UPDATE gateways g
		SET status = 'unknown', status_at = now(), held_by = NULL
		FROM held
		WHERE g.id = held.id AND g.held_by = ANY ($1::bigint[])
		RETURNING g.id AS gateway_id, g.status, g.status_at AS at`
	err = tx.SelectContext(ctx, &released, q, pq.Array(instances))
	return released, err
}
