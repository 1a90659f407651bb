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

// Presence is what was last heard of a gateway.
type Presence struct {
	GatewayID int64          `db:"gateway_id"`
	Status    string         `db:"status"` // online, offline or unknown; "" keeps what is known
	At        time.Time      `db:"at"`
	Skew      *time.Duration // its clock minus ours; nil keeps what is known
	Link      Link
	// it was said some time before At: it tells neither when the gateway was heard of nor since
	// when it is so
	Old bool
}

// Link is what a gateway has to do with the broker in this process.
type Link uint8

// Of the links of one gateway that are written together, the last counts, and that there was a
// LinkUp.
const (
	NoLink Link = iota // another broker vouches for it
	Linked             // it is connected
	// it has just connected: from now on it is this instance that knows when it is gone
	LinkUp
	// its connection has ended: says nothing when it has connected to another instance since
	LinkDown
)

// InstanceBeatInterval is how often BeatInstance is to be called; an instance that has not called it for
// instanceDead has ended.
const (
	InstanceBeatInterval = 5 * time.Second
	instanceDead         = 20 * time.Second
)

// SetPresence records what was heard of gateways, and returns those whose status is another one
// now. What was heard earlier does not replace what was heard later, by whichever instance; of a
// gateway that is there twice, the last counts.
func (s *Store) SetPresence(ctx context.Context, ps []Presence) (changed []Presence, err error) {
	err = inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		changed, err = s.setPresence(ctx, tx, ps)
		return err
	})
	return changed, explain("presence", err)
}

// counts says, of what p says of gateway g to instance $8, whether that is its status from now on.
// What was to come by the time that g's was heard was heard by a clock of ours that ran ahead.
const counts = `(p.status <> '' AND (p.came OR p.gone AND g.held_by = $8 OR NOT (p.gone AND g.held_by IS NOT NULL)
	AND (g.status_at IS NULL OR g.status_at <= p.at OR g.status_at > now() + interval '1 minute')))`

func (s *Store) setPresence(
	ctx context.Context, tx *sqlx.Tx, ps []Presence,
) (changed []Presence, err error) {
	if len(ps) == 0 {
		return nil, nil
	}
	heard := merged(ps)
	n := len(heard)
	ids, statuses, skews := make([]int64, n), make([]string, n), make([]*int64, n)
	came, gone, linked, old := make([]bool, n), make([]bool, n), make([]bool, n), make([]bool, n)
	for i, h := range heard {
		ids[i], statuses[i], came[i], gone[i], linked[i] = h.GatewayID, h.Status, h.came, h.Link == LinkDown, h.Link != NoLink
		old[i] = h.Old
		if h.Skew != nil {
			ms := h.Skew.Milliseconds()
			skews[i] = &ms
		}
	}
	const q = `
		WITH old AS MATERIALIZED (
			SELECT id, status FROM gateways WHERE id = ANY ($1::int[]) ORDER BY id FOR NO KEY UPDATE)
		UPDATE gateways g
		SET status = CASE WHEN ` + counts + ` THEN p.status ELSE g.status END,
			status_at = CASE WHEN NOT p.old AND ` + counts + ` THEN p.at ELSE g.status_at END,
			held_by = CASE
				WHEN p.gone AND ` + counts + ` THEN NULL
				WHEN p.came THEN $8
				WHEN p.linked AND p.status = 'online' AND ` + counts + ` THEN coalesce(g.held_by, $8)
				ELSE g.held_by END,
			last_seen_at = CASE WHEN p.old THEN g.last_seen_at WHEN g.last_seen_at < now() + interval '1 minute' THEN greatest(g.last_seen_at, p.at) ELSE p.at END,
			clock_skew_ms = coalesce(p.skew, g.clock_skew_ms)
		FROM unnest($1::int[], $2::text[], $3::timestamptz[], $4::bigint[], $5::boolean[], $6::boolean[], $7::boolean[],
				$9::boolean[]) AS p (id, status, at, skew, came, gone, linked, old)
			JOIN old ON old.id = p.id
		WHERE g.id = p.id
		RETURNING g.id, g.status, g.status <> old.status`
	rows, err := tx.QueryContext(ctx, q, int32s(ids), pq.Array(statuses),
		timestamps(n, func(i int) time.Time { return heard[i].At }),
		pq.Array(skews), pq.Array(came), pq.Array(gone), pq.Array(linked), s.instance,
		pq.Array(old))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var status string
		var other bool
		if err := rows.Scan(&id, &status, &other); err != nil {
			return nil, err
		}
		if i, _ := slices.BinarySearch(ids, id); other {
			changed = append(changed, Presence{GatewayID: id, Status: status, At: heard[i].At})
		}
	}
	return changed, rows.Err()
}

