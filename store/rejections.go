package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

const (
	// rejectedBytes is how much of a refused payload is kept.
	rejectedBytes = 4 << 10
	// rejectedTopic is how much of a topic is kept, which may have 64 KiB and is part of an index.
	rejectedTopic = 512
	// sweptRejections is how many are removed in one transaction.
	sweptRejections = 1000
	// foldAbove is how many refusals a transaction records each by itself. When there are more,
	// gateways are flooding us: of those of one gateway, topic and reason the first is recorded and
	// the others are counted in one entry.
	foldAbove = 32
)

// Rejection is a payload, or one sample of it, that was refused.
type Rejection struct {
	GatewayID int64  // 0: it is not registered
	Gateway   string // key, as authenticated, else as the topic has it
	Topic     string
	Reason    string // stable, for programs
	Detail    string // for people
	Payload   []byte // of the sample if only it was refused
	At        time.Time
}

// RecordedRejection is a rejection as it is kept: once for each gateway, topic, reason and payload.
type RecordedRejection struct {
	ID          int64  `db:"id"`
	GatewayID   *int64 `db:"gateway_id"` // nil: it was not registered
	Gateway     string `db:"gateway"`
	Topic       string `db:"topic"`
	Reason      string `db:"reason"`
	Detail      string `db:"detail"`       // of the last time
	Payload     []byte `db:"payload"`      // the beginning
	PayloadSize int    `db:"payload_size"` // of the whole
	// it counts refusals that came too fast to keep each; payload and detail are of one of them
	Folded  bool      `db:"folded"`
	Count   int64     `db:"count"`
	FirstAt time.Time `db:"first_at"`
	LastAt  time.Time `db:"last_at"`
}

// RejectionFilter selects what was refused; nil takes all.
type RejectionFilter struct {
	Gateway, Reason, Topic *string
	GatewayID              *int64
	Start, End             *time.Time // of the last time it came, [Start, End)
}

// A gateway's are those that have its id, whatever its key was, and those that came before it was
// registered.
const rejectionsWhere = `
	WHERE ($1::text IS NULL OR gateway_id = ANY (ARRAY(SELECT id FROM gateways WHERE key = $1) || 0) AND (gateway_id <> 0 OR gateway = $1))
		AND ($2::int IS NULL OR gateway_id = $2) AND ($3::text IS NULL OR reason = $3)
		AND ($4::text IS NULL OR topic = $4)
		AND last_at >= coalesce($5::timestamptz, '-infinity') AND last_at < coalesce($6::timestamptz, 'infinity')`

func (f RejectionFilter) args() []any {
	return []any{f.Gateway, f.GatewayID, f.Reason, f.Topic, f.Start, f.End}
}

// Rejections returns at most limit of what was refused, the one that came last first; never nil.
// With after the page begins behind the one that came at that time and has the id afterID.
func (s *Store) Rejections(
	ctx context.Context, f RejectionFilter, after *time.Time, afterID int64, limit int,
) ([]RecordedRejection, error) {
	const q = `
		SELECT id, nullif(gateway_id, 0) AS gateway_id, gateway, topic, reason, detail, payload, payload_size, folded, count, first_at, last_at
		FROM rejections ` + rejectionsWhere + ` AND ($7::timestamptz IS NULL OR (last_at, id) < ($7, $8::bigint))
		ORDER BY last_at DESC, id DESC
		LIMIT $9`
	rs := []RecordedRejection{}
	err := s.api.SelectContext(ctx, &rs, q, append(f.args(), after, afterID, limit)...)
	return rs, explain("rejections", err)
}

// CountRejections returns how many entries f selects.
func (s *Store) CountRejections(ctx context.Context, f RejectionFilter) (int64, error) {
	var n int64
	err := s.api.GetContext(ctx, &n, `SELECT count(*) FROM rejections `+rejectionsWhere,
		f.args()...)
	return n, explain("rejections", err)
}

