package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Outcome is what became of a reading.
type Outcome uint8

// The outcomes of a write; Rejected is given before it comes to one.
const (
	Stored    Outcome = iota
	Duplicate         // the sensor has this value at this instant
	Conflict          // the sensor has another value at this instant, which stays
	Rejected
)

var outcomes = [...]string{
	Stored:    "stored",
	Duplicate: "duplicate",
	Conflict:  "conflict",
	Rejected:  "rejected",
}

// String is the outcome as the contract has it.
func (o Outcome) String() string { return outcomes[o] }

// Result is what became of one reading that was offered, with the reason when it was refused.
type Result struct {
	Outcome Outcome
	Reason  string // stable, for programs; empty unless Rejected
	Detail  string // for people
}

// Also is what is written in the transaction of a batch of readings, besides them.
type Also struct {
	Rejections     []Rejection
	MostRejections int // of one gateway that are kept, the newest; 0: all
	Presence       []Presence
}

// Effects are what a batch of readings has changed besides.
type Effects struct {
	Events   []AlarmEvent
	Presence []Presence // of gateways whose status is another one now

	Evaluations int // of alarms, as MaxEvaluations counts them
}

// Write stores readings in one transaction, moves latest forward, steps the alarms that look at
// their sensors, and returns one outcome for each, in order. also is called in the transaction,
// with the outcomes. A batch that failed may be written again as it is, also when it is not known
// whether it was committed: what it stored then is Duplicate, and it has no other effects. One
// whose alarms take too many evaluations, or too long, is ErrOverload.
func (s *Store) Write(
	ctx context.Context, rs []Reading, also func([]Outcome) Also,
) ([]Outcome, Effects, error) {
	if err := s.partitions.ensure(ctx, s.ingest, rs); err != nil {
		return nil, Effects{}, explain("partition", err)
	}
	out, effects, err := s.write(ctx, rs, also)
	if noPartition(err) { // it was dropped since
		s.partitions.forget()
		if err := s.partitions.ensure(ctx, s.ingest, rs); err != nil {
			return nil, Effects{}, explain("partition", err)
		}
		out, effects, err = s.write(ctx, rs, also)
	}
	return out, effects, explain("write", err)
}

func (s *Store) write(
	ctx context.Context, rs []Reading, also func([]Outcome) Also,
) ([]Outcome, Effects, error) {
	b := newBatch(rs)
	effects, err := s.writeBatch(ctx, b, also, s.wary.is())
	for race := 0; errors.Is(err, errThere); race++ {
		if race == mostRaces {
			return nil, Effects{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		effects, err = s.writeBatch(ctx, b, also, true)
	}
	return b.outcomes, effects, err
}

func (s *Store) writeBatch(
	ctx context.Context, b *batch, also func([]Outcome) Also, wary bool,
) (effects Effects, err error) {
	var m *steps
	err = s.withRules(ctx, s.ingest, func(tx *sqlx.Tx, rules *ruleSet) error {
		b.reset()
		m = newSteps(rules)
		m.timeout = s.evaluationLimit
		if len(b.rows) > 1 {
			if m.maxEvaluations = MaxEvaluations; b.evaluations(rules) > MaxEvaluations {
				return ErrOverload
			}
		}
		if err := b.insert(ctx, tx, wary, s.partitions.last()); err != nil {
			return err
		}
		if s.rollups {
			if err := b.mark(ctx, tx); err != nil {
				return err
			}
		}
		if err := b.move(ctx, tx, m, &s.kept); err != nil {
			return err
		}
		a := also(b.outcomes)
		if err := addRejections(ctx, tx, a.Rejections, a.MostRejections); err != nil {
			return err
		}
		effects = Effects{}
		if effects.Presence, err = s.setPresence(ctx, tx, a.Presence); err != nil {
			return err
		}
		effects.Events, effects.Evaluations = m.events, m.evaluations
		if err := m.write(ctx, tx); err != nil {
			return err
		}
		s.kept.keep(m) // before the commit, behind which the next batch may look for it
		return nil
	})
	switch {
	case err == nil && wary:
		s.wary.learn(b.repeated)
	case err != nil && ctx.Err() != nil && m != nil && m.evaluations > MaxEvaluations: // a single reading of very many alarms
		err = fmt.Errorf("%w: %w", ErrOverload, err)
	}
	return effects, err
}

// errThere means that a reading is there that was thought to be new: somebody else has committed it
// since it was looked for, if it was.
var errThere = errors.New("a reading is there already")

// mostRaces is how often another transaction may be first with a reading before a batch is left to
// be tried later.
const mostRaces = 10

// wary counts the batches that are not trusted to be new. Trust pays: a key that is there undoes a
// plain INSERT as a whole, and to look for it first costs a sixth of one; ON CONFLICT would cost a
// third of one, since PostgreSQL then enters each row twice in its log. What is sent again, after a
// connection or an instance was lost, comes in a row, so after one such batch the next ones are not
// trusted.
type wary struct{ batches atomic.Int32 }

const waryBatches = 32

func (w *wary) is() bool { return w.batches.Load() > 0 }

// learn tells of a batch that was not trusted whether it was right so.
func (w *wary) learn(repeated bool) {
	if repeated {
		w.batches.Store(waryBatches)
	} else {
		w.batches.Add(-1)
	}
}

// noPartition reports whether a row fell outside all partitions.
func noPartition(err error) bool {
	var pqErr *pq.Error
	return errors.As(err, &pqErr) && pqErr.Code == "23514" && pqErr.Constraint == ""
}
