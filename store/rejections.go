package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

const (
	// maxRejectedPayload is how many bytes of a rejected payload are kept.
	maxRejectedPayload = 4 << 10
	// maxRejectedTopic is how many bytes of a topic are kept. A topic may have 64 KiB, and an index
	// contains it.
	maxRejectedTopic = 512
	// maxDeletedRejections is how many rejections one transaction deletes.
	maxDeletedRejections = 1000
	// foldAbove is how many rejections a transaction records one by one. When there are more, of
	// those with the same gateway, topic and reason the first is recorded and the others are
	// counted in one entry, so that a flood of rejections stays cheap.
	foldAbove = 32
)

// Rejection is a payload, or a sample of it, that was rejected.
type Rejection struct {
	GatewayID int64  // 0: the gateway is not registered
	Gateway   string // the key: of the authenticated gateway, else as in the topic
	Topic     string
	Reason    string // stable, for programs
	Detail    string // for people
	Payload   []byte // of the sample if only a sample was rejected
	At        time.Time
}

// RecordedRejection is an entry for all rejections with the same gateway, topic, reason and
// payload.
type RecordedRejection struct {
	ID          int64  `db:"id"`
	GatewayID   *int64 `db:"gateway_id"` // nil: the gateway was not registered
	Gateway     string `db:"gateway"`
	Topic       string `db:"topic"`
	Reason      string `db:"reason"`
	Detail      string `db:"detail"`       // of the last rejection
	Payload     []byte `db:"payload"`      // its beginning
	PayloadSize int    `db:"payload_size"` // of the whole payload
	// the entry counts rejections of different payloads; payload and detail are of one of them
	Folded  bool      `db:"folded"`
	Count   int64     `db:"count"`
	FirstAt time.Time `db:"first_at"`
	LastAt  time.Time `db:"last_at"`
}

// RejectionFilter selects entries; a nil member selects all.
type RejectionFilter struct {
	Gateway, Reason, Topic *string
	GatewayID              *int64
	Start, End             *time.Time // LastAt is in [Start, End)
}

// The entries of a gateway are those with its id, under any key, and those from before it was
// registered.
const rejectionsWhere = `
		WHERE ($1::text IS NULL
				OR gateway_id = ANY (ARRAY(SELECT id FROM gateways WHERE key = $1) || 0)
				AND (gateway_id <> 0 OR gateway = $1))
			AND ($2::int IS NULL OR gateway_id = $2)
			AND ($3::text IS NULL OR reason = $3)
			AND ($4::text IS NULL OR topic = $4)
			AND last_at >= coalesce($5::timestamptz, '-infinity')
			AND last_at < coalesce($6::timestamptz, 'infinity')`

func (f RejectionFilter) args() []any {
	return []any{f.Gateway, f.GatewayID, f.Reason, f.Topic, f.Start, f.End}
}

// Rejections returns at most limit entries, the last rejected first; never nil. With after the page
// begins after the entry that was last rejected at after and has the id afterID.
func (s *Store) Rejections(
	ctx context.Context, f RejectionFilter, after *time.Time, afterID int64, limit int,
) ([]RecordedRejection, error) {
	const q = `
		SELECT id, nullif(gateway_id, 0) AS gateway_id, gateway, topic, reason, detail, payload,
			payload_size, folded, count, first_at, last_at
		FROM rejections` + rejectionsWhere + `
			AND ($7::timestamptz IS NULL OR (last_at, id) < ($7, $8::bigint))
		ORDER BY last_at DESC, id DESC
		LIMIT $9`
	rs := []RecordedRejection{}
	err := s.api.SelectContext(ctx, &rs, q, append(f.args(), after, afterID, limit)...)
	return rs, explain("rejections", err)
}

// CountRejections returns how many entries f selects.
func (s *Store) CountRejections(ctx context.Context, f RejectionFilter) (int64, error) {
	var n int64
	const q = `SELECT count(*) FROM rejections` + rejectionsWhere
	err := s.api.GetContext(ctx, &n, q, f.args()...)
	return n, explain("rejections", err)
}