// DeleteExpiredRejections removes those that came last longer than retention ago, and those of gateways
// that were deleted. Call it every hour or so.
func (s *Store) DeleteExpiredRejections(ctx context.Context, retention time.Duration) error {
	const q = `
		SELECT c.gateway_id, g.id IS NULL AND c.gateway_id <> 0 AS deleted
		FROM rejection_counts c
		LEFT JOIN gateways g ON g.id = c.gateway_id`
	var gateways []struct {
		ID      int64 `db:"gateway_id"`
		Deleted bool  `db:"deleted"`
	}
	err := s.ingest.SelectContext(ctx, &gateways, q)
	for i := 0; i < len(gateways) && err == nil; {
		oldest := retention
		if gateways[i].Deleted {
			oldest = 0
		}
		var left bool
		if left, err = s.sweepRejections(ctx, gateways[i].ID, oldest); !left {
			i++
		}
	}
	return explain("rejections", err)
}

// sweepRejections removes some of one gateway's, and reports whether there may be more to remove.
func (s *Store) sweepRejections(
	ctx context.Context, gateway int64, retention time.Duration,
) (left bool, err error) {
	err = inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		// before the rows, as long as none of them is ours
		const lock = `SELECT FROM rejection_counts WHERE gateway_id = $1 FOR UPDATE`
		if _, err := tx.ExecContext(ctx, lock, gateway); err != nil {
			return err
		}
		const q = `
			DELETE FROM rejections
			WHERE ctid = ANY (ARRAY(
				SELECT ctid
				FROM rejections
				WHERE gateway_id = $1 AND last_at <= now() - make_interval(secs => $2)
				LIMIT $3
				FOR UPDATE SKIP LOCKED))`
		res, err := tx.ExecContext(ctx, q, gateway, retention.Seconds(), sweptRejections)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		left = n == sweptRejections
		if _, err := tx.ExecContext(ctx,
			`UPDATE rejection_counts SET kept = kept - $2 WHERE gateway_id = $1`, gateway,
			n); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx,
			`DELETE FROM rejection_counts WHERE gateway_id = $1 AND kept = 0`, gateway)
		return err
	})
	return left, err
}