// hearing is all that was heard of a gateway.
type hearing struct {
	Presence
	came bool // there was a LinkUp
}

// merged is one hearing of each gateway, in order of their ids: so rows are locked.
func merged(ps []Presence) []hearing {
	all := make(map[int64]hearing, len(ps))
	for _, p := range ps {
		h := all[p.GatewayID]
		if p.Status == "" {
			p.Status, p.Link = h.Status, h.Link
		}
		p.Skew = cmp.Or(p.Skew, h.Skew)
		p.Old = p.Old && (h.GatewayID == 0 || h.Old)
		all[p.GatewayID] = hearing{p, h.came || p.Link == LinkUp}
	}
	return slices.SortedFunc(maps.Values(all),
		func(a, b hearing) int { return cmp.Compare(a.GatewayID, b.GatewayID) })
}

// ResetPresence makes the status unknown of every gateway that no instance holds which is there:
// nothing is known of the time in which nobody listened. alone says that there is no other
// instance.
func (s *Store) ResetPresence(ctx context.Context, alone bool) error {
	const q = `
		UPDATE gateways
		SET status = 'unknown', status_at = now(), held_by = NULL
		WHERE status <> 'unknown' AND NOT is_system
			AND ($1 OR held_by IS NULL OR held_by NOT IN (SELECT id FROM instances WHERE beat_at > now() - make_interval(secs => $2)))`
	_, err := s.ingest.ExecContext(ctx, q, alone, instanceDead.Seconds())
	return explain("presence", err)
}

// BeatInstance says that this instance is there, and makes the status unknown of the gateways that
// were connected to one which is not there any more. It returns them; of several instances one gets
// each. missed says that others have taken this one for ended, since it was last called. It must
// not be called by two at once.
func (s *Store) BeatInstance(ctx context.Context) (lost []Presence, missed bool, err error) {
	const beat = `
		INSERT INTO instances (id, beat_at) VALUES ($1, now())
		ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at
		RETURNING xmax = 0` // it was inserted
	const bury = `DELETE FROM instances WHERE beat_at < now() - make_interval(secs => $1) RETURNING id`
	was := s.beat
	err = inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &missed, beat, s.instance); err != nil {
			return err
		}
		// the database was away: the others first get to say that they are there
		if time.Since(was) > instanceDead {
			return nil
		}
		var dead []int64
		if err := tx.SelectContext(ctx, &dead, bury, instanceDead.Seconds()); err != nil {
			return err
		}
		lost, err = orphan(ctx, tx, dead)
		return err
	})
	if err == nil {
		s.beat = time.Now()
	}
	return lost, missed && !was.IsZero(), explain("presence", err)
}

// RemoveInstance makes the status unknown of the gateways that were connected here, and returns
// them: this instance ends.
func (s *Store) RemoveInstance(ctx context.Context) (lost []Presence, err error) {
	err = inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM instances WHERE id = $1`, s.instance); err != nil {
			return err
		}
		lost, err = orphan(ctx, tx, []int64{s.instance})
		return err
	})
	return lost, explain("presence", err)
}

// orphan makes the status unknown of the gateways that these instances hold.
func orphan(ctx context.Context, tx *sqlx.Tx, instances []int64) (lost []Presence, err error) {
	if len(instances) == 0 {
		return nil, nil
	}
	const q = `
		WITH held AS MATERIALIZED (
			SELECT id FROM gateways WHERE held_by = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE)
		UPDATE gateways g
		SET status = 'unknown', status_at = now(), held_by = NULL
		FROM held
		WHERE g.id = held.id AND g.held_by = ANY ($1::bigint[])
		RETURNING g.id AS gateway_id, g.status, g.status_at AS at`
	err = tx.SelectContext(ctx, &lost, q, pq.Array(instances))
	return lost, err
}