// DeleteExpiredRejections deletes the entries that were last rejected longer than retention ago,
// and those of deleted gateways. It is to be called about once an hour.
func (s *Store) DeleteExpiredRejections(ctx context.Context, retention time.Duration) error {
	const q = `
		SELECT c.gateway_id, g.id IS NULL AND c.gateway_id <> 0 AS is_deleted
		FROM rejection_counts c
		LEFT JOIN gateways g ON g.id = c.gateway_id`
	var gateways []struct {
		ID        int64 `db:"gateway_id"`
		IsDeleted bool  `db:"is_deleted"`
	}
	if err := s.ingest.SelectContext(ctx, &gateways, q); err != nil {
		return explain("rejections", err)
	}
	for _, g := range gateways {
		kept := retention
		if g.IsDeleted {
			kept = 0
		}
		for {
			deleted, err := s.deleteSomeRejections(ctx, g.ID, kept)
			if err != nil {
				return explain("rejections", err)
			}
			if deleted < maxDeletedRejections {
				break
			}
		}
	}
	return nil
}

// deleteSomeRejections deletes at most maxDeletedRejections expired entries of a gateway and
// returns how many.
func (s *Store) deleteSomeRejections(
	ctx context.Context, gateway int64, retention time.Duration,
) (deleted int64, err error) {
	err = inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		// the count is locked before the entries, as by addRejections
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
		res, err := tx.ExecContext(ctx, q, gateway, retention.Seconds(), maxDeletedRejections)
		if err != nil {
			return err
		}
		if deleted, err = res.RowsAffected(); err != nil {
			return err
		}
		const subtract = `UPDATE rejection_counts SET kept = kept - $2 WHERE gateway_id = $1`
		if _, err := tx.ExecContext(ctx, subtract, gateway, deleted); err != nil {
			return err
		}
		const remove = `DELETE FROM rejection_counts WHERE gateway_id = $1 AND kept = 0`
		_, err = tx.ExecContext(ctx, remove, gateway)
		return err
	})
	return deleted, err
}

// rejectionEntry is the rejections of one transaction that belong to one entry: At is the time of
// the first, lastAt that of the last.
type rejectionEntry struct {
	Rejection
	isFolded bool
	count    int64
	lastAt   time.Time
}

// add counts r, a later rejection.
func (e *rejectionEntry) add(r Rejection) {
	e.count++
	e.lastAt = r.At
}