// rejectionHash tells what is counted together: the same payload, or all that are folded.
func rejectionHash(e *rejectionEntry) []byte {
	b := make([]byte, 0, len(e.Gateway)+len(e.Reason)+len(e.Topic)+len(e.Payload)+4)
	if e.folded {
		b = append(b, 0xFF) // no gateway begins with it
	}
	for _, s := range []string{e.Gateway, e.Reason, e.Topic} {
		b = append(append(b, s...), 0)
	}
	if !e.folded {
		b = append(b, e.Payload...)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// rejectionEntry is what one transaction adds to an entry: At is the first time, last the last.
type rejectionEntry struct {
	Rejection
	folded bool
	count  int64
	last   time.Time
}

// rejectionEntries counts together what belongs together. Each entry has a hash of its own.
func rejectionEntries(rs []Rejection) []*rejectionEntry {
	type kind struct{ gateway, reason, topic string }
	type group struct {
		each []*rejectionEntry
		rest *rejectionEntry
	}
	most := len(rs) // of a kind, each by itself
	if most > foldAbove {
		most = 1
	}
	groups := make(map[kind]*group)
	entries := make([]*rejectionEntry, 0, min(len(rs), foldAbove))
	add := func(r Rejection, folded bool) *rejectionEntry {
		r.Detail = storable(r.Detail)
		e := &rejectionEntry{Rejection: r, folded: folded, count: 1, last: r.At}
		entries = append(entries, e)
		return e
	}
	for _, r := range rs {
		r.Gateway, r.Topic = storable(r.Gateway), storable(
			r.Topic[:min(len(r.Topic), rejectedTopic)],
		)
		k := kind{r.Gateway, r.Reason, r.Topic}
		g := groups[k]
		if g == nil {
			g = &group{}
			groups[k] = g
		}
		same := slices.IndexFunc(g.each,
			func(e *rejectionEntry) bool { return bytes.Equal(e.Payload, r.Payload) })
		switch {
		case same >= 0:
			g.each[same].again(r)
		case len(g.each) < most:
			g.each = append(g.each, add(r, false))
		case g.rest == nil:
			g.rest = add(r, true)
		default:
			g.rest.again(r)
		}
	}
	return entries
}

// again counts r, which came later.
func (e *rejectionEntry) again(r Rejection) {
	e.count++
	e.last = r.At
}

// addRejections records rs; one that is there already is counted. Of each gateway the newest most
// are kept, all of them when most is 0. Whoever adds to a gateway's holds the row of its count
// until the commit, and takes the rows of counts in their order.
func addRejections(ctx context.Context, tx *sqlx.Tx, rs []Rejection, most int) error {
	if len(rs) == 0 {
		return nil
	}
	var (
		entries                         = rejectionEntries(rs)
		gateways, topics, reasons, text = make([]string, len(entries)), make([]string, len(entries)), make([]string, len(entries)), make([]string, len(entries))
		payloads, hashes                = make([][]byte, len(entries)), make([][]byte, len(entries))
		ids, sizes, counts              = make([]int64, len(entries)), make([]int64, len(entries)), make([]int64, len(entries))
		folded                          = make([]bool, len(entries))
	)
	for i, e := range entries {
		gateways[i], topics[i], reasons[i], text[i] = e.Gateway, e.Topic, e.Reason, e.Detail
		payloads[i], hashes[i] = e.Payload[:min(len(e.Payload), rejectedBytes)], rejectionHash(e)
		ids[i], sizes[i], counts[i], folded[i] = e.GatewayID, int64(len(e.Payload)), e.count, e.folded
	}
	// xmax is 0 in a row that is new. An entry stays with the gateway it was first of.
	const q = `
		WITH written AS (
			INSERT INTO rejections (gateway_id, gateway, topic, reason, detail, payload, hash, payload_size, count, first_at, last_at, folded)
			SELECT *
			FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[], $8::int[], $9::int[],
				$10::timestamptz[], $11::timestamptz[], $12::boolean[])
				AS r (gateway_id, gateway, topic, reason, detail, payload, hash, size, count, first_at, last_at, folded)
			ORDER BY gateway, reason, hash
			ON CONFLICT (hash) DO UPDATE
			SET count = rejections.count + excluded.count, last_at = excluded.last_at, detail = excluded.detail
			RETURNING gateway_id, xmax = 0 AS added)
		INSERT INTO rejection_counts AS c (gateway_id, kept)
		SELECT gateway_id, count(*)
		FROM written
		WHERE added
		GROUP BY gateway_id
		ORDER BY gateway_id
		ON CONFLICT (gateway_id) DO UPDATE
		SET kept = c.kept + excluded.kept
		RETURNING gateway_id, kept`
	var kept []struct {
		GatewayID int64 `db:"gateway_id"`
		Kept      int   `db:"kept"`
	}
	err := tx.SelectContext(ctx, &kept, q, int32s(ids), pq.Array(gateways), pq.Array(topics),
		pq.Array(reasons), pq.Array(text),
		pq.Array(payloads), pq.Array(hashes), int32s(sizes), int32s(counts),
		timestamps(len(entries), func(i int) time.Time { return entries[i].At }),
		timestamps(len(entries), func(i int) time.Time { return entries[i].last }),
		pq.Array(folded))
	if err != nil || most == 0 {
		return err
	}
	var full, over []int64
	for _, k := range kept {
		if k.Kept > most {
			full, over = append(full, k.GatewayID), append(over, int64(k.Kept-most))
		}
	}
	return dropOldest(ctx, tx, full, over)
}

// dropOldest removes the oldest rejections of gateways, of each as many as over says; their counts
// are ours. It waits for nobody: those that another transaction is at are left to the next.
func dropOldest(ctx context.Context, tx *sqlx.Tx, gateways, over []int64) error {
	if len(gateways) == 0 {
		return nil
	}
	const q = `
		WITH gone AS (
			DELETE FROM rejections
			WHERE ctid = ANY (ARRAY(
				SELECT oldest.ctid
				FROM unnest($1::int[], $2::int[]) AS g (gateway_id, n)
				CROSS JOIN LATERAL (
					SELECT ctid
					FROM rejections
					WHERE gateway_id = g.gateway_id
					ORDER BY last_at
					LIMIT g.n
					FOR UPDATE SKIP LOCKED) oldest))
			RETURNING gateway_id)
		UPDATE rejection_counts c
		SET kept = c.kept - g.n
		FROM (SELECT gateway_id, count(*) AS n FROM gone GROUP BY gateway_id) g
		WHERE c.gateway_id = g.gateway_id`
	_, err := tx.ExecContext(ctx, q, int32s(gateways), int32s(over))
	return err
}

// storable is s without what text cannot hold.
func storable(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "�"), "�")
}
