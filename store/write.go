package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Outcome is the final result for a reading: it does not change any more.
type Outcome uint8

// The outcomes. Write returns all but Rejected, which is decided before a write.
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

// String returns the name that the contract has for o.
func (o Outcome) String() string { return outcomes[o] }

// ReadingResult is the outcome of one reading, with the reason when it was refused.
type ReadingResult struct {
	Outcome Outcome
	Reason  string // stable, for programs; empty for Stored and Duplicate
	Detail  string // for people
}

// SideWrites is what the transaction of a batch writes in addition to the readings.
type SideWrites struct {
	Rejections    []Rejection // of samples that were refused before the write
	MaxRejections int         // how many of one gateway are kept, the newest; 0: all
	// for each reading, what to record when its outcome is Conflict; nil: conflicts are not
	// recorded
	Conflicts []ConflictRecord
	Presence  []Presence
}

// ConflictRecord is the rejection of a reading whose outcome is Conflict. The readings of one
// message share Rejection; a nil Rejection is not recorded.
type ConflictRecord struct {
	Rejection *Rejection // without its payload
	Payload   []byte
}

// WriteResult is what the transaction of a batch of readings has changed.
type WriteResult struct {
	Outcomes      []Outcome  // one for each reading, in order
	Presence      []Presence // of gateways whose status has changed
	AlarmsChanged bool       // there are new alarm events
	Evaluations   int        // of alarms, as MaxEvaluations counts them
}

// Write stores readings and side in one transaction, moves latest forward and evaluates the alarms
// of the readings' sensors. A batch that failed may be written again, even when it is not known
// whether it was committed: if it was, its readings are Duplicate and it changes nothing else. When
// the alarms of a batch take too many evaluations, or too long, the error is ErrOverload.
func (s *Store) Write(
	ctx context.Context, readings []Reading, side SideWrites,
) (WriteResult, error) {
	if err := s.partitions.ensure(ctx, s.ingest, readings); err != nil {
		return WriteResult{}, explain("partition", err)
	}
	b := newBatch(readings, side)
	result, err := s.writeBatch(ctx, b)
	if noPartition(err) { // it was dropped after the look-up
		s.partitions.forget()
		if err := s.partitions.ensure(ctx, s.ingest, readings); err != nil {
			return WriteResult{}, explain("partition", err)
		}
		result, err = s.writeBatch(ctx, b)
	}
	return result, explain("write", err)
}

// writeBatch writes b, and looks for duplicates first when an INSERT without that has met one.
func (s *Store) writeBatch(ctx context.Context, b *batch) (WriteResult, error) {
	result, err := s.tryBatch(ctx, b, s.repetition.isExpected())
	for race := 0; errors.Is(err, errDuplicate); race++ {
		if race == maxInsertRaces {
			return WriteResult{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		result, err = s.tryBatch(ctx, b, true)
	}
	return result, err
}

// tryBatch writes b in one transaction. With checkFirst it looks for duplicates before it inserts.
func (s *Store) tryBatch(ctx context.Context, b *batch, checkFirst bool) (WriteResult, error) {
	result, err := withRules(ctx, s, s.ingest,
		func(tx *sqlx.Tx, rules *ruleSet) (WriteResult, error) {
			ev := newEvaluator(rules)
			ev.timeout = s.evaluationLimit
			result, err := s.writeInto(ctx, tx, b, ev, checkFirst)
			result.Evaluations = ev.evaluations
			return result, err
		})
	switch {
	case err == nil && checkFirst:
		s.repetition.learn(b.isRepeated)
	case err != nil && ctx.Err() != nil && result.Evaluations > MaxEvaluations:
		// a single reading, which may take more evaluations, has taken too long
		err = fmt.Errorf("%w: %w", ErrOverload, err)
	}
	return result, err
}

// writeInto writes b in the transaction tx, with ev evaluating its alarms.
func (s *Store) writeInto(
	ctx context.Context, tx *sqlx.Tx, b *batch, ev *evaluator, checkFirst bool,
) (result WriteResult, err error) {
	b.reset()
	if len(b.rows) > 1 {
		if ev.maxEvaluations = MaxEvaluations; b.evaluations(ev.rules) > MaxEvaluations {
			return result, ErrOverload
		}
	}
	if err := b.insert(ctx, tx, checkFirst, s.partitions.last()); err != nil {
		return result, err
	}
	if s.rollups {
		if err := b.mark(ctx, tx); err != nil {
			return result, err
		}
	}
	if err := b.updateLatest(ctx, tx, ev, &s.states); err != nil {
		return result, err
	}
	if err := addRejections(ctx, tx, b.rejections(), b.side.MaxRejections); err != nil {
		return result, err
	}
	if result.Presence, err = s.setPresence(ctx, tx, b.side.Presence); err != nil {
		return result, err
	}
	if err := ev.write(ctx, tx); err != nil {
		return result, err
	}
	// before the commit: the next batch may need it as soon as this one is committed
	s.states.put(ev)
	result.Outcomes, result.AlarmsChanged = b.outcomes, len(ev.events) > 0
	return result, nil
}

// errDuplicate means that a row which was inserted without a look for duplicates, or which another
// transaction has committed since that look, already exists.
var errDuplicate = errors.New("a reading is already stored")

// maxInsertRaces is how often another transaction may insert a row of a batch first before the
// batch fails with ErrUnavailable.
const maxInsertRaces = 10

// repetition predicts whether a batch repeats readings that are already stored. An INSERT without a
// look for duplicates is faster, but fails as a whole when one exists; the look costs a sixth of an
// INSERT. ON CONFLICT would cost a third of one, since PostgreSQL then writes each row twice to its
// WAL. Readings that are sent again, after a connection or an instance was lost, come in a row, so
// that after one repeated batch the next ones are checked first.
type repetition struct{ batches atomic.Int32 } // that are to be checked first

// checkedBatches is how many batches are checked after a repeated one.
const checkedBatches = 32

func (r *repetition) isExpected() bool { return r.batches.Load() > 0 }

// learn takes in whether a checked batch was repeated.
func (r *repetition) learn(repeated bool) {
	if repeated {
		r.batches.Store(checkedBatches)
	} else {
		r.batches.Add(-1)
	}
}

// noPartition reports whether err means that there is no partition for a row.
func noPartition(err error) bool {
	var pqErr *pq.Error
	return errors.As(err, &pqErr) && pqErr.Code == "23514" && pqErr.Constraint == ""
}
