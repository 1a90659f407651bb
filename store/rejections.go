package store

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

const (
	// rejectedBytes is how much of a refused payload is kept.
	rejectedBytes = 4 << 10
	// keptRejections is how many of one gateway are kept, and for how many days.
	keptRejections, keptRejectionDays = 1000, 90
	// rejectedTopic is how much of a topic is kept, which may have 64 KiB and is part of an index.
	rejectedTopic = 512
)

// Rejection is a payload, or one sample of it, that was refused.
type Rejection struct {
	Gateway string // key, as authenticated, else as the topic has it
	Topic   string
	Reason  string // stable, for programs
	Detail  string // for people
	Payload []byte // of the sample if only it was refused
	At      time.Time
}

// TrimRejections removes those of each gateway that are too many or too old. Call it every few minutes.
func (s *Store) TrimRejections(ctx context.Context) error {
	const q = `
		DELETE FROM rejections
		WHERE last_at < now() - make_interval(days => $2) OR id IN (
			SELECT id
			FROM (SELECT id, row_number() OVER (PARTITION BY gateway ORDER BY last_at DESC, id DESC) AS n FROM rejections) r
			WHERE n > $1)`
	_, err := s.ingest.ExecContext(ctx, q, keptRejections, keptRejectionDays)
	return explain("rejections", err)
}

type rejectionKey struct {
	gateway, topic, reason string
	hash                   [sha256.Size]byte
}

// addRejections records rs; one that is there already is counted.
func addRejections(ctx context.Context, tx *sqlx.Tx, rs []Rejection) error {
	if len(rs) == 0 {
		return nil
	}
	var (
		at                              = make(map[rejectionKey]int, len(rs))
		gateways, topics, reasons, text []string
		payloads, hashes                [][]byte
		sizes, counts                   []int64
		firsts, lasts                   []time.Time
	)
	for _, r := range rs {
		k := rejectionKey{storable(r.Gateway), storable(r.Topic[:min(len(r.Topic), rejectedTopic)]), r.Reason, sha256.Sum256(r.Payload)}
		i, ok := at[k]
		if !ok {
			at[k] = len(counts)
			gateways, topics, reasons, text = append(gateways, k.gateway), append(topics, k.topic), append(reasons, k.reason), append(text, storable(r.Detail))
			payloads, hashes = append(payloads, r.Payload[:min(len(r.Payload), rejectedBytes)]), append(hashes, k.hash[:])
			sizes, counts = append(sizes, int64(len(r.Payload))), append(counts, 1)
			firsts, lasts = append(firsts, r.At), append(lasts, r.At)
			continue
		}
		counts[i]++
		lasts[i] = r.At
	}
	const q = `
		INSERT INTO rejections (gateway, topic, reason, detail, payload, payload_hash, payload_size, count, first_at, last_at)
		SELECT *
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::int[], $8::int[],
			$9::timestamptz[], $10::timestamptz[]) AS r (gateway, topic, reason, detail, payload, hash, size, count, first_at, last_at)
		ORDER BY gateway, reason, hash, topic
		ON CONFLICT (gateway, reason, payload_hash, topic) DO UPDATE
		SET count = rejections.count + excluded.count, last_at = excluded.last_at, detail = excluded.detail`
	_, err := tx.ExecContext(ctx, q, pq.Array(gateways), pq.Array(topics), pq.Array(reasons), pq.Array(text),
		pq.Array(payloads), pq.Array(hashes), int32s(sizes), int32s(counts),
		timestamps(len(firsts), func(i int) time.Time { return firsts[i] }), timestamps(len(lasts), func(i int) time.Time { return lasts[i] }))
	return err
}

// storable is s without what text cannot hold.
func storable(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "�"), "�")
}
