package store

import (
	"context"
	"errors"

	"github.com/jmoiron/sqlx"
)

// stale replaces the error of an update of table that changed no row: by ErrStale if the row id has
// another version, by ErrNotFound if it does not exist.
func (s *Store) stale(ctx context.Context, err error, table string, id int64) error {
	if !errors.Is(explain(table, err), ErrNotFound) {
		return err
	}
	var exists bool
	q := `SELECT EXISTS (SELECT FROM ` + table + ` WHERE id = $1)`
	if err := s.api.GetContext(ctx, &exists, q, id); err != nil {
		return err
	}
	if exists {
		return ErrStale
	}
	return ErrNotFound
}

// lockVersion locks the row id of table for a deletion, and is ErrStale if it has another version;
// 0 stands for any.
func lockVersion(ctx context.Context, tx *sqlx.Tx, table string, id, version int64) error {
	var current int64
	q := `SELECT version FROM ` + table + ` WHERE id = $1 FOR UPDATE`
	if err := tx.GetContext(ctx, &current, q, id); err != nil {
		return err
	}
	if version != 0 && version != current {
		return ErrStale
	}
	return nil
}