// hash identifies the entry: by the payload too, unless it is folded.
func (e *rejectionEntry) hash() []byte {
	b := make([]byte, 0, len(e.Gateway)+len(e.Reason)+len(e.Topic)+len(e.Payload)+4)
	if e.isFolded {
		b = append(b, 0xFF) // no key of a gateway begins with it
	}
	for _, s := range []string{e.Gateway, e.Reason, e.Topic} {
		b = append(append(b, s...), 0)
	}
	if !e.isFolded {
		b = append(b, e.Payload...)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// rejectionEntries groups rejections by entry. The entries have different hashes.
func rejectionEntries(rejections []Rejection) []*rejectionEntry {
	type kind struct{ gateway, reason, topic string }
	type group struct {
		single []*rejectionEntry
		folded *rejectionEntry
	}
	maxSingle := len(rejections) // of a kind
	if maxSingle > foldAbove {
		maxSingle = 1
	}
	groups := make(map[kind]*group)
	entries := make([]*rejectionEntry, 0, min(len(rejections), foldAbove))
	newEntry := func(r Rejection, isFolded bool) *rejectionEntry {
		r.Detail = storable(r.Detail)
		e := &rejectionEntry{Rejection: r, isFolded: isFolded, count: 1, lastAt: r.At}
		entries = append(entries, e)
		return e
	}
	for _, r := range rejections {
		r.Gateway = storable(r.Gateway)
		r.Topic = storable(r.Topic[:min(len(r.Topic), maxRejectedTopic)])
		k := kind{r.Gateway, r.Reason, r.Topic}
		g := groups[k]
		if g == nil {
			g = &group{}
			groups[k] = g
		}
		i := slices.IndexFunc(g.single,
			func(e *rejectionEntry) bool { return bytes.Equal(e.Payload, r.Payload) })
		switch {
		case i >= 0:
			g.single[i].add(r)
		case len(g.single) < maxSingle:
			g.single = append(g.single, newEntry(r, false))
		case g.folded == nil:
			g.folded = newEntry(r, true)
		default:
			g.folded.add(r)
		}
	}
	return entries
}

// addRejections records rejections; a known entry is counted up. Of each gateway the newest maxKept
// entries are kept, or all when maxKept is 0. A transaction that adds entries of a gateway holds
// the row of its count until the commit; the rows of counts are locked by gateway.
func addRejections(ctx context.Context, tx *sqlx.Tx, rejections []Rejection, maxKept int) error {
	if len(rejections) == 0 {
		return nil
	}
	// xmax is 0 in a new row. An entry stays with the gateway that it was made for.
	const q = `
		WITH written AS (
			INSERT INTO rejections (gateway_id, gateway, topic, reason, detail, payload, hash,
				payload_size, count, first_at, last_at, folded)
			SELECT gateway_id, gateway, topic, reason, detail, payload, hash, size, count, first_at,
				last_at, folded
			FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[],
				$7::bytea[], $8::int[], $9::int[], $10::timestamptz[], $11::timestamptz[],
				$12::boolean[])
				AS r (gateway_id, gateway, topic, reason, detail, payload, hash, size, count,
					first_at, last_at, folded)
			ORDER BY gateway, reason, hash
			ON CONFLICT (hash) DO UPDATE
			SET count = rejections.count + excluded.count, last_at = excluded.last_at,
				detail = excluded.detail
			RETURNING gateway_id, xmax = 0 AS is_new)
		INSERT INTO rejection_counts AS c (gateway_id, kept)
		SELECT gateway_id, count(*)
		FROM written
		WHERE is_new
		GROUP BY gateway_id
		ORDER BY gateway_id
		ON CONFLICT (gateway_id) DO UPDATE
		SET kept = c.kept + excluded.kept
		RETURNING gateway_id, kept`
	type entry = *rejectionEntry
	entries := rejectionEntries(rejections)
	var counts []gatewayRejections
	if err := tx.SelectContext(ctx, &counts, q,
		column(entries, asInt4, func(e entry) int64 { return e.GatewayID }),
		column(entries, asText, func(e entry) string { return e.Gateway }),
		column(entries, asText, func(e entry) string { return e.Topic }),
		column(entries, asText, func(e entry) string { return e.Reason }),
		column(entries, asText, func(e entry) string { return e.Detail }),
		column(entries, asBytea,
			func(e entry) []byte { return e.Payload[:min(len(e.Payload), maxRejectedPayload)] }),
		column(entries, asBytea, entry.hash),
		column(entries, asInt4, func(e entry) int64 { return int64(len(e.Payload)) }),
		column(entries, asInt4, func(e entry) int64 { return e.count }),
		column(entries, asTimestamptz, func(e entry) time.Time { return e.At }),
		column(entries, asTimestamptz, func(e entry) time.Time { return e.lastAt }),
		column(entries, asBool, func(e entry) bool { return e.isFolded })); err != nil {
		return err
	}
	if maxKept == 0 {
		return nil
	}
	return deleteOldestRejections(ctx, tx, slices.DeleteFunc(counts,
		func(c gatewayRejections) bool { return c.Kept <= maxKept }), maxKept)
}

// gatewayRejections is how many entries of a gateway are kept.
type gatewayRejections struct {
	GatewayID int64 `db:"gateway_id"`
	Kept      int   `db:"kept"`
}

// deleteOldestRejections deletes the oldest entries of gateways that have more than maxKept; the
// transaction holds their counts. Entries that another transaction has locked are left to the next
// call.
func deleteOldestRejections(
	ctx context.Context, tx *sqlx.Tx, gateways []gatewayRejections, maxKept int,
) error {
	if len(gateways) == 0 {
		return nil
	}
	const q = `
		WITH deleted AS (
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
		FROM (SELECT gateway_id, count(*) AS n FROM deleted GROUP BY gateway_id) g
		WHERE c.gateway_id = g.gateway_id`
	_, err := tx.ExecContext(ctx, q,
		column(gateways, asInt4, func(g gatewayRejections) int64 { return g.GatewayID }),
		column(gateways, asInt4,
			func(g gatewayRejections) int64 { return int64(g.Kept - maxKept) }))
	return err
}

// storable returns s with the bytes replaced that a text cannot contain.
func storable(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "�"), "�")
}
